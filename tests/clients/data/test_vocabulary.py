"""Counting a vocabulary: exact in a simulation, refused on anything else, and remembered beside the data."""

from collections import Counter

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.clients.data.corrupt import corrupt_sentences
from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.clients.data.vocabulary import count_public_file, count_shards, made_here
from fedprobe.clients.text import TextFormat
from fedprobe.models.vocabulary import RESERVED, Vocabulary, VocabularyError, read_vocabulary, write_vocabulary
from fedprobe.privacy.population import PrivacyRefusal, register

# Few words, so that counts tie.
SENTENCES = st.lists(st.lists(st.sampled_from("a b c d e A é UNK <s>".split()), min_size=1, max_size=8), max_size=6)


@pytest.fixture
def shard(tmp_path, write_shard):
    """Write users (id -> rows) to a shard that is registered as a simulation, unless another kind is said."""

    def make(users, name="data/s.h5", kind="simulation"):
        rows = {id: {"tokens": np.array(list(some), object)} for id, some in users.items()}
        path = write_shard(tmp_path / name, rows)
        if kind is not None:
            register([path], kind)
        return path

    return make


def test_the_most_frequent_words_by_hand(shard):
    path = shard({"u1": ["b a b", "c . a"], "u2": ["", "b z <s>"]})
    done = []
    counted = count_shards(open_dataset([path]), 3, done.append)
    # b 3 times, a twice; of the words seen once the full stop is first in the alphabet, <s> is no word.
    assert counted.vocabulary.words == ("b", "a", ".")
    assert (counted.tokens, counted.distinct, counted.covered) == (9, 6, 6)
    assert done == [1, 2]
    assert count_shards(open_dataset([path]), 100).vocabulary.words == ("b", "a", ".", "c", "z")


@given(users=st.lists(SENTENCES, min_size=1, max_size=3), size=st.integers(1, 9))
def test_ranks_are_by_count_then_alphabet_and_names_of_symbols_are_left_out(tmp_path_factory, write_shard, users, size):
    tokens = Counter(token for sentences in users for sentence in sentences for token in sentence)
    rows = {
        f"u{number}": {"tokens": np.array([" ".join(sentence) for sentence in sentences], object)}
        for number, sentences in enumerate(users)
    }
    path = write_shard(tmp_path_factory.mktemp("shards") / "s.h5", rows)
    register([path], "simulation")
    dataset = open_dataset([path])
    if not set(tokens) - RESERVED:
        with pytest.raises(DataError, match="no words"):
            count_shards(dataset, size)
        return
    counted = count_shards(dataset, size)
    words = counted.vocabulary.words
    assert len(words) == min(size, len(set(tokens) - RESERVED)) and not RESERVED & set(words)
    assert list(words) == sorted(words, key=lambda word: (-tokens[word], word))
    left_out = set(tokens) - RESERVED - set(words)
    assert all((-tokens[words[-1]], words[-1]) < (-tokens[word], word) for word in left_out)
    assert (counted.tokens, counted.distinct) == (tokens.total(), len(tokens))
    assert counted.covered == sum(tokens[word] for word in words)
    assert made_here(dataset, counted.vocabulary)


def test_every_name_of_a_special_symbol_is_left_out(shard):
    rows = [" ".join([name] * 3) for name in sorted(RESERVED)]
    counted = count_shards(open_dataset([shard({"u": [*rows, "word"]})]), 10_000)
    assert counted.vocabulary.words == ("word",)


def test_tokens_with_blanks_are_words_unless_a_line_cannot_hold_them(tmp_path, shard):
    """Where the shard sets its tokens apart itself, they may hold anything."""
    path = shard({"u": ["I am\there\tone\nline\tre\rturn\t padded\t\u2028"]})
    with h5py.File(path, "r+") as file:
        file["examples"].attrs["tokens_separator"] = "\t"
    vocabulary = count_shards(open_dataset([path]), 100).vocabulary
    assert vocabulary.words == ("I am", "here")
    write_vocabulary(tmp_path / "v.txt", vocabulary)
    assert read_vocabulary(tmp_path / "v.txt") == vocabulary


def test_the_column_and_tokenizer_of_the_data_set_are_counted(tmp_path, write_shard):
    column = np.array(["It's it's HERE"], object)
    path = write_shard(tmp_path / "s.h5", {"u": {"tokens": np.array(["other"], object), "title": column}})
    register([path], "simulation")
    dataset = open_dataset([path], text=TextFormat("title", "words"))
    assert count_shards(dataset, 9).vocabulary.words == ("it's", "here")


@pytest.mark.parametrize("kind", ["private", None])
def test_a_population_that_is_no_simulation_is_refused_before_its_shards_are_opened(tmp_path, kind):
    path = tmp_path / "s.h5"
    path.write_bytes(b"no HDF5: whoever opens it says so")
    if kind is not None:
        register([path], kind)
    with pytest.raises(PrivacyRefusal) as raised:
        open_dataset([path], simulation_for="counting a vocabulary")
    assert raised.value.exit_code == 4


@pytest.mark.parametrize("kind", ["private", None])
def test_counting_refuses_by_itself_before_it_reads_text(tmp_path, shard, kind):
    path = shard({"u": [b"\xff"]}, kind=kind)
    with pytest.raises(PrivacyRefusal, match="counting a vocabulary"):
        count_shards(open_dataset([path]), 5)
    assert not list(tmp_path.rglob("vocabularies.json"))


def test_images_and_other_columns_are_refused(tmp_path, write_shard, patches, shard):
    path = write_shard(tmp_path / "images" / "s.h5", patches(1))
    register([path], "simulation")
    with pytest.raises(DataError, match="images"):
        count_shards(open_dataset([path]), 5)
    with pytest.raises(DataError, match="--column"):
        count_shards(open_dataset([shard({"u": ["a"]})], text=TextFormat("title")), 5)


def test_what_was_counted_is_noted_beside_the_data_and_known_again_though_it_was_edited(shard):
    words = [f"w{number}" for number in range(20)]
    path = shard({"u": [" ".join(words)]})
    counted = count_shards(open_dataset([path]), 20).vocabulary
    (note,) = path.parent.rglob(f"{counted.digest}.txt")
    assert note.read_text().split() == list(counted.words)
    again = open_dataset([path])
    assert made_here(again, counted) and made_here(again, Vocabulary(counted.words[::-1]))
    assert made_here(again, Vocabulary(counted.words[:3]))
    # Two strange words of twenty are a tenth; three are more.
    strange = tuple(f"strange{number}" for number in range(3))
    assert made_here(again, Vocabulary((*counted.words[:18], *strange[:2])))
    assert not made_here(again, Vocabulary((*counted.words[:17], *strange)))


def test_what_was_counted_with_a_record_is_known_without_it(tmp_path, shard):
    path = shard({"u": ["a b"]})
    register([path], "simulation", record=tmp_path / "record")
    vocabulary = count_shards(open_dataset([path], tmp_path / "record"), 2).vocabulary
    assert made_here(open_dataset([path]), vocabulary)
    assert made_here(open_dataset([path], tmp_path / "record"), vocabulary)


def test_a_vocabulary_was_not_made_by_those_who_were_not_counted(shard, sentences):
    one, other = shard({"u": ["a b"]}), shard({"u": ["a b"]}, "elsewhere/s.h5")
    vocabulary = count_shards(open_dataset([one]), 2).vocabulary
    assert made_here(open_dataset([one]), vocabulary)
    assert not made_here(open_dataset([other]), vocabulary)
    assert not made_here(open_dataset([shard({"u": ["a b"]}, "nobody/s.h5", kind=None)]), vocabulary)


def test_the_same_users_in_a_struck_copy_are_known_to_the_vocabulary(tmp_path, shard):
    """A copy is the same population: its ids, and all but a few of its tokens, were counted."""
    dataset = open_dataset([shard({"u": ["a b c"]})])
    vocabulary = count_shards(dataset, 3).vocabulary
    (copy,), *_ = corrupt_sentences(dataset, tmp_path / "bad" / "s.h5", "join-first-tokens", 0.5, 0)
    assert open_dataset([copy]).population.id == dataset.population.id
    assert made_here(open_dataset([copy]), vocabulary)


def test_the_users_of_a_single_shard_are_known_to_a_vocabulary_of_several(tmp_path, write_shard):
    paths = [
        write_shard(tmp_path / side / f"{side}.h5", {side: {"tokens": np.array(["a b"], object)}}) for side in "ew"
    ]
    register(paths, "simulation")
    vocabulary = count_shards(open_dataset(paths), 2).vocabulary
    assert [made_here(open_dataset([path]), vocabulary) for path in paths] == [True, True]


@pytest.mark.parametrize("content", [b"", b"\xff", b"a\na\n"])
def test_a_note_that_is_damaged_is_an_error(shard, content):
    dataset = open_dataset([shard({"u": ["a b"]})])
    vocabulary = count_shards(dataset, 2).vocabulary
    (note,) = dataset.paths[0].parent.rglob(f"{vocabulary.digest}.txt")
    note.write_bytes(content)
    with pytest.raises(VocabularyError):
        made_here(dataset, vocabulary)


@pytest.mark.parametrize(
    ("tokenizer", "words", "covered"),
    [("words", ("oak", "the", "."), 8), ("whitespace", ("The", "oak.", "oak"), 5)],
)
def test_a_public_file_by_hand(tmp_path, tokenizer, words, covered):
    (tmp_path / "public.txt").write_text("The oak. The\noak. oak the zz")
    counted = count_public_file(tmp_path / "public.txt", 3, tokenizer)
    assert counted.vocabulary.words == words and counted.covered == covered
    assert list(tmp_path.iterdir()) == [tmp_path / "public.txt"]


@pytest.mark.parametrize("kind", ["missing", "a folder", "not UTF-8", "empty", "blank"])
def test_a_public_file_without_words_is_refused(tmp_path, kind):
    path = tmp_path / "public.txt"
    match kind:
        case "a folder":
            path.mkdir()
        case "not UTF-8":
            path.write_bytes(b"oak-street \xff\xfe")
        case "empty" | "blank":
            path.write_text("" if kind == "empty" else " \n\t\n")
    with pytest.raises(DataError) as raised:
        count_public_file(path, 5)
    assert raised.value.exit_code == 3
    assert "oak-street" not in f"{raised.value!r} {raised.value.__cause__!r}"
