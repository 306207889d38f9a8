"""Placeholders: a mark stands where a word or a number was, or a template or a missing value was not filled in."""

import re

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

_MARK = re.compile(
    r"[<\[{(%$_#@]{1,3}[A-Za-z][\w .\-]*[>\]})%$_#@]{1,3}|%[sd]|\$\w+|#{2,}|x{3,}|X{3,}|\*{3,}|█+|_{3,}|\?{2,}"
)
_MISSING = frozenset({"null", "none", "nan", "undefined", "n/a", "nil", "unk", "redacted", "removed", "deleted"})
_ZEROS = re.compile(r"0{2,}|[0#dD]+(?:[.,:/\-][0#dD]+)+")


def is_placeholder(word: str, known: KnownWords) -> bool:
    """Whether `word` is a mark in brackets, a value that is missing, or a masked number."""
    inner = word.strip("[](){}%$_#@")
    quoted = inner != word and inner in known
    if _ZEROS.fullmatch(word) or (_MARK.fullmatch(word) and not quoted):
        return True
    return word.strip("<>[](){}").lower() in _MISSING


PLACEHOLDERS = Cause("placeholders", "placeholders in the place of words or numbers", is_placeholder)
