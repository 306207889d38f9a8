"""The samples that show a finding best: pictures, words or sentences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedprobe.modeler.printable import visible

MOST_IMAGES = 6
MOST_WORDS = 8
MOST_SENTENCES = 5
# Of words, so many are said in one line.
_SAID = 4


@dataclass(frozen=True)
class Samples:
    """Samples of both sides [n, C, H, W] in [0, 1]: `drawn` apart from each other, and `paired`, of the same latents.

    `of_label` draws some paired ones of one label, where both generators have labels.
    """

    drawn: tuple[np.ndarray, np.ndarray]
    paired: tuple[np.ndarray, np.ndarray]
    of_label: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None

    def exchanged(self) -> "Samples":
        """The same from the other side."""
        of_label = self.of_label
        return Samples(self.drawn[::-1], self.paired[::-1], of_label and (lambda label: of_label(label)[::-1]))


@dataclass(frozen=True)
class ShownImages:
    """Rows of images [k, C, H, W], each with what it is; the images of one column belong together.

    `places` [k] are those among the latents of `sample --seed`, from 0; none where they were drawn for `labels`.
    """

    rows: Sequence[tuple[str, np.ndarray]]
    places: Sequence[int] = ()
    labels: Sequence[int] = ()

    def to_json(self) -> dict:
        return {"kind": "images", "samples": list(self.places), "labels": list(self.labels)}

    def says(self) -> str:
        """What the rows are."""
        return "; ".join(name for name, _ in self.rows)


@dataclass(frozen=True)
class ShownWords:
    """Words, the most telling first, with a figure each in both of `runs` (None: it was not released there)."""

    runs: tuple[str, str]
    figure: str
    words: Sequence[str]
    figures: Sequence[tuple[float | None, float | None]]

    def to_json(self) -> dict:
        sides = zip(*self.figures, strict=True) if self.figures else ((), ())
        figures = {run: list(side) for run, side in zip(self.runs, sides, strict=True)}
        return {"kind": "words", "words": list(self.words), "figure": self.figure, "figures": figures}

    @property
    def table(self) -> list[tuple[str, str, str]]:
        """Each word, blanks to be seen, and its figures."""
        return [(visible(word), *map(_figure, figures)) for word, figures in zip(self.words, self.figures, strict=True)]

    def says(self) -> str:
        """The first of them in one line."""
        told = ", ".join(f"{word} {was} > {now}" for word, was, now in self.table[:_SAID])
        return f"{told} ({self.figure}, {self.runs[0]} > {self.runs[1]})"


@dataclass(frozen=True)
class ShownSentences:
    """Some sentences of the run `of`: ids of words until `decoded`, texts afterwards."""

    of: str
    sentences: Sequence

    def decoded(self, decode: Callable[[Sequence[int]], Sequence[str]]) -> "ShownSentences":
        return replace(self, sentences=[" ".join(decode(sentence)) for sentence in self.sentences])

    def to_json(self) -> dict:
        return {"kind": "sentences", "of": self.of, "sentences": list(self.sentences)}

    def says(self) -> str:
        """The shortest of them."""
        return f"{self.of}: {min(self.sentences, key=len)}"


def shown_by_label(
    of_label: Callable[[int], tuple[np.ndarray, np.ndarray]],
    labels: Sequence[int],
    names: Sequence[str],
    sides: Sequence[int] = (0, 1),
) -> ShownImages:
    """Images of the first of `labels` in turn, a row for each of the `sides`, whose `names` they go by."""
    labels = list(labels)[: MOST_IMAGES // 2]
    drawn, each = [of_label(label) for label in labels], MOST_IMAGES // len(labels)
    said = ", ".join(map(str, labels))
    rows = []
    for side in sides:
        in_turn = np.stack([images[side][:each] for images in drawn], axis=1)
        rows.append((f"{names[side]} drawn for {said}", in_turn.reshape(-1, *in_turn.shape[2:])))
    return ShownImages(rows, (), labels)


Shown = ShownImages | ShownWords | ShownSentences


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
