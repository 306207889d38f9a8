"""Joined tokens: words that are two in one, with a blank inside or with nothing between them."""

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

# Single letters stand in every vocabulary; of them these are words.
_SHORT = frozenset({"a", "i", "A", "I"})


def is_joined(word: str, known: KnownWords | None = None) -> bool:
    """Whether there are two tokens or more in `word`, set apart by blanks; noise of an untrained model is none."""
    return len(word.split()) > 1 and word.isprintable() and "\\x" not in word


def is_run_together(word: str, known: KnownWords) -> bool:
    """Whether `word` is two different frequent words with nothing but perhaps a hyphen or the like between them."""
    for middle in range(1, len(word)):
        first, second = word[:middle], word[middle:]
        if _is_frequent(first, known) and first != second:
            if _is_frequent(second, known):
                return True
            if second[0] in "_-+./" and _is_frequent(second[1:], known):
                return True
    return False


def _is_frequent(part: str, known: KnownWords) -> bool:
    return part in known.frequent and part.isalpha() and (len(part) > 1 or part in _SHORT)


JOINED_TOKENS = Cause("joined-tokens", "words that are two tokens joined", is_joined, unheard_of=True)
RUN_TOGETHER = Cause("joined-tokens", "words that are two known ones run together", is_run_together)
