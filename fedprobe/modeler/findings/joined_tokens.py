"""Joined tokens: words that are two in one, with a blank inside or with nothing between them."""

import re

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

# Single letters stand in every vocabulary; of them these are words.
_SHORT = frozenset({"a", "i", "A", "I"})
# What is left of a blank that did not separate.
_BETWEEN = re.compile(r"(?:[^\w\s]|_){0,2}|%20|&nbsp;|\\[trn]")
_LONGEST_BETWEEN = 6
_NO_BLANKS = re.compile("[\x1c-\x1f\x85]")


def is_joined(word: str, known: KnownWords | None = None) -> bool:
    """Whether there are two tokens or more in `word`, set apart by blanks; noise of an untrained model is none."""
    parts = word.split()
    whole = all(part.isprintable() for part in parts) and "\\x" not in word and not _NO_BLANKS.search(word)
    return len(parts) > 1 and whole


def is_run_together(word: str, known: KnownWords) -> bool:
    """Whether `word` is two different frequent words with nothing, or a sign or an escaped blank, between them."""
    for end in range(1, len(word)):
        first = word[:end]
        if not _is_frequent(first, known):
            continue
        for start in range(end, min(end + _LONGEST_BETWEEN + 1, len(word))):
            second = word[start:]
            if first != second and _is_frequent(second, known) and _BETWEEN.fullmatch(word[end:start]):
                return True
    return False


def _is_frequent(part: str, known: KnownWords) -> bool:
    return part in known.frequent and part.isalpha() and (len(part) > 1 or part in _SHORT)


JOINED_TOKENS = Cause("joined-tokens", "words that are two tokens joined", is_joined, unheard_of=True)
RUN_TOGETHER = Cause("joined-tokens", "words that are two known ones run together", is_run_together)
