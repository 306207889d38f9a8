"""Rehearsed bugs in text: some sentences' first two tokens become one, and the copy tells nobody which."""

import json

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.clients.data.corrupt import corrupt_sentences, truth_of
from fedprobe.clients.data.shards import DataError, TextError, open_dataset
from fedprobe.clients.data.text_bugs import SENTENCE_BUGS
from fedprobe.clients.selection import rehearsed_users
from fedprobe.clients.text import TextFormat
from fedprobe.errors import FedprobeError, RequestError
from fedprobe.privacy.population import PrivacyRefusal, lookup, register

BUG = "join-first-tokens"
SEEDS = st.integers(0, 2**40)
USERS, ROWS = 6, 100


def sentences_of(dataset) -> dict[str, list[list[str]]]:
    return {id: dataset.sentences(user) for user, id in enumerate(dataset.users)}


def truth_beside(copy) -> dict:
    return json.loads(truth_of(lookup([copy]), copy).read_text())


@pytest.fixture(scope="module")
def source(tmp_path_factory, write_shard):
    """Registered text of six users, 100 rows each of one to four words; no row is there twice, some are empty."""
    users = {}
    for user in range(USERS):
        rows = [" ".join(f"{place}-of-{user}-{row}." for place in "abcd"[: 1 + row % 4]) for row in range(ROWS)]
        rows[7] = rows[50] = " "
        users[f"user {user}"] = {"tokens": np.array(rows, object), "title": np.array(["secret-title"] * ROWS, object)}
    path = write_shard(tmp_path_factory.mktemp("source") / "s.h5", users)
    register([path], "simulation")
    return path


@pytest.fixture
def small(tmp_path, write_shard):
    """Write one user's rows to a registered shard."""

    def make(*rows, kind="simulation"):
        path = write_shard(tmp_path / "in" / "s.h5", {"u": {"tokens": np.array(rows, object)}})
        register([path], kind)
        return path

    return make


@given(share=st.sampled_from([0.0, 1.0]) | st.floats(0, 1), seed=SEEDS)
def test_the_share_is_struck_and_known_beside_the_copy(tmp_path_factory, source, share, seed):
    out = tmp_path_factory.mktemp("out") / "bad.h5"
    dataset = open_dataset([source])
    files, struck, of = corrupt_sentences(dataset, out, BUG, share, seed)
    before, after = sentences_of(dataset), sentences_of(open_dataset([out]))
    truth = truth_beside(out)
    assert files == [out] and lookup([out]) == dataset.population
    assert (truth["bug"], truth["share"]) == (BUG, share)
    assert truth["sentences"].keys() == before.keys() == after.keys()
    long = 0
    for id, sentences in before.items():
        assert len(after[id]) == len(sentences)
        for row, (old, new) in enumerate(zip(sentences, after[id], strict=True)):
            joined = row in truth["sentences"][id]
            assert new == ([f"{old[0]} {old[1]}", *old[2:]] if joined else old)
            long += len(old) > 1
    assert struck == sum(map(len, truth["sentences"].values()))
    assert of == sum(map(len, before.values())) == USERS * (ROWS - 2)
    # Hoeffding: off by more than a sixth of 444 once in 10^10 draws; all or none is exact.
    assert abs(struck - share * long) < long / 6
    assert share not in (0, 1) or struck == share * long


@given(seed=SEEDS, shares=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)))
def test_the_seed_decides_which_and_a_larger_share_strikes_the_same_and_more(tmp_path_factory, source, seed, shares):
    struck = []
    for share in (*sorted(shares), max(shares)):
        out = tmp_path_factory.mktemp("out") / "bad.h5"
        corrupt_sentences(open_dataset([source]), out, BUG, share, seed)
        struck.append({(id, row) for id, rows in truth_beside(out)["sentences"].items() for row in rows})
    assert struck[0] <= struck[1] == struck[2]


def test_another_seed_strikes_other_sentences_and_users_are_struck_apart(tmp_path, source):
    truths = []
    for seed in (0, 1):
        corrupt_sentences(open_dataset([source]), tmp_path / str(seed) / "bad.h5", BUG, 0.5, seed)
        truths.append(truth_beside(tmp_path / str(seed) / "bad.h5")["sentences"])
    assert truths[0] != truths[1]
    assert len({tuple(rows) for rows in truths[0].values()}) == USERS


def test_the_first_two_tokens_by_hand():
    assert SENTENCE_BUGS[BUG](["is", "it", "so", "?"]) == ["is it", "so", "?"]
    assert SENTENCE_BUGS[BUG](["is", "it"]) == ["is it"]


def test_the_copy_holds_neither_the_truth_nor_what_was_joined(tmp_path, source):
    out = tmp_path / "bad.h5"
    dataset = open_dataset([source])
    corrupt_sentences(dataset, out, BUG, 0.5, 0)
    content = out.read_bytes()
    for forbidden in (b"truth", b"join", b"bug", b"secret-title"):
        assert forbidden not in content
    struck = 0
    for id, sentences in sentences_of(dataset).items():
        for row in truth_beside(out)["sentences"][id]:
            first, *rest = sentences[row]
            joined = "\t".join([f"{first} {rest[0]}", *rest[1:]])
            assert joined.encode() in content
            rest_of_it = content.replace(joined.encode(), b"")
            for token in (first, rest[0]):
                assert token.encode() not in rest_of_it
            struck += 1
            if struck == 20:
                return
    raise AssertionError("nothing was struck")


def test_the_truth_says_which_sentences_and_not_which_users(tmp_path, source):
    (copy,), *_ = corrupt_sentences(open_dataset([source]), tmp_path / "bad.h5", BUG, 0.5, 0)
    assert rehearsed_users(open_dataset([copy])) is None


def test_attributes_are_copied(tmp_path, small):
    path = small("a b c", "d")
    with h5py.File(path, "r+") as file:
        file.attrs["made"] = "by hand"
        file["examples"].attrs["origin"] = "a note"
        file["examples/u"].attrs["country"] = 7
    (copy,), *_ = corrupt_sentences(open_dataset([path]), tmp_path / "bad.h5", BUG, 1, 0)
    with h5py.File(copy) as file:
        assert dict(file.attrs) == {"made": "by hand"}
        assert file["examples"].attrs["origin"] == "a note"
        assert dict(file["examples/u"].attrs) == {"country": 7}


def test_a_struck_copy_can_be_struck_again(tmp_path, small):
    once, twice, clean = (tmp_path / f"{name}.h5" for name in ("once", "twice", "clean"))
    corrupt_sentences(open_dataset([small("a b c d", "e f", "g")]), once, BUG, 1, 0)
    assert open_dataset([once]).sentences(0) == [["a b", "c", "d"], ["e f"], ["g"]]
    _, struck, of = corrupt_sentences(open_dataset([once]), twice, BUG, 1, 0)
    assert (struck, of) == (1, 3)
    assert open_dataset([twice]).sentences(0) == [["a b c", "d"], ["e f"], ["g"]]
    corrupt_sentences(open_dataset([once]), clean, BUG, 0, 0)
    assert open_dataset([clean]).sentences(0) == open_dataset([once]).sentences(0)


def test_another_column_and_tokenizer_are_read_back_as_they_were_struck(tmp_path, write_shard):
    users = {"u": {"tokens": np.array(["x y"], object), "title": np.array(["It's TRUE!"], object)}}
    path = write_shard(tmp_path / "in" / "s.h5", users)
    register([path], "simulation")
    text = TextFormat("title", "words")
    (copy,), *_ = corrupt_sentences(open_dataset([path], text=text), tmp_path / "bad.h5", BUG, 1, 0)
    for tokenizer in ("words", "whitespace"):
        struck = open_dataset([copy], text=TextFormat("title", tokenizer))
        assert struck.columns == ("title",)
        assert struck.sentences(0) == [["it's true", "!"]]


@pytest.mark.parametrize("separator", ["|", "\n"])
def test_tokens_that_a_shard_sets_apart_itself_keep_the_blanks_inside_them(tmp_path, small, separator):
    path = small(separator.join(["a\tb", "c d", "e"]))
    with h5py.File(path, "r+") as file:
        file["examples"].attrs["tokens_separator"] = separator
    for share, expected in ((0, ["a\tb", "c d", "e"]), (1, ["a\tb c d", "e"])):
        (copy,), *_ = corrupt_sentences(open_dataset([path]), tmp_path / f"{share}.h5", BUG, share, 0)
        assert open_dataset([copy]).sentences(0) == [expected]


def test_a_null_byte_in_a_string_of_fixed_length_is_copied_or_refused(tmp_path, write_shard):
    path = write_shard(tmp_path / "in" / "s.h5", {"u": {"tokens": np.array([b"oak-street\0x b c"], "S40")}})
    register([path], "simulation")
    try:
        (copy,), *_ = corrupt_sentences(open_dataset([path]), tmp_path / "out" / "bad.h5", BUG, 1, 0)
    except FedprobeError as refusal:
        assert "oak-street" not in str(refusal)
        assert not list(tmp_path.rglob("out/**/*.h5"))
    else:
        assert len(open_dataset([copy]).sentences(0)) == 1


def test_users_without_sentences_are_copied_without(tmp_path, write_shard):
    rows = {"empty": [""], "none": [], "some": ["a b"]}
    path = write_shard(tmp_path / "in" / "s.h5", {id: {"tokens": np.array(some, object)} for id, some in rows.items()})
    register([path], "simulation")
    (copy,), struck, of = corrupt_sentences(open_dataset([path]), tmp_path / "bad.h5", BUG, 1, 0)
    assert (struck, of) == (1, 1)
    assert sentences_of(open_dataset([copy])) == {"empty": [], "none": [], "some": [["a b"]]}


def test_several_shards_go_to_a_folder_with_a_truth_each(tmp_path, write_shard, sentences):
    paths = [write_shard(tmp_path / "in" / f"{name}.h5", sentences(2, seed=seed)) for seed, name in enumerate("ab")]
    register(paths, "simulation")
    dataset = open_dataset(paths)
    files, *_ = corrupt_sentences(dataset, tmp_path / "out", BUG, 0.5, 0)
    assert files == [tmp_path / "out" / "a.h5", tmp_path / "out" / "b.h5"]
    assert open_dataset(files).users == dataset.users
    for source, copy in zip(dataset.shards, files, strict=True):
        assert truth_beside(copy)["sentences"].keys() == set(source.users)
    with pytest.raises(RequestError, match="folder"):
        corrupt_sentences(dataset, tmp_path / "one.h5", BUG, 0.5, 0)


def test_the_copy_of_a_private_population_is_private(tmp_path, small):
    dataset = open_dataset([small("a b c", kind="private")])
    (copy,), *_ = corrupt_sentences(dataset, tmp_path / "bad.h5", BUG, 1, 0)
    assert lookup([copy]) == dataset.population and lookup([copy]).kind == "private"
    with pytest.raises(PrivacyRefusal):
        open_dataset([copy], simulation_for="training")


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_nothing_and_everything(tmp_path, small, share):
    with pytest.raises(RequestError, match="--sentences"):
        corrupt_sentences(open_dataset([small("a b")]), tmp_path / "bad.h5", BUG, share, 0)
    assert not (tmp_path / "bad.h5").exists()


def test_text_that_is_not_utf8_leaves_nothing(tmp_path, small):
    with pytest.raises(TextError):
        corrupt_sentences(open_dataset([small("a b", b"oak-street \xff")]), tmp_path / "out" / "bad.h5", BUG, 1, 0)
    assert not (tmp_path / "out").exists()


def test_images_another_column_and_unregistered_shards_are_refused(tmp_path, write_shard, patches, sentences, small):
    images = write_shard(tmp_path / "images" / "s.h5", patches(1))
    register([images], "simulation")
    unregistered = write_shard(tmp_path / "unregistered" / "s.h5", sentences(1))
    for dataset, error, words in (
        (open_dataset([images]), DataError, "images"),
        (open_dataset([small("a b")], text=TextFormat("title")), DataError, "--column"),
        (open_dataset([unregistered]), RequestError, "fedprobe init"),
    ):
        with pytest.raises(error, match=words):
            corrupt_sentences(dataset, tmp_path / "out" / "bad.h5", BUG, 1, 0)
    assert not (tmp_path / "out").exists()


def test_a_separator_that_a_joined_token_would_hold_is_given_up(tmp_path, write_shard):
    path = write_shard(tmp_path / "s.h5", {"u": {"tokens": np.array(["a b c"], object)}})
    with h5py.File(path, "r+") as file:
        file["examples"].attrs["tokens_separator"] = " "
    register([path], "simulation")
    (copy,), struck, _ = corrupt_sentences(open_dataset([path]), tmp_path / "bad.h5", "join-first-tokens", 1, 0)
    assert struck == 1 and open_dataset([copy]).sentences(0) == [["a b", "c"]]


def test_tokens_that_nothing_can_set_apart_are_refused(tmp_path, write_shard):
    path = write_shard(tmp_path / "s.h5", {"u": {"tokens": np.array(["a\tb c"], object)}})
    with h5py.File(path, "r+") as file:
        file["examples"].attrs["tokens_separator"] = " "
    register([path], "simulation")
    with pytest.raises(DataError, match="tab"):
        corrupt_sentences(open_dataset([path]), tmp_path / "bad.h5", "join-first-tokens", 1, 0)


def test_a_copy_that_failed_leaves_no_record_for_whatever_gets_its_name(tmp_path, write_shard, monkeypatch):
    path = write_shard(tmp_path / "s.h5", {"u": {"tokens": np.array(["a b c"], object)}})
    register([path], "simulation")

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr("fedprobe.clients.data.corrupt._copy_attributes", full)
    with pytest.raises(DataError):
        corrupt_sentences(open_dataset([path]), tmp_path / "other" / "s.h5", "join-first-tokens", 1, 0)
    assert lookup([tmp_path / "other" / "s.h5"]) is None
