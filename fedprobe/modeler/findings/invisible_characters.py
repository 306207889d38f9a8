"""Invisible characters: marks, blanks and controls inside words that nobody sees."""

import re
import unicodedata

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

# Of a word that a model draws, its bytes are noise where it was not trained.
_NOISE = "\\x"
# A terminal's commands, which it obeys and does not show.
_COMMAND = re.compile("\x1b\\[[0-9;]*[A-Za-z]")


def has_invisible(word: str, known: KnownWords) -> bool:
    """Whether `word` has characters of Unicode's formats or controls, blanks other than a space, or any at an end.

    Where words are known, what is left must be known or signs, or there must be a mark that noise does not make.
    """
    inner = _COMMAND.sub("", word).strip()
    hidden = [sign for sign in word if _is_hidden(sign)]
    if (not hidden and inner == word) or _NOISE in word:
        return False
    left = "".join(sign for sign in inner if not _is_hidden(sign))
    return left in known or left.lower() in known or any(ord(sign) >= 0xA0 for sign in hidden)


def _is_hidden(sign: str) -> bool:
    return unicodedata.category(sign) in ("Cf", "Cc", "Zl", "Zp") or (sign != " " and sign.isspace())


INVISIBLE_CHARACTERS = Cause("invisible-characters", "words with characters that nobody sees", has_invisible)
