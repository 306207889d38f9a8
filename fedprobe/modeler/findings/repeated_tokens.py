"""Repeated tokens: a known word twice or more in one, or all of its letters repeated."""

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

_MOST = 4


def is_repeated(word: str, known: KnownWords) -> bool:
    """Whether `word` is a known one twice to four times, or begins or has each letter twice."""
    for times in range(2, _MOST + 1):
        if any(_is_times(word, times, between, known) for between in ("", "-", "_", ",", ".")):
            return True
        if word[::times] in known and word == "".join(sign * times for sign in word[::times]):
            return True
    start, _, whole = word.partition("-")
    if start and whole.startswith(start) and whole != start and whole in known:
        return True
    return _longest_run(word) > 2 and _without_runs(word) in known


def _is_times(word: str, times: int, between: str, known: KnownWords) -> bool:
    length, rest = divmod(len(word) - (times - 1) * len(between), times)
    first = word[:length]
    # Two equal letters are no word said twice.
    if length < 1 or rest or (length == 1 and first.isalnum()):
        return False
    return word == between.join([first] * times) and first in known


def _without_runs(word: str) -> str:
    return "".join(sign for place, sign in enumerate(word) if not place or sign != word[place - 1])


def _longest_run(word: str) -> int:
    longest = run = 1
    for place in range(1, len(word)):
        run = run + 1 if word[place] == word[place - 1] else 1
        longest = max(longest, run)
    return longest


REPEATED_TOKENS = Cause("repeated-tokens", "words that are a known one repeated", is_repeated)
