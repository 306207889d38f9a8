"""Encoding damage: bytes of one encoding that were read as another."""

import re
import unicodedata

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

_READ_AS = ("cp1252", "latin-1", "cp1251", "mac_roman", "cp437")
# What stands for bytes that could not be read, or was escaped on the way.
_LOST = re.compile("\ufffd|\\\\u[0-9a-fA-F]{4}|\\\\x[0-9a-fA-F]{2}|(?:%[0-9a-fA-F]{2}){2}|=[0-9A-F]{2}=[0-9A-F]{2}")
_CONTROLS = re.compile("[\x80-\x9f]")


def is_damaged(word: str, known: KnownWords) -> bool:
    """Whether `word` becomes another text when its bytes are read as UTF-8, or shows that bytes were lost."""
    if word.isascii():
        return bool(_LOST.search(word)) and not _is_noise(word)
    return bool(_LOST.search(word) or _CONTROLS.search(word)) or is_mojibake(word) or _is_half_of_pairs(word, known)


def is_mojibake(word: str) -> bool:
    """Whether the bytes of `word`, in an encoding of one byte a letter, are UTF-8 of fewer letters."""
    for encoding in _READ_AS:
        try:
            read = word.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
        if read != word and all(sign.isprintable() or unicodedata.category(sign) == "Cf" for sign in read):
            return True
    return _is_ragged(word)


def _is_ragged(word: str) -> bool:
    """Whether what begins like UTF-8 read as Windows-1252 is there, and its end was lost."""
    return "â€" in word or "ï»¿" in word or "ï¿½" in word


def _is_half_of_pairs(word: str, known: KnownWords) -> bool:
    """Whether `word` has marks of its own for accents where the known word has letters with accents, or none."""
    composed = unicodedata.normalize("NFC", word)
    return composed != word and composed in known


def _is_noise(word: str) -> bool:
    """Whether escapes are those by which the words of an untrained model are shown."""
    return bool(re.search(r"\\x[0-9a-f]{2}", word))


ENCODING_DAMAGE = Cause("encoding-damage", "words whose bytes were read in another encoding", is_damaged)
