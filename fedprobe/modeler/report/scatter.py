"""A map of two sets of samples as plain coordinates, which the template draws as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedprobe.modeler.report.charts import WIDTH

# So many points a set say where it lies; more only fill the page.
MOST_POINTS = 200
_EDGE = 6


@dataclass(frozen=True)
class Dots:
    """One set's name and the places of its samples."""

    name: str
    points: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Scatter:
    """A picture of `width` x `height` with a set of dots a run; one scale for both directions."""

    sets: Sequence[Dots]
    height: int
    width: int = WIDTH


def scatter(names: Sequence[str], places: Sequence[np.ndarray]) -> Scatter:
    """The first points [n, 2] of each set, across and up."""
    both = np.concatenate(places)
    low, extent = both.min(axis=0), np.maximum(np.ptp(both, axis=0), 1e-12)
    scale = (WIDTH - 2 * _EDGE) / extent.max()
    height = round(float(extent[1] * scale)) + 2 * _EDGE
    sets = []
    for name, points in zip(names, places, strict=True):
        moved = (points[:MOST_POINTS] - low) * scale
        sets.append(Dots(name, [(f"{x + _EDGE:.1f}", f"{height - _EDGE - y:.1f}") for x, y in moved.tolist()]))
    return Scatter(sets, height)
