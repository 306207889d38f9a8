"""Encoding damage: bytes of one encoding that were read as another."""

import re
import unicodedata
from binascii import Error, a2b_base64
from urllib.parse import unquote

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

_READ_AS = ("cp1252", "latin-1", "cp1251", "mac_roman", "cp437")
# What stands for bytes that could not be read, or was escaped on the way.
_LOST = re.compile("\ufffd|\\\\u[0-9a-fA-F]{4}|\\\\x[0-9a-fA-F]{2}|(?:%[0-9a-fA-F]{2}){2}|=[0-9A-F]{2}=[0-9A-F]{2}")
_CONTROLS = re.compile("[\x80-\x9f]")


def is_damaged(word: str, known: KnownWords) -> bool:
    """Whether `word` becomes another text when its bytes are read aright, or shows that some were lost."""
    if word.isascii():
        if _shows_noise(word):
            return False
        return bool(_LOST.search(word)) or _is_wide(word) or _is_escaped(word, known) or _has_lost_sign(word, known)
    return bool(_LOST.search(word) or _CONTROLS.search(word)) or is_mojibake(word) or _has_marks_apart(word, known)


def _is_wide(word: str) -> bool:
    """Whether every other byte is null, as in UTF-16 that was read as an encoding of one byte a letter."""
    letters, nulls = (word[::2], word[1::2]) if word[:1] != "\0" else (word[1::2], word[::2])
    return set(nulls) == {"\0"} and letters.isprintable()


def _is_escaped(word: str, known: KnownWords) -> bool:
    """Whether `word` is a known one with its bytes written in another way: by percent signs, in base 16 or 64."""
    if "%" in word and unquote(word) != word and unquote(word) in known:
        return True
    if len(word) < 4 or not word.isprintable():
        return False
    for read in (bytes.fromhex, a2b_base64):
        try:
            if read(word).decode() in known:
                return True
        except (ValueError, Error):
            continue
    return False


def _has_lost_sign(word: str, known: KnownWords) -> bool:
    """Whether a question mark inside `word` stands for a sign that a known word has there."""
    return word[1:-1].count("?") == 1 and word.replace("?", "'") in known


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


def _has_marks_apart(word: str, known: KnownWords) -> bool:
    """Whether `word` has accents as marks of their own, and is known with accented letters, or without."""
    bare = "".join(sign for sign in word if not unicodedata.combining(sign))
    return bare != word and (bare in known or unicodedata.normalize("NFC", word) in known)


def _shows_noise(word: str) -> bool:
    """Whether there are escapes by which the words of an untrained model are shown."""
    return bool(re.search(r"\\x[0-9a-f]{2}", word))


ENCODING_DAMAGE = Cause("encoding-damage", "words whose bytes were read in another encoding", is_damaged)
