"""One side's words: released with noised counts, or drawn from a model; and what share of them a cause explains."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from scipy.stats import binomtest, norm


@dataclass(frozen=True)
class Share:
    """A share of one side's words and its interval."""

    value: float
    low: float
    high: float

    def more_than(self, other: "Share") -> "Share":
        """The difference and its interval from both of theirs (Newcombe 1998, method 10)."""
        difference = self.value - other.value
        low = difference - math.hypot(self.value - self.low, other.high - other.value)
        high = difference + math.hypot(self.high - self.value, other.value - other.low)
        return Share(difference, max(-1.0, low), min(1.0, high))


@dataclass(frozen=True)
class Released:
    """Words that were released: noised `counts`, each with the same `standard_error` and above `threshold`."""

    counts: Mapping[str, float]
    standard_error: float
    threshold: float
    figure = "noised count"
    # What is shown of a word that is not here.
    none = None

    @property
    def of(self) -> str:
        """What a share is a share of, with a place for the side's name."""
        many = len(self.counts)
        return f"the counts of the {many:,} word{'' if many == 1 else 's'} that {{}} released"

    @property
    def words(self) -> Collection[str]:
        return self.counts.keys()

    def without(self, words: Collection[str]) -> "Released":
        """The same without `words`."""
        return replace(self, counts={word: count for word, count in self.counts.items() if word not in words})

    def weight(self, word: str) -> float:
        """The noised count of `word`; 0 where it was not released."""
        return self.counts.get(word, 0.0)

    def share(self, words: Collection[str], confidence: float) -> Share:
        """The share of all counts that is of `words`, some of those released; 0 where nothing was.

        The interval is that of a ratio of two noised sums to first order, for words that are looked up whether they
        were released or not. That only counts above the threshold are seen makes the smallest ones too large, those of
        `words` and of the others alike, and is not in it.
        """
        total = math.fsum(self.counts.values())
        if not total:
            return Share(0.0, 0.0, 0.0)
        value = math.fsum(self.counts[word] for word in words) / total
        squares = (1 - value) ** 2 * len(words) + value**2 * (len(self.counts) - len(words))
        margin = float(norm.isf((1 - confidence) / 2)) * self.standard_error * math.sqrt(squares) / total
        return Share(value, max(0.0, value - margin), min(1.0, value + margin))


@dataclass(frozen=True)
class Drawn:
    """Words that were drawn from a model, repetitions and all; there may be none."""

    drawn: Sequence[str]
    of = "the words drawn from {}"
    figure = "share of draws"
    none = 0.0

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.drawn)

    @property
    def words(self) -> Collection[str]:
        return self.counts.keys()

    def without(self, words: Collection[str]) -> "Drawn":
        """The same without the draws of `words`."""
        return self if not words else Drawn([word for word in self.drawn if word not in words])

    def weight(self, word: str) -> float:
        """How often `word` was drawn, of all draws; 0 where none was."""
        return self.counts[word] / max(1, len(self.drawn))

    def share(self, words: Collection[str], confidence: float) -> Share:
        """The share of draws that are one of `words`, with Wilson's interval; anything may be where none was drawn."""
        if not self.drawn:
            return Share(0.0, 0.0, 1.0)
        hits = sum(self.counts[word] for word in words)
        interval = binomtest(hits, len(self.drawn)).proportion_ci(confidence, method="wilson")
        return Share(hits / len(self.drawn), float(interval.low), float(interval.high))


Side = Released | Drawn
