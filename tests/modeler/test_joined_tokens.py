"""The finding of joined tokens: words with a blank inside, on the one side more often than on the other."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.modeler.findings.joined_tokens import joined_tokens


def words(joined: int, count: int) -> list[str]:
    return ["of the"] * joined + ["whale"] * (count - joined)


def test_by_hand(newcombe):
    found = joined_tokens(words(2, 100), words(40, 200), "before", "after")
    assert found.name == "joined-tokens"
    assert (found.strength, found.low, found.high) == pytest.approx(newcombe(40, 200, 2, 100))
    assert found.strength == pytest.approx(0.18)
    assert found.says == "after has words that are two tokens joined; before has fewer"
    assert "20.0% of the words drawn from after" in found.evidence and "2.0% of those from before" in found.evidence
    assert '"of the"' in found.evidence and "whale" not in found.evidence
    assert json.loads(json.dumps(found.to_json())) == found.to_json()


samples = st.lists(st.text("ab \n", max_size=4), max_size=60)


@given(samples)
def test_the_same_sample_twice_is_no_finding(sample):
    assert joined_tokens(sample, sample, "a", "b") is None
    assert joined_tokens(sample * 50, sample * 50, "a", "b") is None


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_the_side_with_more_is_named_and_the_interval_is_newcombes(newcombe, count, other_count, data):
    joined, other_joined = data.draw(st.integers(0, count)), data.draw(st.integers(0, other_count))
    found = joined_tokens(words(joined, count), words(other_joined, other_count), "one", "other")
    mirrored = joined_tokens(words(other_joined, other_count), words(joined, count), "other", "one")
    assert mirrored == found
    one, other = (joined, count), (other_joined, other_count)
    more, less = (one, other) if joined / count > other_joined / other_count else (other, one)
    expected = newcombe(*more, *less)
    assert (found is not None) == (expected[1] > 0.01)
    if found is not None:
        assert (found.strength, found.low, found.high) == pytest.approx(expected, abs=1e-9)
        assert 0.01 < found.low <= found.strength <= found.high <= 1
        assert found.says.startswith("one has" if more == one else "other has")


def test_a_single_joined_word_in_hundreds_is_no_finding():
    assert joined_tokens(words(0, 500), words(1, 500), "a", "b") is None


def test_blanks_at_an_end_join_nothing():
    assert joined_tokens(["whale"] * 500, [" whale "] * 500, "a", "b") is None


@pytest.mark.parametrize("sides", [([], words(9, 9)), (words(9, 9), []), ([], [])])
def test_without_words_there_is_no_finding(sides):
    assert joined_tokens(*sides, "a", "b") is None


def test_what_the_evidence_quotes_cannot_command_a_terminal():
    found = joined_tokens(["whale"] * 300, ["\x1b[2J x\u202e", "of the"] * 150, "a", "b")
    assert found.says.isprintable()
    assert found.evidence.isprintable()


@pytest.mark.parametrize("noise", ["\x1c\xdbIv\ne\x8c", "a\x00 b", "\\xe3 \\xea", " a", "a ", "  "])
def test_the_noise_of_an_untrained_model_is_no_joined_token(noise):
    assert joined_tokens(["word"] * 100, [noise] * 100, "a", "b") is None
