"""The symbols of language models: the words of a vocabulary, or bytes; each with marks for begin and end."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fedprobe.errors import FedprobeError

PAD, OOV, BEGIN, END = range(4)
SPECIALS = 4
# How the special symbols are written wherever sentences are shown; no word may be called like one of them.
NAMES = ("<pad>", "UNK", "<begin>", "<end>")
RESERVED = frozenset({*NAMES, "<unk>", "<oov>", "<bos>", "<eos>", "<s>", "</s>"})


class VocabularyError(FedprobeError):
    """The file is no vocabulary. The message holds a line's number, never a word."""

    exit_code = 3


def fault_of(word: str) -> str | None:
    """Why `word` cannot stand in a vocabulary, without naming it; None if it can."""
    if not word or word != word.strip() or "\n" in word or "\r" in word or word.startswith("\ufeff"):
        return "is empty or has blanks at an end; one word a line"
    if word in RESERVED:
        return "is the name of a special symbol; leave it out"
    if any("\ud800" <= sign <= "\udfff" for sign in word):
        return "is no Unicode text; leave it out"
    return None


@dataclass(frozen=True)
class Vocabulary:
    """The most frequent words, in order. Their ids follow those of pad 0, out of vocabulary 1, begin 2, end 3.

    Raises VocabularyError for no words, empty ones, duplicates, line breaks, or a special symbol's name.
    """

    words: tuple[str, ...]
    begin = BEGIN
    end = END
    # Marks that no sentence contains, so that none is ever sampled.
    impossible = (PAD, BEGIN)

    def __post_init__(self) -> None:
        if not self.words:
            raise VocabularyError("the vocabulary is empty: it takes one word a line")
        seen: set[str] = set()
        for line, word in enumerate(self.words, 1):
            fault = fault_of(word)
            if fault is not None:
                raise VocabularyError(f"line {line} of the vocabulary {fault}")
            if word in seen:
                raise VocabularyError(f"line {line} of the vocabulary repeats an earlier one; every word stands once")
            seen.add(word)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, token: str) -> bool:
        return token in self._ids

    def outside(self, tokens: Sequence[str]) -> int:
        """How many of `tokens` are no words of the vocabulary."""
        return len(tokens) - sum(map(self._ids.__contains__, tokens))

    @property
    def symbols(self) -> int:
        """How many ids there are: the words and four special symbols."""
        return len(self.words) + SPECIALS

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the words, which tells vocabularies apart."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """The id of every token of a sentence; those of words outside the vocabulary are 1."""
        return [self._ids.get(token, OOV) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words of `ids`; words outside the vocabulary appear as UNK."""
        return [NAMES[id] if id < SPECIALS else self.words[id - SPECIALS] for id in ids]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: id for id, word in enumerate(self.words, SPECIALS)}


@dataclass(frozen=True)
class Bytes:
    """UTF-8 bytes as ids 0 to 255, begin of word 256, end of word 257."""

    begin = 256
    end = 257
    symbols = 258
    impossible = (256,)

    def encode(self, word: str) -> list[int]:
        """The bytes of one word. What is no Unicode text (a lone surrogate) becomes a question mark."""
        return list(word.encode("utf-8", "replace"))

    def decode(self, ids: Iterable[int]) -> str:
        """The word of these bytes; those that are not UTF-8 appear as escapes."""
        return bytes(ids).decode("utf-8", "backslashreplace")


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary in a file of one word a line. Raises VocabularyError, which names no word."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise VocabularyError(
            f"no vocabulary can be read at {path}; make one with: fedprobe data vocabulary"
        ) from error
    except UnicodeDecodeError:
        raise VocabularyError(f"{path} is not UTF-8 text; make it with: fedprobe data vocabulary") from None
    try:
        return Vocabulary(tuple(text.removesuffix("\n").split("\n")) if text else ())
    except VocabularyError as error:
        raise VocabularyError(f"{path}: {error}") from error


def write_vocabulary(path: Path, vocabulary: Vocabulary) -> None:
    """Write one word a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(vocabulary.words) + "\n", encoding="utf-8")
