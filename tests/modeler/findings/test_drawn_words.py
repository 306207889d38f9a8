"""Findings about words drawn from models: shares with intervals by the book, whichever side has more."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.modeler.findings.known_words import KnownWords
from fedprobe.modeler.findings.sides import Drawn
from fedprobe.modeler.findings.words import QUESTIONS, word_findings

CONFIDENCE = 1 - 0.05 / QUESTIONS


def words(joined: int, count: int) -> Drawn:
    return Drawn(["of the"] * joined + ["whale"] * (count - joined))


def test_by_hand(newcombe):
    (found,) = word_findings(words(2, 100), words(60, 200), "before", "after")
    assert found.name == "joined-tokens"
    assert (found.strength, found.low, found.high) == pytest.approx(newcombe(60, 200, 2, 100, CONFIDENCE))
    assert found.strength == pytest.approx(0.28)
    assert found.says == "after has words that are two tokens joined; before has fewer"
    assert "30.0% of the words drawn from after, 2.0% of those of before" in found.evidence
    assert '"of the"' in found.evidence and "whale" not in found.evidence
    assert json.loads(json.dumps(found.to_json())) == found.to_json()


samples = st.lists(st.text("abAB .<>\n\u200b", max_size=4), max_size=60)


@given(samples)
def test_the_same_sample_twice_is_no_finding(sample):
    for copies in (1, 50):
        assert word_findings(Drawn(sample * copies), Drawn(sample * copies), "a", "b", KnownWords(("ab", "AB"))) == []


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_the_side_with_more_is_named_and_the_interval_is_newcombes(newcombe, count, other_count, data):
    one = data.draw(st.integers(0, count)), count
    other = data.draw(st.integers(0, other_count)), other_count
    found = word_findings(words(*one), words(*other), "one", "other")
    mirrored = word_findings(words(*other), words(*one), "other", "one")
    assert [finding for finding in mirrored if finding.name == "joined-tokens"] == [
        finding for finding in found if finding.name == "joined-tokens"
    ]
    more, less = (one, other) if one[0] / one[1] > other[0] / other[1] else (other, one)
    strength, low, high = newcombe(*more, *less, CONFIDENCE)
    assert (found[:1] and found[0].name == "joined-tokens") or low <= 0.01 + 0.2 * less[0] / less[1] + 1e-9
    if found and found[0].name == "joined-tokens":
        assert (found[0].strength, found[0].low, found[0].high) == pytest.approx((strength, low, high), abs=1e-9)
        assert 0.01 < found[0].low <= found[0].strength <= found[0].high <= 1
        assert found[0].says.startswith("one has" if more == one else "other has")


def test_a_single_joined_word_in_hundreds_is_no_finding():
    assert word_findings(words(0, 500), words(1, 500), "a", "b") == []


@pytest.mark.parametrize("sides", [(words(0, 0), words(9, 9)), (words(9, 9), words(0, 0)), (words(0, 0), words(0, 0))])
def test_without_words_there_is_no_finding(sides):
    assert word_findings(*sides, "a", "b") == []


def test_what_the_evidence_quotes_cannot_command_a_terminal():
    struck = Drawn(["\x1b[2J x\u202e", "of the", "\ufeffwhale"] * 150)
    for found in word_findings(Drawn(["whale"] * 300), struck, "a", "b"):
        assert found.says.isprintable()
        assert found.evidence.isprintable()


@pytest.mark.parametrize("noise", ["\x1c\xdbIv\ne\x8c", "a\x00 b", "\\xe3 \\xea", " a", "  ", "\x01", "\\xc3\x05"])
def test_the_noise_of_an_untrained_model_is_no_damage(noise):
    sides = Drawn(["word"] * 100), Drawn([noise + "b" * (number % 7) for number in range(100)])
    named = {found.name for found in word_findings(*sides, "a", "b", KnownWords(("word",)))}
    assert not named & {"joined-tokens", "invisible-characters"}


def test_a_word_that_comes_much_more_often_appeared_or_vanished():
    few, many = Drawn(["whale"] * 900 + ["ahab"] * 100), Drawn(["whale"] * 1000)
    (appeared,) = word_findings(many, few, "before", "after")
    (vanished,) = word_findings(few, many, "before", "after")
    assert (appeared.name, vanished.name) == ("words-appeared", "words-vanished")
    assert appeared.strength == vanished.strength == pytest.approx(0.1)
    assert appeared.says.startswith("after has words that before has not")
    assert vanished.says.startswith("after lacks words of before")
    assert '"ahab"' in appeared.evidence and '"ahab"' in vanished.evidence
