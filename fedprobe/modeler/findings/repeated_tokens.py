"""Repeated tokens: a known word twice or more in one, or all of its letters repeated."""

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

_MOST = 4


def is_repeated(word: str, known: KnownWords) -> bool:
    """Whether `word` is a known one twice to four times, perhaps with a sign between, or each of its letters is."""
    for times in range(2, _MOST + 1):
        for between in ("", "-", "_", ",", "."):
            length, rest = divmod(len(word) - (times - 1) * len(between), times)
            if length > 0 and not rest and word == between.join([word[:length]] * times) and word[:length] in known:
                return True
        if word[::times] in known and word == "".join(sign * times for sign in word[::times]):
            return True
    return _without_runs(word) in known and _longest_run(word) > 2


def _without_runs(word: str) -> str:
    return "".join(sign for place, sign in enumerate(word) if not place or sign != word[place - 1])


def _longest_run(word: str) -> int:
    longest = run = 1
    for place in range(1, len(word)):
        run = run + 1 if word[place] == word[place - 1] else 1
        longest = max(longest, run)
    return longest


REPEATED_TOKENS = Cause("repeated-tokens", "words that are a known one repeated", is_repeated)
