"""From rows to tokens: by hand where the tokenizers differ, by property where they may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.clients.text import TOKENIZERS, TextFormat

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TOKENS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t"), min_size=1), min_size=1)
BOTH = pytest.mark.parametrize("tokenizer", TOKENIZERS)


@pytest.mark.parametrize(
    ("text", "whitespace", "words"),
    [
        ("Is it?", ["Is", "it?"], ["is", "it", "?"]),
        ("Don't, I’ll", ["Don't,", "I’ll"], ["don't", ",", "i’ll"]),
        ("a well-known -x- thing", ["a", "well-known", "-x-", "thing"], ["a", "well-known", "-", "x", "-", "thing"]),
        ("  two\t\n blanks ", ["two", "blanks"], ["two", "blanks"]),
        ("Ünïcödé 用户", ["Ünïcödé", "用户"], ["ünïcödé", "用户"]),
        ("...", ["..."], [".", ".", "."]),
        (" \n", [], []),
    ],
)
def test_tokenizers_by_hand(text, whitespace, words):
    assert TOKENIZERS["whitespace"](text) == whitespace
    assert TOKENIZERS["words"](text) == words


@BOTH
@given(TEXT)
def test_no_token_is_empty_or_holds_a_blank_and_none_but_blanks_are_lost(tokenizer, text):
    tokens = TOKENIZERS[tokenizer](text)
    assert all(token and token.split() == [token] for token in tokens)
    whole = text.lower() if tokenizer == "words" else text
    assert "".join(tokens) == "".join(whole.split())


@BOTH
@given(TEXT)
def test_tokens_set_apart_by_blanks_are_the_same_tokens_again(tokenizer, text):
    tokens = TOKENIZERS[tokenizer](text)
    assert TOKENIZERS[tokenizer](" ".join(tokens)) == tokens


@BOTH
@given(rows=st.lists(TEXT, max_size=6))
def test_a_row_is_a_sentence_unless_it_is_empty(tokenizer, rows):
    sentences = TextFormat(tokenizer=tokenizer).sentences([row.encode() for row in rows])
    assert sentences == [tokens for row in rows if (tokens := TOKENIZERS[tokenizer](row))]


@BOTH
@given(sentences=st.lists(TOKENS, max_size=6))
def test_rows_with_a_separator_are_tokens_already_whatever_the_tokenizer(tokenizer, sentences):
    rows = ["\t".join(tokens).encode() for tokens in sentences]
    assert TextFormat(tokenizer=tokenizer).sentences(rows, "\t") == sentences


def test_what_is_empty_between_separators_is_no_token():
    assert TextFormat().sentences([b"", b"\t", b"\tI am\t\there\t"], "\t") == [["I am", "here"]]


def test_an_unknown_tokenizer_is_refused():
    with pytest.raises(ValueError, match="whitespace, words"):
        TextFormat(tokenizer="sentencepiece")
