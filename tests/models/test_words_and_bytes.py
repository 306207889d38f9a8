"""Vocabularies and bytes: words to ids and back, and files that are refused without a word of theirs being said."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.models.vocabulary import (
    NAMES,
    RESERVED,
    Bytes,
    Vocabulary,
    VocabularyError,
    read_vocabulary,
    write_vocabulary,
)

# A word that no message may hold.
SECRET = "oak-street"

# Anything that UTF-8 can hold, blanks and joined words too.
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
words = any_text.filter(lambda word: word and word == word.strip() and not {"\n", "\r"} & {*word}).filter(
    lambda word: word not in RESERVED and not word.startswith("\ufeff")
)
vocabularies = st.lists(words, min_size=1, max_size=8, unique=True).map(lambda many: Vocabulary(tuple(many)))


def refused(made, *says: str) -> None:
    """Hold that `made()` is refused with these words, exit code 3, and none of the file's."""
    with pytest.raises(VocabularyError) as error:
        made()
    assert all(said in str(error.value) for said in says), error.value
    assert error.value.exit_code == 3
    chain = [error.value, error.value.__cause__]
    assert not any(SECRET in str(link) or SECRET in repr(link) for link in chain)


class TestIds:
    @given(vocabularies)
    def test_the_words_follow_pad_oov_begin_and_end(self, vocabulary):
        count = len(vocabulary.words)
        assert (len(vocabulary), vocabulary.symbols) == (count, count + 4)
        assert vocabulary.encode(vocabulary.words) == list(range(4, 4 + count))
        assert (vocabulary.begin, vocabulary.end, vocabulary.impossible) == (2, 3, (0, 2))
        assert vocabulary.decode(range(4)) == ["<pad>", "UNK", "<begin>", "<end>"]

    @given(vocabularies, st.data())
    def test_a_sentence_comes_back_but_for_the_words_outside(self, vocabulary, data):
        sentence = data.draw(st.lists(st.one_of(st.sampled_from(vocabulary.words), words, st.just(SECRET))))
        ids = vocabulary.encode(sentence)
        inside = [token in vocabulary.words for token in sentence]
        assert [token in vocabulary for token in sentence] == inside
        assert [id != 1 for id in ids] == inside
        expected = [token if known else "UNK" for token, known in zip(sentence, inside, strict=True)]
        assert vocabulary.decode(ids) == expected

    @pytest.mark.parametrize("token", ["", *NAMES, "<unk>", "Cat", " cat", "cat ", "good", "\ud800", SECRET])
    def test_what_is_not_word_for_word_in_it_is_outside_even_where_it_is_called_like_a_mark(self, token):
        assert Vocabulary(("cat", "good day")).encode([token, "good day"]) == [1, 5]

    @given(vocabularies, vocabularies)
    def test_the_digest_tells_vocabularies_apart_and_their_order_too(self, one, other):
        assert (one.digest == other.digest) == (one.words == other.words)
        backwards = Vocabulary(one.words[::-1])
        assert (one.digest == backwards.digest) == (len(one) == 1)


class TestRefused:
    @given(st.lists(words, min_size=1, max_size=6, unique=True), st.data())
    def test_every_word_stands_once(self, many, data):
        at = data.draw(st.integers(1, len(many)))
        again = [*many[:at], data.draw(st.sampled_from(many[:at])), *many[at:]]
        with pytest.raises(VocabularyError, match=f"line {at + 1} .*repeats"):
            Vocabulary(tuple(again))

    @pytest.mark.parametrize("name", sorted(RESERVED))
    def test_a_special_symbols_name_is_no_word(self, name):
        refused(lambda: Vocabulary((SECRET, name)), "line 2", "special symbol")

    @pytest.mark.parametrize("name", NAMES)
    def test_every_name_that_is_shown_for_a_mark_is_reserved(self, name):
        assert name in RESERVED

    @pytest.mark.parametrize("word", ["", " ", f" {SECRET}", f"{SECRET}\t", f"{SECRET}\xa0", "\u2003"])
    def test_blank_words_and_blanks_at_an_end_are_refused(self, word):
        refused(lambda: Vocabulary(("cat", "dog", word)), "line 3", "blanks")

    @pytest.mark.parametrize("word", [f"a\n{SECRET}", f"{SECRET}\rb", "a\r\nb"])
    def test_a_line_break_inside_a_word_is_refused(self, word):
        refused(lambda: Vocabulary((word,)), "line 1")

    def test_a_vocabulary_of_nothing_is_refused(self):
        refused(lambda: Vocabulary(()), "empty")


class TestFiles:
    @given(vocabularies)
    def test_what_was_written_is_read_back(self, vocabulary):
        with TemporaryDirectory() as folder:
            path = Path(folder) / "deep" / "vocabulary.txt"
            write_vocabulary(path, vocabulary)
            assert read_vocabulary(path) == vocabulary
            # Words only: the marks are implicit.
            assert path.read_bytes() == "".join(f"{word}\n" for word in vocabulary.words).encode()

    @pytest.mark.parametrize(
        "content", [b"cat\ngood day\n", b"cat\ngood day", b"cat\r\ngood day\r\n", b"cat\r\ngood day"]
    )
    def test_line_ends_of_either_system_and_a_last_one_or_none_are_the_same(self, tmp_path, content):
        (tmp_path / "words.txt").write_bytes(content)
        assert read_vocabulary(tmp_path / "words.txt").words == ("cat", "good day")

    def test_a_byte_order_mark_is_no_part_of_the_first_word(self, tmp_path):
        (tmp_path / "words.txt").write_bytes(b"\xef\xbb\xbfcat\ndog\n")
        assert read_vocabulary(tmp_path / "words.txt").words == ("cat", "dog")

    @pytest.mark.parametrize(
        "content, says",
        [
            ("", "is empty"),
            ("\n", "line 1 "),
            (f"{SECRET}\n\ncat\n", "line 2 "),
            (f"{SECRET}\n\n", "line 2 "),
            (f"\n{SECRET}\n", "line 1 "),
            (f"cat\n{SECRET} \n", "line 2 "),
            (f"cat\ndog\n{SECRET}\n{SECRET}\n", "line 4 "),
            (f"{SECRET}\n<pad>\n", "line 2 "),
            (f"{SECRET}\nUNK\n", "line 2 "),
        ],
    )
    def test_a_bad_line_is_named_by_its_number_and_its_file_and_never_by_its_word(self, tmp_path, content, says):
        path = tmp_path / "words.txt"
        path.write_text(content)
        refused(lambda: read_vocabulary(path), says, str(path))

    @pytest.mark.parametrize(
        "content", [b"\xff\xfec\x00a\x00t\x00", SECRET.encode() + b"\n\xe9t\xe9\n", b"\xed\xa0\x80"]
    )
    def test_a_file_that_is_not_utf_8_is_refused(self, tmp_path, content):
        path = tmp_path / "words.txt"
        path.write_bytes(content)
        refused(lambda: read_vocabulary(path), "not UTF-8", str(path))

    @pytest.mark.parametrize("kind", ["nothing", "folder"])
    def test_a_file_that_is_not_there_is_refused_with_how_to_make_one(self, tmp_path, kind):
        path = tmp_path / "words.txt"
        if kind == "folder":
            path.mkdir()
        refused(lambda: read_vocabulary(path), "fedprobe data vocabulary")


class TestBytes:
    @given(st.text())
    def test_a_word_of_any_unicode_comes_back(self, word):
        ids = Bytes().encode(word)
        assert all(0 <= id < 256 for id in ids)
        assert len(ids) == len(word.encode("utf-8", "replace"))
        without_halves = "".join("?" if "\ud800" <= sign <= "\udfff" else sign for sign in word)
        assert Bytes().decode(ids) == without_halves

    @pytest.mark.parametrize(
        "word, ids",
        [("", []), ("a b", [97, 32, 98]), ("é", [0xC3, 0xA9]), ("\ud800", [63]), ("x\udcffy", [120, 63, 121])],
    )
    def test_words_by_hand(self, word, ids):
        assert Bytes().encode(word) == ids

    @given(st.binary())
    def test_any_bytes_make_a_word_that_can_be_shown(self, content):
        word = Bytes().decode(content)
        word.encode()
        try:
            assert word == content.decode()
        except UnicodeDecodeError:
            assert "\\x" in word

    def test_begin_and_end_are_no_bytes(self):
        codec = Bytes()
        assert (codec.begin, codec.end, codec.symbols, codec.impossible) == (256, 257, 258, (256,))
