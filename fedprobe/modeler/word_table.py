"""The words that a one-round run released, with their noised counts: read from the run, at no cost in privacy."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fedprobe.modeler.printable import one_line
from fedprobe.models.stored import StoredError
from fedprobe.privacy.partition_selection import PartitionSelection, ReleasedWords
from fedprobe.runs import Run, find

_NORMAL_95 = 1.959963984540054
METHOD = "one-round"


@dataclass(frozen=True)
class CountedWord:
    """A released word. `count` is the noised sum of its users' weights, `margin` the half-width of its 95% interval.

    A user who names m words, at most k, adds 1/sqrt(m) to each: between 1/sqrt(k) and 1. So no fewer users named the
    word than the count, and no more than sqrt(k) times it: `users` is an interval for their number. Both hold at 95%
    for a word that is looked up whether it was released or not. Of words near the threshold, only those are seen whose
    noise was large: their counts are too large, by up to some standard deviations.
    """

    word: str
    count: float
    margin: float
    users: tuple[int, int]

    def to_json(self) -> dict:
        interval = [self.count - self.margin, self.count + self.margin]
        return {"word": self.word, "count": self.count, "count_interval": interval, "users_interval": list(self.users)}


@dataclass(frozen=True)
class WordTable:
    """What a run of `train-charlm --method one-round` released, after `round` (0: nothing yet)."""

    run: Run
    round: int
    released: ReleasedWords
    mechanism: PartitionSelection

    @property
    def threshold(self) -> float:
        """What a noised count must exceed to be released."""
        return self.mechanism.threshold

    @cached_property
    def words(self) -> list[CountedWord]:
        """All released words, by falling count."""
        return [self._counted(word, count) for word, count in self._counts.items()]

    def count_of(self, word: str) -> float | None:
        """The noised count of `word`; None if it was not released: it is not above the threshold, or is nowhere."""
        return self._counts.get(word)

    @cached_property
    def _counts(self) -> dict[str, float]:
        return dict(zip(self.released.words, self.released.weights, strict=True))

    def _counted(self, word: str, count: float) -> CountedWord:
        margin = _NORMAL_95 * self.mechanism.noise_multiplier
        least = max(1, math.ceil(count - margin))
        most = max(least, math.floor((count + margin) * math.sqrt(self.mechanism.words_per_user)))
        return CountedWord(word, count, margin, (least, most))


def is_word_table(run: Run) -> bool:
    """Whether the run released words in one round, instead of training a model of them."""
    return (run.config.get("command"), run.config.get("method")) == ("train-charlm", METHOD)


def open_word_table(path: Path) -> WordTable:
    """The table of a run, or of one checkpoint's folder.

    Raises RunError where `path` is neither, StoredError where what it holds is cut short, altered, or no such table.
    """
    run, checkpoint = find(path)
    tensors, round = run.load(checkpoint)
    try:
        released = ReleasedWords.from_bytes(tensors["words"].numpy())
        training = run.config["training"]
        names = ("words_per_user", "noise_multiplier", "threshold_delta")
        return WordTable(run, round, released, PartitionSelection(*(training[name] for name in names)))
    except (KeyError, TypeError, ValueError) as error:
        raise StoredError(f"{run.path} does not hold the words that it describes; release them again") from error


def write_words(path: Path, released: ReleasedWords) -> Path:
    """Write released words to `path`, count and word a line; return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{count:.6g}\t{one_line(word)}\n" for word, count in zip(released.words, released.weights, strict=True))
    path.write_text("".join(lines), encoding="utf-8")
    return path
