"""Letters changed: words that are a known one but for a letter, or with letters lost, replaced or in another order."""

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

# Short words are near to some other by chance.
_SHORTEST = 3
# Digits and signs that are written for letters.
_REPLACED = str.maketrans("431057@$!", "aeiostasi")


def has_changed_letter(word: str, known: KnownWords) -> bool:
    """Whether `word` becomes a known one when a letter or sign, at most, is left out of either."""
    return len(word) >= _SHORTEST and known.is_near(word)


def has_other_letters(word: str, known: KnownWords) -> bool:
    """Whether `word` is a known one without its vowels, with digits for letters, or with its letters rearranged."""
    letters = word.translate(_REPLACED)
    if letters != word and letters in known and any(sign.isalpha() for sign in word):
        return True
    return len(word) >= _SHORTEST and word.isalpha() and (known.is_without_vowels(word) or known.is_rearranged(word))


LETTERS_CHANGED = Cause("letters-changed", "words that are known ones but for a letter", has_changed_letter)
LETTERS_MIXED = Cause("letters-changed", "words that are known ones with letters lost or mixed", has_other_letters)
