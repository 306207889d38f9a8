"""Letters changed: words that are a known one but for a letter, or for two neighbours exchanged."""

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

# Short words are near to some other by chance.
_SHORTEST = 4


def has_changed_letter(word: str, known: KnownWords) -> bool:
    """Whether `word` becomes a known one when a letter, at most, is left out of either."""
    return len(word) >= _SHORTEST and word.isalpha() and known.is_near(word)


LETTERS_CHANGED = Cause("letters-changed", "words that are known ones but for a letter", has_changed_letter)
