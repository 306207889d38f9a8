"""Truncation: words that are known ones cut off."""

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

_ELLIPSES = ("…", "...")


def is_cut_off(word: str, known: KnownWords) -> bool:
    """Whether a known word, or one with more letters, begins with `word`; an ellipsis at its end is no part of it."""
    for ellipsis in _ELLIPSES:
        if word.endswith(ellipsis) and len(word) > len(ellipsis):
            word = word.removesuffix(ellipsis)
    return word[:1].isalnum() and known.is_beginning(word)


def lacks_beginning(word: str, known: KnownWords) -> bool:
    """Whether a known word ends with `word` and has more before it."""
    return word[:1].isalnum() and known.is_end(word)


TRUNCATION = Cause("truncation", "words that are known ones cut off", is_cut_off)
BEGINNING_LOST = Cause("truncation", "words that are known ones without their beginning", lacks_beginning)
