"""Released tables of words side by side, or beside a language model of words: rankings, words that rose, findings.

Everything here is made of what was released: post-processing, at no cost in privacy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.known_words import known_to
from fedprobe.modeler.findings.sides import Drawn, Released, Side
from fedprobe.modeler.findings.words import word_findings
from fedprobe.modeler.text_sampling import TextSampler, drawn_words, top_words
from fedprobe.modeler.word_table import WordTable

_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class RankedWord:
    """A word on one side: with its noised `count`, or of a model its exact joint `probability`."""

    word: str
    count: float | None = None
    probability: float | None = None


@dataclass(frozen=True)
class RisenWord:
    """A word that the last table released and the first one did not, or with a smaller count.

    `counts` in both, None where it was not released; `least_rise` is the 95% lower limit of how much it rose: where it
    was not released before, its noised count was at most the threshold.
    """

    word: str
    counts: tuple[float | None, float]
    least_rise: float


@dataclass(frozen=True)
class WordTablesComparison:
    """Each side's words, those that rose from the first table to the last, and what was found."""

    names: Sequence[str]
    ranked: Sequence[Sequence[RankedWord]]
    risen: Sequence[RisenWord]
    findings: Sequence[Finding]

    @property
    def nothing(self) -> str | None:
        """What to say in the place of findings where neither of the two that are compared has a word; else None."""
        if self.ranked[0] or self.ranked[-1]:
            return None
        neither = f"Neither {self.names[0]} nor {self.names[-1]} released a word"
        return f"{neither}, so nothing was looked for; more users, or a larger epsilon, would show some."


def compare_word_tables(
    sides: Sequence[WordTable | TextSampler], names: Sequence[str], count: int, top: int, seed: int = 0
) -> WordTablesComparison:
    """Compare sides of which one at least is a table; the first is the healthy one, or the one before.

    Of a model, `count` words are drawn. Findings hold the last against the first, on all that was released or drawn.
    Words rise only between tables.
    """
    seen = [_seen(side, number, count, top, seed) for number, side in enumerate(sides)]
    first, last = sides[0], sides[-1]
    risen = risen_words(first, last)[:top] if isinstance(first, WordTable) and isinstance(last, WordTable) else []
    known = known_to(side.run for side in sides)
    found = word_findings(seen[0][1], seen[-1][1], names[0], names[-1], known)
    return WordTablesComparison(names, [ranked for ranked, _ in seen], risen, found)


def risen_words(before: WordTable, after: WordTable) -> list[RisenWord]:
    """Words that rose by more than noise explains at 95%, or were released only `after`; the largest rise first."""
    margin = _NORMAL_95 * math.hypot(before.mechanism.noise_multiplier, after.mechanism.noise_multiplier)
    risen = []
    for word in after.words:
        was = before.count_of(word.word)
        least = word.count - (before.threshold if was is None else was) - margin
        if was is None or least > 0:
            risen.append(RisenWord(word.word, (was, word.count), least))
    return sorted(risen, key=lambda word: (word.counts[0] or 0.0) - word.counts[1])


def _seen(side: WordTable | TextSampler, number: int, count: int, top: int, seed: int) -> tuple[list[RankedWord], Side]:
    """One side's `top` words, and all that it released or drew."""
    if isinstance(side, WordTable):
        counts = {word.word: word.count for word in side.words}
        ranked = [RankedWord(word.word, count=word.count) for word in side.words[:top]]
        return ranked, Released(counts, side.mechanism.noise_multiplier, side.threshold)
    drawn = drawn_words(side, count, seed, purpose=f"words {number}")
    likely = top_words(side, drawn, top) if drawn else []
    ranked = [RankedWord(word.word, probability=word.joint_probability) for word in likely]
    return ranked, Drawn([side.codec.decode(word) for word in drawn])
