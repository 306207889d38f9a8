"""Joined tokens: one set of words has more with a blank inside than the other."""

from collections import Counter
from collections.abc import Sequence

from fedprobe.modeler.findings.finding import Finding, difference_of_shares

# Two models of one kind of data differ a little, too: a finding needs more than that.
LEAST_STRENGTH = 0.01


def joined_tokens(a: Sequence[str], b: Sequence[str], a_name: str, b_name: str) -> Finding | None:
    """Whether the words drawn from one side are several tokens in one more often than the other's.

    Strength: the share of words with a blank inside on the one side less that on the other, and Newcombe's 95%
    interval of it. A finding is returned only where the whole interval lies above 0.01.
    """
    joined = [[word for word in words if _is_joined(word)] for words in (a, b)]
    sizes = [len(a), len(b)]
    if not min(sizes):
        return None
    more = int(len(joined[1]) / sizes[1] >= len(joined[0]) / sizes[0])
    name, other = ((a_name, b_name), (b_name, a_name))[more]
    strength, low, high = difference_of_shares(len(joined[more]), sizes[more], len(joined[1 - more]), sizes[1 - more])
    if low <= LEAST_STRENGTH:
        return None
    often = ", ".join(f'"{word}"' for word, _ in Counter(joined[more]).most_common(3))
    return Finding(
        "joined-tokens",
        strength,
        low,
        high,
        f"{name} has words that are two tokens joined; {other} has fewer",
        f"{len(joined[more]) / sizes[more]:.1%} of the words drawn from {name} have a blank inside, "
        f"{len(joined[1 - more]) / sizes[1 - more]:.1%} of those from {other}; most often: {often}",
    )


def _is_joined(word: str) -> bool:
    """Whether there are two tokens or more in `word`, set apart by blanks; noise of an untrained model is none."""
    return len(word.split()) > 1 and word.isprintable() and "\\x" not in word
