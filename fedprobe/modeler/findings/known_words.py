"""The words that are known to be sound: a public vocabulary, and what the healthy side has."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

from fedprobe.runs import Run

# Of a vocabulary, which begins with its most frequent words, so many are frequent.
_FREQUENT = 1000
# The rarer words of a vocabulary stand in for sound words outside it, to say what chance explains.
_RARE = 2000
# Longer words are hardly any, and have too many pieces.
_LONGEST_CUT = 24
# A script is usual if one in a hundred frequent words is written in it.
_USUAL = 0.01


@dataclass(frozen=True)
class KnownWords:
    """Sound words: a public `vocabulary` by falling frequency (it may be empty), and `others` that are known."""

    vocabulary: Sequence[str] = ()
    others: frozenset[str] = field(default_factory=frozenset)

    def __contains__(self, word: str) -> bool:
        return word in self._all

    @cached_property
    def _all(self) -> frozenset[str]:
        return self.others.union(self.vocabulary)

    @cached_property
    def frequent(self) -> frozenset[str]:
        """The vocabulary's most frequent words; all that are known where there is no vocabulary."""
        return frozenset(self.vocabulary[:_FREQUENT]) or self.others

    @property
    def rare(self) -> Sequence[str]:
        """The vocabulary's rarest words."""
        return self.vocabulary[-_RARE:]

    @cached_property
    def scripts(self) -> frozenset[str]:
        """The scripts that frequent words are written in; Latin where none is known."""
        counts = Counter(script for word in self.frequent for script in scripts_of(word))
        usual = (script for script, count in counts.items() if count >= _USUAL * len(self.frequent))
        return frozenset(usual) or frozenset({"LATIN"})

    def is_other_case(self, word: str) -> bool:
        """Whether `word` is unknown as it is and known in another case."""
        forms = self._by_case.get(word.casefold(), frozenset())
        return bool(forms - {word})

    def is_beginning(self, piece: str) -> bool:
        """Whether a known word begins with `piece` and goes on."""
        return piece in self._beginnings

    def is_end(self, piece: str) -> bool:
        """Whether a known word ends with `piece` and has more before it."""
        return piece in self._ends

    def is_inside(self, piece: str) -> bool:
        """Whether `piece` stands inside a known word, neither at its beginning nor at its end."""
        return piece in self._insides

    def is_near(self, word: str) -> bool:
        """Whether `word` and another known word become the same when one letter, at most, is left out of either.

        That takes in a letter lost, added or changed, and two neighbours exchanged.
        """
        variants = {word, *without_one(word)}
        return any(self._near.get(variant, frozenset()) - {word} for variant in variants)

    def is_without_vowels(self, word: str) -> bool:
        """Whether `word` has no vowel, and a known word is the same without its own."""
        return word == without_vowels(word) and bool(self._consonants.get(word, frozenset()) - {word})

    def is_rearranged(self, word: str) -> bool:
        """Whether another known word has the same letters."""
        return bool(self._by_letters.get("".join(sorted(word)), frozenset()) - {word})

    @cached_property
    def _consonants(self) -> dict[str, set[str]]:
        return _grouped((without_vowels(word), word) for word in self._all)

    @cached_property
    def _by_letters(self) -> dict[str, set[str]]:
        return _grouped(("".join(sorted(word)), word) for word in self._all)

    @cached_property
    def _by_case(self) -> dict[str, set[str]]:
        return _grouped((word.casefold(), word) for word in self._all)

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        return frozenset(word[:end] for word in self._all for end in range(1, len(word)))

    @cached_property
    def _ends(self) -> frozenset[str]:
        return frozenset(word[start:] for word in self._all for start in range(1, len(word)))

    @cached_property
    def _insides(self) -> frozenset[str]:
        words = (word for word in self._all if len(word) <= _LONGEST_CUT)
        return frozenset(
            word[start:end]
            for word in words
            for start in range(1, len(word) - 1)
            for end in range(start + 1, len(word))
        )

    @cached_property
    def _near(self) -> dict[str, set[str]]:
        return _grouped((variant, word) for word in self._all for variant in (word, *without_one(word)))


def known_to(runs: Iterable[Run]) -> KnownWords:
    """The vocabulary that the runs' words are outside of: that of the first run, the healthy one, which kept it.

    Raises StoredError where it is missing or damaged.
    """
    kept = (run.vocabulary.words for run in runs if run.config.get("vocabulary") is not None)
    return KnownWords(next(kept, ()))


def without_one(word: str) -> list[str]:
    """`word` with one letter left out, each in turn."""
    return [word[:place] + word[place + 1 :] for place in range(len(word))]


def without_vowels(word: str) -> str:
    return "".join(letter for letter in word if letter not in "aeiou")


def scripts_of(word: str) -> set[str]:
    """The scripts of the letters in `word`, called as their Unicode names begin, as in LATIN or CYRILLIC."""
    return {script for script in map(_script, word) if script is not None}


@cache
def _script(sign: str) -> str | None:
    return unicodedata.name(sign, "UNKNOWN").split()[0] if sign.isalpha() else None


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for name, word in pairs:
        groups.setdefault(name, set()).add(word)
    return groups
