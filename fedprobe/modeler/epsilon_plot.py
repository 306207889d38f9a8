"""Epsilon against rounds for several noise multipliers, in the terminal and as PNG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.text import Text

from fedprobe.errors import RequestError
from fedprobe.privacy.accountants import CannotAccount, epsilon_after
from fedprobe.privacy.events import SampledGaussian, counted_multiplier
from fedprobe.privacy.wording import figure

# The plan's noise multiplier is the middle one.
_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
_POINTS = 16
# Below this share of the largest epsilon a curve lies on the floor.
_FLOOR = 1e-6
_LEFT, _RIGHT, _HEIGHT = 9, 11, 12
# The eight dots of a braille character, [row, column].
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


@dataclass(frozen=True)
class Curve:
    """What a plan costs after each of `rounds`, were its noise multiplier this one; by one accountant."""

    noise_multiplier: float
    rounds: Sequence[int]
    epsilon: Sequence[float]
    accountant: str
    planned: bool = False

    def to_json(self) -> dict:
        return {
            "noise_multiplier": self.noise_multiplier,
            "rounds": list(self.rounds),
            "epsilon": list(self.epsilon),
            "accountant": self.accountant,
        }


def epsilon_curves(
    event: SampledGaussian,
    noise_multiplier: float,
    delta: float,
    participation: str = "poisson",
    accountant: str = "auto",
) -> list[Curve]:
    """Curves of a plan up to its rounds: its noise multiplier, a quarter, half, twice and four times of it.

    `event` is the plan's. One that the accountant cannot do is left out, but not the plan's own: that raises, as
    `accountants.epsilon` does. Raises RequestError for a plan without noise or rounds, and for the paper's arithmetic.
    """
    if accountant == "paper":
        raise RequestError("the paper's arithmetic is no bound to draw; use --accountant auto")
    if noise_multiplier == 0 or event.rounds == 0:
        raise RequestError("without noise, or without rounds, there is nothing to draw")
    # Closer together at the start, where the curves bend.
    rounds = sorted({1, *(round(event.rounds * share**2) for share in np.linspace(0, 1, _POINTS + 1))} - {0})
    curves = []
    for factor in _FACTORS:
        z = noise_multiplier * factor
        one = replace(event, noise_multiplier=counted_multiplier(participation, z))
        try:
            bounds = epsilon_after(one, rounds, delta, accountant)
        except CannotAccount:
            if factor == 1.0:
                raise
            continue
        curves.append(Curve(z, rounds, [bound.value for bound in bounds], bounds[-1].accountant, factor == 1.0))
    return curves


def epsilon_chart(curves: Sequence[Curve], width: int) -> Text:
    """The curves in braille dots on a logarithmic scale, at most `width` characters wide; the plan's own in bold."""
    columns = max(10, width - _LEFT - _RIGHT)
    low, high = shown_range(curves)
    dots = np.zeros((_HEIGHT, columns), dtype=np.int64)
    planned = np.zeros((_HEIGHT, columns), dtype=bool)
    ends = []
    last = max(max(curve.rounds) for curve in curves)
    for curve in curves:
        heights = [_height(value, low, high) for value in curve.epsilon]
        x = np.arange(2 * columns)
        y = np.interp((x + 1) / (2 * columns) * last, curve.rounds, heights)
        row = np.rint((1 - y) * (4 * _HEIGHT - 1)).astype(int)
        inside = (x + 1) / (2 * columns) * last >= curve.rounds[0]
        for at, down in zip(x[inside], row[inside], strict=True):
            dots[down // 4, at // 2] |= _DOTS[down % 4, at % 2]
            planned[down // 4, at // 2] |= curve.planned
        ends.append((int(row[-1]) // 4, curve))
    labels = _apart(ends)
    chart = Text(no_wrap=True)
    for row in range(_HEIGHT):
        mark = {0: figure(high), _HEIGHT - 1: figure(low)}.get(row, "")
        chart.append(f"{mark:>{_LEFT - 2}} ┤" if mark else " " * (_LEFT - 1) + "│")
        for column in range(columns):
            chart.append(chr(0x2800 + dots[row, column]), style="bold" if planned[row, column] else "")
        if row in labels:
            chart.append(f" z {labels[row].noise_multiplier:.3g}", style="bold" if labels[row].planned else "")
        chart.append("\n")
    chart.append(" " * (_LEFT - 1) + "└" + "─" * columns + "\n")
    chart.append(" " * _LEFT + "0" + f"{last} rounds".rjust(columns - 1))
    return chart


def save_epsilon_plot(path: Path, curves: Sequence[Curve], delta: float) -> Path:
    """Draw the curves as PNG; return `path`. Raises RequestError for a name that does not end in .png."""
    if path.suffix.lower() != ".png":
        raise RequestError(f"{path}: pictures are PNG, so give a name that ends in .png")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    low, _ = shown_range(curves)
    for curve in curves:
        values = np.maximum(curve.epsilon, low)
        label = f"{curve.noise_multiplier:.3g}" + (" (the plan)" if curve.planned else "")
        axes.plot(curve.rounds, values, marker="o", ms=3, lw=2 if curve.planned else 1, label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("rounds")
    axes.set_ylabel(f"epsilon at delta {delta:.3g}")
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", lw=0.4)
    # Beside the curves, in their order from above.
    axes.legend(frameon=False, title="noise multiplier", loc="center left", bbox_to_anchor=(1, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
    return path


def shown_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """The smallest and largest epsilon to show, both above 0 and apart."""
    values = [value for curve in curves for value in curve.epsilon]
    high = max(values) or 1.0
    low = max(high * _FLOOR, min(value for value in [*values, high] if value > 0))
    return (low, high) if high > 1.01 * low else (low / 2, high * 2)


def _height(value: float, low: float, high: float) -> float:
    """Where a value is between floor (0) and ceiling (1)."""
    return math.log(max(value, low) / low) / math.log(high / low)


def _apart(ends: Sequence[tuple[int, Curve]]) -> dict[int, Curve]:
    """Each curve's label in a row of its own, near its end; more noise is lower."""
    ordered = sorted(ends, key=lambda end: (end[0], end[1].noise_multiplier))
    rows: list[int] = []
    for place, (row, _) in enumerate(ordered):
        free = max(row, rows[-1] + 1 if rows else 0)
        rows.append(min(free, _HEIGHT - len(ordered) + place))
    return {row: curve for row, (_, curve) in zip(rows, ordered, strict=True)}
