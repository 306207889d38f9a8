"""Joined tokens: one set of words has more with a blank inside than the other."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from fedprobe.modeler.findings.finding import Finding

# Two models of one kind of data differ a little, too: a finding needs more than that.
LEAST_STRENGTH = 0.01
_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class JoinedShare:
    """The share of one side's words that are several tokens in one, its 95% interval, and the most frequent of them.

    `of` says what it is a share of, with a place for the side's name.
    """

    value: float
    low: float
    high: float
    often: Sequence[str]
    of: str

    def more_than(self, other: "JoinedShare") -> tuple[float, float, float]:
        """The difference and its interval from both of theirs (Newcombe 1998, method 10)."""
        difference = self.value - other.value
        low = difference - math.hypot(self.value - self.low, other.high - other.value)
        high = difference + math.hypot(self.high - self.value, other.value - other.low)
        return difference, max(-1.0, low), min(1.0, high)


def share_of_drawn(words: Sequence[str]) -> JoinedShare:
    """Of words drawn from a model, of which there is one at least; Wilson's interval."""
    joined = [word for word in words if is_joined(word)]
    interval = binomtest(len(joined), len(words)).proportion_ci(method="wilson")
    often = [word for word, _ in Counter(joined).most_common(3)]
    of = "the words drawn from {}"
    return JoinedShare(len(joined) / len(words), float(interval.low), float(interval.high), often, of)


def share_of_counted(counts: Mapping[str, float], standard_error: float) -> JoinedShare:
    """Of the noised `counts` of released words, all above 0 and each with the same `standard_error`.

    The interval is that of a ratio of two noised sums to first order. Where nothing was released, nothing joined was:
    a share of 0.
    """
    joined = sorted((word for word in counts if is_joined(word)), key=lambda word: -counts[word])
    total = math.fsum(counts.values())
    share = math.fsum(counts[word] for word in joined) / total if total else 0.0
    squares = (1 - share) ** 2 * len(joined) + share**2 * (len(counts) - len(joined))
    margin = _NORMAL_95 * standard_error * math.sqrt(squares) / total if total else 0.0
    of = "the counts of the words that {} released"
    return JoinedShare(share, max(0.0, share - margin), min(1.0, share + margin), joined[:3], of)


def joined_tokens(a: Sequence[str], b: Sequence[str], a_name: str, b_name: str) -> Finding | None:
    """`more_joined` of the words drawn from two models; None where one draws none."""
    if not a or not b:
        return None
    return more_joined(share_of_drawn(a), share_of_drawn(b), a_name, b_name)


def more_joined(a: JoinedShare, b: JoinedShare, a_name: str, b_name: str) -> Finding | None:
    """Whether one side's words are several tokens in one more often than the other's.

    Strength: the share of words with a blank inside on the one side less that on the other, and the 95% interval of
    it. A finding is returned only where the whole interval lies above 0.01.
    """
    (name, more), (other, fewer) = ((b_name, b), (a_name, a)) if b.value >= a.value else ((a_name, a), (b_name, b))
    strength, low, high = more.more_than(fewer)
    if low <= LEAST_STRENGTH:
        return None
    often = ", ".join(f'"{word}"' for word in more.often)
    those = "those from {}" if more.of == fewer.of == "the words drawn from {}" else fewer.of
    return Finding(
        "joined-tokens",
        strength,
        low,
        high,
        f"{name} has words that are two tokens joined; {other} has fewer",
        f"{more.value:.1%} of {more.of.format(name)} have a blank inside, {fewer.value:.1%} of {those.format(other)}; "
        f"most often: {often}",
    )


def is_joined(word: str) -> bool:
    """Whether there are two tokens or more in `word`, set apart by blanks; noise of an untrained model is none."""
    return len(word.split()) > 1 and word.isprintable() and "\\x" not in word
