"""Findings about sentences: words twice in a row, and sentences that end early."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.modeler.findings.sentences import sentence_findings


def drawn(seed: int, count: int = 600) -> list[list[int]]:
    stream = np.random.default_rng(seed)
    return [stream.integers(4, 200, stream.integers(3, 25)).tolist() for _ in range(count)]


def test_two_draws_of_one_kind_are_no_finding():
    for seed in range(20):
        assert sentence_findings(drawn(2 * seed), drawn(2 * seed + 1), "a", "b") == []


@pytest.mark.parametrize("struck_first", [False, True])
@pytest.mark.parametrize(
    ("name", "bug"),
    [
        ("repeated-tokens", lambda ids: [id for id in ids for _ in "ab"][: len(ids)]),
        ("truncation", lambda ids: ids[:8]),
    ],
)
def test_a_bug_is_named_on_its_side(name, bug, struck_first):
    healthy, struck = drawn(0), [bug(sentence) for sentence in drawn(1)]
    sides = (struck, healthy, "struck", "healthy") if struck_first else (healthy, struck, "healthy", "struck")
    (found,) = sentence_findings(*sides)
    assert found.name == name and found.says.startswith("struck has")
    assert 0.02 < found.low <= found.strength <= found.high <= 1


def test_by_hand(newcombe):
    (found,) = sentence_findings([[4, 5, 6]] * 100, [[4, 4, 5]] * 100, "a", "b")
    assert (found.strength, found.low, found.high) == pytest.approx(newcombe(100, 200, 0, 200, 1 - 0.05 / 4))
    assert found.evidence == "50.0% of the words after another in b, 0.0% in a"


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=30))
def test_the_same_sentences_twice_are_no_finding(sentences):
    assert sentence_findings(sentences, sentences, "a", "b") == []


def test_without_sentences_there_is_no_finding():
    assert sentence_findings([], [[4, 4]] * 100, "a", "b") == []
    assert sentence_findings([[]] * 100, [], "a", "b") == []


def test_words_out_of_vocabulary_are_not_known_to_be_the_same():
    assert sentence_findings([[4, 5, 6]] * 100, [[4, 1, 1]] * 100, "a", "b") == []
