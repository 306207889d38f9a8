"""Punctuation glued: known words with signs at an end."""

import unicodedata

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords


def has_glued_signs(word: str, known: KnownWords) -> bool:
    """Whether `word` without the signs at its ends is a known word (or any, where nothing is known)."""
    start, end = 0, len(word)
    while start < end and _is_sign(word[start]):
        start += 1
    while end > start and _is_sign(word[end - 1]):
        end -= 1
    inner = word[start:end]
    return bool(inner) and inner != word and (inner in known or inner.lower() in known)


def _is_sign(sign: str) -> bool:
    return sign.isprintable() and not (sign.isalnum() or sign.isspace() or unicodedata.combining(sign))


PUNCTUATION_GLUED = Cause("punctuation-glued", "known words with punctuation at an end", has_glued_signs)
