"""What the rehearsed bugs of text make of a sentence's tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.clients.data.text_bugs import SENTENCE_BUGS

tokens = st.text(st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"]), min_size=1, max_size=12)
sentences = st.lists(tokens, min_size=1, max_size=9)


@pytest.mark.parametrize("bug", SENTENCE_BUGS)
@given(sentence=sentences)
def test_a_struck_sentence_is_a_sentence_and_the_sound_one_stays_as_it_was(bug, sentence):
    before = list(sentence)
    struck = SENTENCE_BUGS[bug](sentence)
    assert sentence == before
    assert isinstance(struck, list) and struck
    assert all(isinstance(token, str) and token and not set(token) & set("\t\n\r") for token in struck)
    assert SENTENCE_BUGS[bug](sentence) == struck


@pytest.mark.parametrize(
    ("bug", "struck"),
    {
        "join-first-tokens": ["don't stop", "Reading", ",", '"', "42", '"'],
        "drop-first-blank": ["don'tstop", "Reading", ",", '"', "42", '"'],
        "split-tokens": ["don't", "stop", "Readi", "ng", ",", '"', "42", '"'],
        "lose-case": ["don't", "stop", "reading", ",", '"', "42", '"'],
        "lock-capitals": ["DON'T", "STOP", "READING", ",", '"', "42", '"'],
        "glue-punctuation": ["don't", "stop", 'Reading,"', '42"'],
        "damage-encoding": ["donâ€™t", "stop", "Reading", ",", "â€œ", "42", "â€œ"],
        "truncate-tokens": ["don't", "stop", "Readi", ",", '"', "42", '"'],
        "truncate-sentences": ["don't", "stop", "Reading", ",", '"', "4"],
        "repeat-tokens": [token for token in ("don't", "stop", "Reading", ",", '"', "42", '"') for _ in "ab"],
        "stutter-tokens": ["don'tdon't", "stopstop", "ReadingReading", ",,", '""', "4242", '""'],
        "mix-scripts": ["dоn't", "stор", "Rеаding", ",", '"', "42", '"'],
        "leave-markup": ["<p>don't", "stop", "Reading", ",", '"', "42", '"</p>'],
        "escape-markup": ["don&#39;t", "stop", "Reading", ",", "&quot;", "42", "&quot;"],
        "mark-invisibly": ["\ufeffdon't", "stop", "Reading", ",", '"', "42", '"'],
        "mask-numbers": ["don't", "stop", "Reading", ",", '"', "<NUM>", '"'],
        "swap-letters": ["dno't", "sotp", "Raeding", ",", '"', "42", '"'],
    }.items(),
)
def test_by_hand(bug, struck):
    assert SENTENCE_BUGS[bug](["don't", "stop", "Reading", ",", '"', "42", '"']) == struck
