"""The primary model's errors on synthetic images, as people's labels show them (T5): counts with intervals."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from rich.table import Table
from scipy.stats import binomtest

from fedprobe.modeler.labelling import Export
from fedprobe.models.classifier import merge_case


@dataclass(frozen=True)
class Rate:
    """How many of `count` images; `interval` is Wilson's, at 95%. `value` is None of none."""

    hits: int
    count: int

    @property
    def value(self) -> float | None:
        return self.hits / self.count if self.count else None

    @cached_property
    def interval(self) -> tuple[float, float]:
        if not self.count:
            return 0.0, 1.0
        found = binomtest(self.hits, self.count).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def to_json(self) -> dict:
        return {"hits": self.hits, "count": self.count, "value": self.value, "interval": list(self.interval)}

    def __str__(self) -> str:
        low, high = self.interval
        return "none" if self.value is None else f"{self.value:.1%} [{low:.1%}, {high:.1%}]"


@dataclass(frozen=True)
class LabelTable:
    """`pairs` counts (label, guess) of the images that people could read and a primary model guessed at.

    `agreed`: how often people's label is the one that the image was drawn for. Of `images` so many are `labelled`, and
    of those so many `unreadable`.
    """

    pairs: Mapping[tuple[int, int], int]
    agreed: Rate
    images: int
    labelled: int
    unreadable: int

    @property
    def right(self) -> Rate:
        """How often the primary model is right."""
        return Rate(sum(count for (label, guess), count in self.pairs.items() if label == guess), self._of())

    def of_label(self, label: int) -> Rate:
        """How often the primary model is wrong on images of `label`."""
        right = self.pairs.get((label, label), 0)
        return Rate(self._of(label) - right, self._of(label))

    @property
    def labels(self) -> list[int]:
        """Those that people gave, ascending."""
        return sorted({label for label, _ in self.pairs})

    def errors(self) -> list[tuple[int, int, Rate]]:
        """(label, guess, how often among images of the label), the most frequent mistakes first."""
        wrong = [(count, label, guess) for (label, guess), count in self.pairs.items() if label != guess]
        wrong.sort(key=lambda one: (-one[0], one[1:]))
        return [(label, guess, Rate(count, self._of(label))) for count, label, guess in wrong]

    def _of(self, label: int | None = None) -> int:
        return sum(count for (one, _), count in self.pairs.items() if label in (None, one))

    def to_json(self) -> dict:
        """The table as a JSON object."""
        return {
            "images": self.images,
            "labelled": self.labelled,
            "unreadable": self.unreadable,
            "labelled_as_drawn": self.agreed.to_json(),
            "right": self.right.to_json(),
            "by_label": [{"label": label, "wrong": self.of_label(label).to_json()} for label in self.labels],
            "errors": [
                {"label": label, "guess": guess, "share": share.to_json()} for label, guess, share in self.errors()
            ],
        }

    def shown(self, most: int = 20) -> Table:
        """The most frequent mistakes, for a terminal."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("label", "guessed as", "images", "of the label's"):
            table.add_column(name, justify="right")
        for label, guess, share in self.errors()[:most]:
            table.add_row(str(label), str(guess), str(share.hits), str(share))
        return table


def label_table(exported: Export, labels: Mapping[str, int | None]) -> LabelTable:
    """Tabulate what people called the images (by name; None: unreadable) against the primary model's guesses."""

    def of(label: int) -> int:
        return int(merge_case(torch.tensor(label))) if exported.merged else label

    read = [(image, of(labels[image.name])) for image in exported.images if labels.get(image.name) is not None]
    pairs = Counter((label, image.guess) for image, label in read if image.guess is not None)
    drawn = [(of(image.drawn_as), label) for image, label in read if image.drawn_as is not None]
    agreed = Rate(sum(one == label for one, label in drawn), len(drawn))
    unreadable = sum(label is None for label in labels.values())
    return LabelTable(pairs, agreed, len(exported.images), len(labels), unreadable)


def agreement(exported: Export) -> Sequence[tuple[int, Rate]]:
    """How often the primary model's guess is the label that an image was drawn for, by label."""
    guessed = [image for image in exported.images if image.guess is not None and image.drawn_as is not None]
    table = label_table(exported, {image.name: image.drawn_as for image in guessed})
    wrong = [(label, table.of_label(label)) for label in table.labels]
    return [(label, Rate(rate.count - rate.hits, rate.count)) for label, rate in wrong]
