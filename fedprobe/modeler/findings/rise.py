"""How much more of some words one release has than another, and whether noise alone explains it.

A word that was not released counts as the threshold, at which nobody could tell it from one that nobody has. Without a
bug, both releases add noise alike to the same sums: then each word's difference is as likely to be the one as the
other way round, and no larger than that of two noises. So their sum over n words that differ has a standard deviation
of at most sqrt(n) times that of one such difference, however many more words lie unseen below the threshold.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import norm

from fedprobe.modeler.findings.sides import Released

# For all questions together.
_LEVEL = 0.01


@dataclass(frozen=True)
class Rise:
    """By how much counts rose in sum, and the standard error that noise gives it."""

    total: float
    standard_error: float

    def is_beyond(self, questions: int) -> bool:
        """Whether it is too large for noise, where so many questions are asked."""
        return self.total > float(norm.isf(_LEVEL / questions)) * self.standard_error


def risen(before: Released, after: Released, words: Iterable[str] | None = None) -> dict[str, float]:
    """By how much each of `words` (None: all that were released) rose where it differs; what fell is negative."""
    limit = max(before.threshold, after.threshold)
    words = {*before.words, *after.words} if words is None else words
    differences = {word: max(limit, after.weight(word)) - max(limit, before.weight(word)) for word in words}
    return {word: difference for word, difference in differences.items() if difference}


def rise(before: Released, after: Released, words: Iterable[str]) -> Rise:
    """The rise of `words` together."""
    differences = risen(before, after, words)
    noise = math.hypot(before.standard_error, after.standard_error)
    return Rise(math.fsum(differences.values()), noise * math.sqrt(len(differences)))
