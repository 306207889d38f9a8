"""Shards of text: columns, rows and what is refused; no token and no id is ever in a message."""

import json
import os
from itertools import permutations

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.clients.data.describe import describe
from fedprobe.clients.data.shards import DataError, TextError, open_dataset
from fedprobe.clients.text import TextFormat
from fedprobe.privacy.population import register

STREET, STREET_TOKEN = "Oak Street", "oak-street"
# What HDF5 keeps in a string of variable length: anything but the null byte.
ROWS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5)
IMAGE = {"pixels": np.zeros((1, 3, 3), np.float32)}


def strings(*rows: str | bytes) -> np.ndarray:
    return np.array(rows, object)


def read_all(dataset) -> dict[str, list[list[str]]]:
    return {id: dataset.sentences(user) for user, id in enumerate(dataset.users)}


def says_nothing_of_the_data(error: BaseException) -> bool:
    return not any(secret in f"{error!r} {error.__cause__!r}" for secret in (STREET, STREET_TOKEN, "№"))


@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_a_users_rows_come_out_in_order_without_empty_ones(tmp_path_factory, write_shard, rows):
    users = {f"u{number}": {"tokens": strings(*some)} for number, some in enumerate(rows)}
    dataset = open_dataset([write_shard(tmp_path_factory.mktemp("shards") / "s.h5", users)])
    assert (dataset.kind, dataset.columns, dataset.labelled) == ("text", ("tokens",), False)
    assert dataset.examples.tolist() == [len(some) for some in rows]
    for user, some in enumerate(rows):
        assert dataset.sentences(user) == [row.split() for row in some if row.split()]


@pytest.mark.parametrize("encoding", ["variable", "fixed", "fixed, said to be UTF-8"])
def test_strings_of_variable_and_of_fixed_length_read_the_same(tmp_path, encoding):
    rows = ["the café", "", "用户 x"]
    dtype = {"variable": h5py.string_dtype(), "fixed": "S20"}.get(encoding, h5py.string_dtype("utf-8", 20))
    with h5py.File(tmp_path / "s.h5", "w") as file:
        data = np.array([row.encode() for row in rows], dtype)
        file.create_group("examples/u").create_dataset("tokens", data=data, dtype=dtype)
    dataset = open_dataset([tmp_path / "s.h5"])
    assert dataset.sentences(0) == [["the", "café"], ["用户", "x"]]
    assert dataset.examples.tolist() == [3]


def test_the_column_asked_for_is_read_with_the_tokenizer_asked_for(tmp_path, write_shard):
    users = {"u": {"tokens": strings("Is it ?"), "title": strings("It's  True!"), "score": np.array([3])}}
    path = write_shard(tmp_path / "s.h5", users)
    assert open_dataset([path]).columns == ("title", "tokens")
    for text, sentence in (
        (TextFormat(), ["Is", "it", "?"]),
        (TextFormat("title"), ["It's", "True!"]),
        (TextFormat("title", "words"), ["it's", "true", "!"]),
    ):
        dataset = open_dataset([path], text=text)
        dataset.require_text()
        assert dataset.sentences(0) == [sentence]


@pytest.mark.parametrize("column", ["score", "Tokens", "", "nothing"])
def test_a_column_that_is_not_there_or_holds_no_text_is_refused_with_those_there_are(tmp_path, write_shard, column):
    path = write_shard(tmp_path / "s.h5", {"u": {"tokens": strings("a"), "title": strings("b"), "score": np.ones(1)}})
    with pytest.raises(DataError, match="--column one of: title, tokens"):
        open_dataset([path], text=TextFormat(column)).require_text()


def test_images_are_no_text_and_text_is_no_images(tmp_path, write_shard, sentences):
    text = open_dataset([write_shard(tmp_path / "t.h5", sentences(1))])
    images = open_dataset([write_shard(tmp_path / "i.h5", {"u": IMAGE})])
    text.require_text()
    images.require_images()
    for refused in (images.require_text, text.require_images, text.require_labels, lambda: text.require_trainable(1)):
        with pytest.raises(DataError, match="these shards hold"):
            refused()


USERS = {
    "tokens": {"tokens": strings(f"at {STREET_TOKEN}")},
    "two columns": {"tokens": strings("x"), "title": strings(STREET_TOKEN)},
    "images": IMAGE,
    "another column": {"title": strings(STREET_TOKEN)},
}


@pytest.mark.parametrize(("one", "other"), permutations(USERS, 2))
def test_users_and_shards_of_different_columns_or_kinds_are_not_mixed(tmp_path, write_shard, one, other):
    first, second = {f"№1 {STREET}": USERS[one]}, {f"№2 {STREET}": USERS[other]}
    with pytest.raises(DataError, match="differ") as raised:
        open_dataset([write_shard(tmp_path / "one.h5", first | second)])
    assert says_nothing_of_the_data(raised.value)
    with pytest.raises(DataError, match="differ in (kind|columns)") as raised:
        open_dataset([write_shard(tmp_path / "a.h5", first), write_shard(tmp_path / "b.h5", second)])
    assert says_nothing_of_the_data(raised.value)


@pytest.mark.parametrize("kind", ["text", "images"])
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_shard_without_users_decides_nothing(tmp_path, write_shard, kind, order):
    user = {"text": {"tokens": strings("a b")}, "images": IMAGE}[kind]
    shards = [write_shard(tmp_path / f"{order[0]}.h5", {}), write_shard(tmp_path / f"{order[1]}.h5", {"u": user})]
    dataset = open_dataset(shards)
    assert dataset.kind == kind
    if kind == "text":
        dataset.require_text()
        assert read_all(dataset) == {"u": [["a", "b"]]}
    else:
        assert dataset.read([0]).pixels.shape == (1, 1, 3, 3)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"tokens": strings("a", STREET_TOKEN), "title": strings("b")}, "different lengths"),
        ({"score": np.ones(2)}, "neither `pixels` nor a column of text"),
        ({}, "neither `pixels` nor a column of text"),
        ({"tokens": np.array([["a", "b"]], object)}, "neither `pixels` nor a column of text"),
    ],
    ids=["different lengths", "numbers", "nothing", "a table"],
)
def test_a_user_without_sound_columns_is_named_in_the_file_alone(tmp_path, write_shard, sentences, user, words):
    name = f"№ faulty of {STREET}"
    with pytest.raises(DataError, match=words) as raised:
        open_dataset([write_shard(tmp_path / "s.h5", {**sentences(2), name: user})])
    assert says_nothing_of_the_data(raised.value)
    (faults,) = tmp_path.rglob("faults.json")
    assert str(faults) in str(raised.value)
    assert list(json.loads(faults.read_text())) == [name]


def test_the_cached_index_keeps_the_columns(tmp_path, write_shard):
    path = write_shard(tmp_path / "s.h5", {"u": {"tokens": strings("a", "b"), "ta-xt ü": strings("c", "d")}})
    register([path], "simulation")
    first = open_dataset([path])
    status = path.stat()
    # Garbage can only be opened by not opening it.
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    again = open_dataset([path])
    assert again.kind == "text" and again.columns == first.columns == ("ta-xt ü", "tokens")
    assert again.examples.tolist() == [2]


@pytest.mark.parametrize("dtype", [object, "S40"])
def test_text_that_is_not_utf8_is_an_error_that_holds_none_of_it(tmp_path, write_shard, dtype):
    rows = np.array([b"fine", f"at {STREET_TOKEN}".encode() + b" \xff\xfe"], dtype)
    users = {f"№1 {STREET}": {"tokens": rows}, "other": {"tokens": rows[:1]}}
    dataset = open_dataset([write_shard(tmp_path / "s.h5", users)])
    assert dataset.sentences(dataset.users.index("other")) == [["fine"]]
    with pytest.raises(TextError, match="describe --check") as raised:
        dataset.sentences(dataset.users.index(f"№1 {STREET}"))
    assert isinstance(raised.value, DataError) and raised.value.exit_code == 3
    # The decoder's error carries the bytes.
    assert says_nothing_of_the_data(raised.value)
    assert raised.value.__cause__ is None and raised.value.__context__ is None


@pytest.mark.parametrize("rows", [(), ("",), ("", " ", "\n\t")], ids=["no rows", "an empty one", "blanks"])
def test_a_user_with_no_sentences_has_none(tmp_path, write_shard, rows):
    dataset = open_dataset([write_shard(tmp_path / "s.h5", {"u": {"tokens": strings(*rows)}})])
    dataset.require_text()
    assert dataset.sentences(0) == [] and dataset.examples.tolist() == [len(rows)]


def test_a_sentence_of_a_million_tokens_is_one_sentence(tmp_path, write_shard):
    dataset = open_dataset([write_shard(tmp_path / "s.h5", {"u": {"tokens": strings("a " * 10**6, "b")}})])
    long, short = dataset.sentences(0)
    assert (len(long), set(long), short) == (10**6, {"a"}, ["b"])


@pytest.mark.parametrize(
    "separator",
    [b"\t", np.bytes_("\t"), "", 7, np.array(["\t"], object)],
    ids=["bytes", "fixed", "empty", "int", "array"],
)
def test_a_separator_of_another_type_is_understood_or_refused_as_data(tmp_path, write_shard, separator):
    path = write_shard(tmp_path / "s.h5", {"u": {"tokens": strings("I am\there")}})
    with h5py.File(path, "r+") as file:
        file["examples"].attrs["tokens_separator"] = separator
    try:
        sentences = open_dataset([path]).sentences(0)
    except DataError:
        return
    assert sentences in ([["I am", "here"]], [["I", "am", "here"]])


def test_a_separator_belongs_to_its_column_and_its_shard(tmp_path, write_shard):
    paths = [write_shard(tmp_path / f"{name}.h5", {name: {"tokens": strings("a b\tc")}}) for name in "xyz"]
    for path, column in zip(paths, ("tokens", "title"), strict=False):
        with h5py.File(path, "r+") as file:
            file["examples"].attrs[f"{column}_separator"] = "\t"
    assert read_all(open_dataset(paths)) == {"x": [["a b", "c"]], "y": [["a", "b", "c"]], "z": [["a", "b", "c"]]}


def test_describe_says_columns_and_counts_and_nothing_else(tmp_path, write_shard, sentences):
    users = sentences(3)
    described = describe(open_dataset([write_shard(tmp_path / "s.h5", users)]))
    counts = sorted(len(user["tokens"]) for user in users.values())
    assert (described.users, described.examples, described.examples_per_user) == (3, sum(counts), tuple(counts))
    assert (described.columns, described.labelled, described.kind) == (("tokens",), False, "unregistered")
    assert says_nothing_of_the_data(ValueError(described))


@pytest.mark.parametrize("how", ["soft", "external", "virtual", "whole"])
def test_data_that_lie_in_another_file_are_refused_for_they_have_a_record_of_their_own(tmp_path, write_shard, how):
    private = write_shard(tmp_path / "private.h5", {"u": {"tokens": np.array(["oak-street"], object)}})
    with h5py.File(tmp_path / "s.h5", "w") as file:
        user = file.create_group("examples/u") if how != "whole" else None
        if how == "soft":
            file["tokens"] = np.array(["a"], h5py.string_dtype())
            user["tokens"] = h5py.SoftLink("/tokens")
        elif how == "external":
            user["tokens"] = h5py.ExternalLink(str(private), "/examples/u/tokens")
        elif how == "virtual":
            layout = h5py.VirtualLayout((1,), h5py.string_dtype())
            layout[:] = h5py.VirtualSource(str(private), "/examples/u/tokens", (1,))
            user.create_virtual_dataset("tokens", layout)
        else:
            file["examples"] = h5py.ExternalLink(str(private), "/examples")
    with pytest.raises(DataError) as raised:
        open_dataset([tmp_path / "s.h5"])
    assert "oak-street" not in str(raised.value)
