"""Tokens split: pieces of known words, beginnings as well as ends."""

from collections.abc import Collection

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

# A word that was split leaves a beginning and an end; one that was cut off leaves one of them. Of the pieces that can
# only be one of the two, so many at least are of the rarer kind.
_LEAST_OF_EITHER = 0.2
# Marks by which tokenizers of pieces show where a word goes on.
_MARKS = ("##", "@@", "▁", "Ġ", "Ċ")


def is_piece(word: str, known: KnownWords) -> bool:
    """Whether `word` is a piece of a known one, or bears a mark of pieces."""
    if any(mark in word and word != mark for mark in _MARKS):
        return True
    return _is_text(word) and (known.is_beginning(word) or known.is_end(word) or known.is_inside(word))


def pieces(words: Collection[str], known: KnownWords) -> set[str]:
    """The pieces among `words`; none where they are beginnings only, or ends only, which truncation explains."""
    found = {word for word in words if is_piece(word, known)}
    marked = {word for word in found if any(mark in word for mark in _MARKS)}
    beginnings = sum(_begins_only(word, known) for word in found - marked)
    ends = sum(_ends_only(word, known) for word in found - marked)
    return found if min(beginnings, ends) > _LEAST_OF_EITHER * (beginnings + ends) else marked


def _begins_only(word: str, known: KnownWords) -> bool:
    return known.is_beginning(word + "'") or (known.is_beginning(word) and not known.is_end(word))


def _ends_only(word: str, known: KnownWords) -> bool:
    return known.is_end("'" + word) or (known.is_end(word) and not known.is_beginning(word))


def _is_text(word: str) -> bool:
    return any(sign.isalnum() for sign in word)


TOKENS_SPLIT = Cause("tokens-split", "pieces of known words, their beginnings and ends", is_piece, among=pieces)
