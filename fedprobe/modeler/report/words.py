"""What every section of words has in common: lists of words with a figure each, and how a word is shown."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedprobe.modeler.printable import visible
from fedprobe.modeler.report.verdict import Verdict

PROBABILITY = "joint probability, 1e-3"
_LONGEST = 120


@dataclass(frozen=True)
class WordList:
    """A run's words, best first, each with its figure; `heading` says what that is, here the exact joint probability.

    A run whose words carry another figure, such as noised counts of users, is a list with another heading.
    """

    name: str
    heading: str
    rows: Sequence[tuple[str, str]]
    note: str = ""


@dataclass(frozen=True)
class WordsSection:
    """Each run's most probable words, those that rose from the first run to the last, and what was tested."""

    lists: Sequence[WordList]
    risen_headings: Sequence[str]
    risen: Sequence[Sequence[str]]
    verdicts: Sequence[Verdict]
    note: str | None
    says: str = "The most probable words of each run."
    risen_says: str = "joint probability in 1e-3 in every run, and the natural logarithm of the last over the first"
    kind: str = "words"


def shown_word(word: str) -> str:
    """A word as the page shows it, with its blanks to be seen; cut where it is very long."""
    return cut(visible(word))


def cut(text: str) -> str:
    """Text of a length that a page can bear."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
