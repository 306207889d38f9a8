"""Findings about released words: each rehearsed bug is named, noise alone is not, and the sides may be swapped."""

import json
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.clients.data.text_bugs import SENTENCE_BUGS
from fedprobe.modeler.findings import LOOKED_FOR
from fedprobe.modeler.findings.known_words import KnownWords
from fedprobe.modeler.findings.sides import Released
from fedprobe.modeler.findings.words import CAUSES, word_findings

# Of a text that everybody knows: sound words with their frequent ones first, signs and capitals among them.
TEXT = """the of and a to in that his it I he But as with is was for all this at whale not by him from be on so one you
had have there or were now which me like then their are some when an my upon out man up into ship old if no other over
these sea after what only such very two down great such again time would before more those any Ahab who here still been
under first way far most through last chapter round never head hand whole almost captain white long thing every sort
sperm side ever made where while being little world seemed himself about Queequeg just boat once soon can't he's it's
don't " ' , . ; - ! ? whale's wasn't can't I'll you're isn't didn't couldn't let's 1851 2 30 400 remember something
harpoon between another certain through thought without against standing deck water looking stranger question moment
""".split()
VOCABULARY = tuple(dict.fromkeys(TEXT))
KNOWN = KnownWords(VOCABULARY)
NAMED = {
    "join-first-tokens": "joined-tokens",
    "drop-first-blank": "joined-tokens",
    "split-tokens": "tokens-split",
    "lose-case": "case-lost",
    "lock-capitals": "case-changed",
    "glue-punctuation": "punctuation-glued",
    "damage-encoding": "encoding-damage",
    "truncate-tokens": "truncation",
    "truncate-sentences": "truncation",
    "stutter-tokens": "repeated-tokens",
    "mix-scripts": "script-shift",
    "leave-markup": "markup-left",
    "escape-markup": "markup-left",
    "mark-invisibly": "invisible-characters",
    "mask-numbers": "placeholders",
    "swap-letters": "letters-changed",
}
# It makes no new words: sentences show it.
UNSEEN = {"repeat-tokens"}
NOISE, THRESHOLD = 1.2, 7.0


def table(counts: dict[str, float]) -> Released:
    return Released(counts, NOISE, THRESHOLD)


def struck(bug: str, seed: int = 0) -> dict[str, float]:
    """The words outside the vocabulary, counted, of some sentences that `bug` struck."""
    stream = random.Random(seed)
    sentences = [stream.choices(VOCABULARY, k=stream.randint(6, 12)) for _ in range(400)]
    counts: dict[str, float] = {}
    for sentence in sentences:
        for token in SENTENCE_BUGS[bug](sentence):
            if token not in VOCABULARY:
                counts[token] = counts.get(token, 0.0) + 20.0
    return counts


def test_every_bug_is_rehearsed_here_and_every_finding_is_looked_for():
    assert NAMED.keys() | UNSEEN == SENTENCE_BUGS.keys()
    assert set(LOOKED_FOR["words"]) == {cause.name for cause in CAUSES} | {"words-appeared", "words-vanished"}
    assert len(set(LOOKED_FOR["words"])) == len(LOOKED_FOR["words"])


@pytest.mark.parametrize("bug", NAMED)
def test_a_bug_is_named_first_and_its_words_are_quoted(bug):
    counts = struck(bug)
    found = word_findings(table({}), table(counts), "before", "after", KNOWN)
    assert found[0].name == NAMED[bug]
    assert found[0].says.startswith("after has ") and found[0].says.endswith("before has fewer")
    assert 0.01 < found[0].low <= found[0].strength <= found[0].high <= 1
    assert all(json.loads(json.dumps(one.to_json())) == one.to_json() for one in found)
    assert len({one.name for one in found}) == len(found)


@pytest.mark.parametrize("bug", NAMED)
def test_among_as_many_sound_words_it_is_named_too(bug):
    counts = struck(bug)
    share = sum(counts.values()) / 4
    sound = {"leviathan": share, "pequod": share, "nantucket": share, "scrimshaw": share}
    found = word_findings(table(sound), table(sound | counts), "before", "after", KNOWN)
    assert found[0].name == NAMED[bug]
    assert 0.2 < found[0].strength < 0.6


@pytest.mark.parametrize("bug", sorted(NAMED.keys() - {"lose-case", "lock-capitals"}))
def test_swapped_sides_are_its_mirror(bug):
    counts = struck(bug)
    found = word_findings(table({}), table(counts), "healthy", "struck", KNOWN)
    mirrored = word_findings(table(counts), table({}), "struck", "healthy", KNOWN)
    assert mirrored == found


@pytest.mark.parametrize(("bug", "other"), [("lose-case", "case-changed"), ("lock-capitals", "case-lost")])
def test_of_case_the_first_side_is_the_sound_one(bug, other):
    mirrored = word_findings(table(struck(bug)), table({}), "a", "b", KNOWN)
    assert mirrored[0].name == other and mirrored[0].says.startswith("a has")


tables = st.dictionaries(st.text("abAB .<é\u200b", min_size=1, max_size=5), st.floats(7.1, 400.0), max_size=30)


@given(tables)
def test_the_same_table_twice_is_no_finding(counts):
    assert word_findings(table(counts), table(counts), "a", "b", KNOWN) == []


@given(tables, tables)
def test_strengths_lie_in_their_intervals_and_quotes_are_printable(one, other):
    for found in word_findings(table(one), table(other), "a", "b", KNOWN):
        assert 0.01 < found.low <= found.strength <= found.high <= 1
        assert found.says.isprintable() and found.evidence.isprintable()


def test_noise_on_the_same_sums_is_no_finding():
    stream = np.random.default_rng(0)
    words = [*struck("glue-punctuation"), *struck("truncate-tokens"), *struck("swap-letters"), "leviathan", "pequod"]
    wrong = 0
    for _ in range(300):
        # Most of them near the threshold, where noise decides which are seen.
        sums = np.abs(stream.normal(THRESHOLD, 4, len(words)))
        noised = sums + stream.normal(0, NOISE, (2, len(words)))
        sides = [table({w: float(c) for w, c in zip(words, row, strict=True) if c > THRESHOLD}) for row in noised]
        wrong += bool(word_findings(*sides, "a", "b", KNOWN))
    # Each is wrong once in a hundred, at most: fifteen of them hardly once in a million times.
    assert wrong < 15


def test_a_word_near_the_threshold_is_no_finding_and_one_far_above_it_is():
    assert word_findings(table({}), table({"whale,": THRESHOLD + 2}), "a", "b", KNOWN) == []
    (found,) = word_findings(table({}), table({"whale,": THRESHOLD + 20}), "a", "b", KNOWN)
    assert found.name == "punctuation-glued"


def test_a_blank_inside_is_unheard_of_however_near_the_threshold():
    (found,) = word_findings(table({"pequod": 40.0}), table({"pequod": 40.0, "the ship": 7.5}), "a", "b", KNOWN)
    assert found.name == "joined-tokens"
    assert found.strength == pytest.approx(7.5 / 47.5)


def test_words_that_no_cause_explains_appeared_or_vanished():
    words = {"xylophagous": 40.0, "quizzical": 30.0, "frumious": 20.0}
    (appeared,) = word_findings(table({}), table(words), "before", "after", KNOWN)
    (vanished,) = word_findings(table(words), table({}), "before", "after", KNOWN)
    assert (appeared.name, vanished.name) == ("words-appeared", "words-vanished")
    assert '"xylophagous", "quizzical", "frumious"' in appeared.evidence
    assert vanished.says.startswith("after lacks words of before")


def test_without_a_vocabulary_what_can_be_seen_is_seen():
    for bug in ("join-first-tokens", "damage-encoding", "leave-markup", "mark-invisibly", "mix-scripts"):
        (found, *_) = word_findings(table({}), table(struck(bug)), "before", "after")
        assert found.name == NAMED[bug]


def test_the_interval_of_a_share_is_that_of_noised_counts():
    counts = {"the ship": 40.0, "pequod": 30.0, "ahab's": 10.0}
    share = table(counts).share({"the ship"}, 0.95)
    assert share.value == 0.5
    # d(x/(x+y)) = ((1-s) dx - s dy) / (x+y), for one x and two y.
    assert share.high - share.value == pytest.approx(1.959963984540054 * NOISE * math.sqrt(0.25 + 2 * 0.25) / 80)
