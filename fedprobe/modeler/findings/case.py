"""Case lost, or changed: words that are known in another case."""

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords


def lost_case(word: str, known: KnownWords) -> bool:
    """Whether `word` has small letters only and is known with capitals."""
    return word == word.lower() and known.is_other_case(word)


def changed_case(word: str, known: KnownWords) -> bool:
    """Whether `word` has capitals and is known in another case."""
    return word != word.lower() and known.is_other_case(word)


_CAPITALS_LOST = Cause("case-lost", "words with capitals whose known forms have others or none", changed_case)
_CAPITALS_FOUND = Cause("case-changed", "words in small letters whose known forms have capitals", lost_case)
CASE_LOST = Cause("case-lost", _CAPITALS_FOUND.has, lost_case, mirror=_CAPITALS_FOUND)
CASE_CHANGED = Cause("case-changed", _CAPITALS_LOST.has, changed_case, mirror=_CAPITALS_LOST)
