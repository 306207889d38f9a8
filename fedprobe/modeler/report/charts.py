"""Charts as plain coordinates, which the template draws as SVG; each brings its figures as a table, too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from fedprobe.modeler.epsilon_plot import Curve, shown_range
from fedprobe.modeler.oov_plot import MOST_POSITIONS
from fedprobe.modeler.text_sampling import OovProfile
from fedprobe.privacy.wording import figure

# Small enough that its letters can be read at a phone's width, too.
WIDTH, HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 12, 38
_LABELS = 52
_LETTER = 13
_MOST_TICKS = 6


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, at a coordinate of the picture."""

    at: str
    label: str


@dataclass(frozen=True)
class Point:
    """A figure of a series; `low` and `high` end its interval. None where it has none."""

    x: str
    y: str
    low: str | None = None
    high: str | None = None


@dataclass(frozen=True)
class Series:
    """One line of a chart; `label_at` is the height of its name beside its end."""

    name: str
    points: Sequence[Point]
    main: bool = False
    label_at: str | None = None

    @property
    def path(self) -> str:
        return " ".join(f"{point.x},{point.y}" for point in self.points)


@dataclass(frozen=True)
class Chart:
    """A picture of `WIDTH` x `HEIGHT`, and the same figures as a table."""

    title: str
    x_label: str
    y_label: str
    right: int
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    series: Sequence[Series]
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def oov_chart(names: Sequence[str], profiles: Sequence[OovProfile]) -> Chart | None:
    """Rates of words out of vocabulary by position with their 95% intervals; None where there are no words."""
    shown = min(MOST_POSITIONS, max((len(profile.rates) for profile in profiles), default=0))
    if not shown:
        return None
    most = max(high for profile in profiles for _, high in profile.intervals[:shown])
    ticks = MaxNLocator(4).tick_values(0, most)
    right = WIDTH - _RIGHT

    def across(position: float) -> str:
        return f"{_LEFT + (position + 0.5) / shown * (right - _LEFT):.1f}"

    def up(rate: float) -> str:
        return f"{_up(rate / ticks[-1]):.1f}"

    aside = np.linspace(-0.2, 0.2, len(profiles)) if len(profiles) > 1 else [0.0]
    series = [
        Series(
            name,
            [
                Point(across(position + beside), up(profile.rates[position]), *map(up, profile.intervals[position]))
                for position in range(min(shown, len(profile.rates)))
            ],
        )
        for name, profile, beside in zip(names, profiles, aside, strict=True)
    ]
    every = max(1, math.ceil(shown / 10))
    return Chart(
        "Words out of vocabulary, by their position in the sentence",
        "position in the sentence",
        "",
        right,
        [Tick(across(position), str(position + 1)) for position in range(0, shown, every)],
        [Tick(up(tick), f"{100 * tick:g}%") for tick in ticks if tick >= 0],
        series,
        ["position", *names],
        [[str(position + 1), *(_rate(profile, position) for profile in profiles)] for position in range(shown)],
    )


def epsilon_chart(curves: Sequence[Curve]) -> Chart:
    """Epsilon against rounds on a logarithmic scale, a line for every noise multiplier; the plan's own is the main one.

    Curves are those of one plan, with more than one round.
    """
    low, high = shown_range(curves)
    last = max(max(curve.rounds) for curve in curves)
    right = WIDTH - _LABELS

    def up(value: float) -> float:
        return _up(math.log(max(value, low) / low) / math.log(high / low))

    def across(round: float) -> str:
        return f"{_LEFT + round / last * (right - _LEFT):.1f}"

    places = _apart([up(curve.epsilon[-1]) for curve in curves])
    series = [
        Series(
            f"z {curve.noise_multiplier:.3g}",
            [
                Point(across(round), f"{up(value):.1f}")
                for round, value in zip(curve.rounds, curve.epsilon, strict=True)
            ],
            curve.planned,
            f"{place:.1f}",
        )
        for curve, place in zip(curves, places, strict=True)
    ]
    rounds = curves[0].rounds
    ticks = MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]).tick_values(0, last)
    return Chart(
        "Epsilon against rounds",
        "rounds",
        "",
        right,
        [Tick(across(tick), f"{tick:g}") for tick in ticks if tick <= last],
        [Tick(f"{up(value):.1f}", figure(value)) for value in _round_values(low, high)],
        series,
        ["rounds", *(one.name + (" (the plan)" if one.main else "") for one in series)],
        [[str(round), *(figure(curve.epsilon[row]) for curve in curves)] for row, round in enumerate(rounds)],
    )


def _up(share: float) -> float:
    """The height of a value, as a share of the axis from its foot."""
    return HEIGHT - _BOTTOM - share * (HEIGHT - _BOTTOM - _TOP)


def _rate(profile: OovProfile, position: int) -> str:
    if position >= len(profile.rates):
        return ""
    low, high = profile.intervals[position]
    return f"{profile.rates[position]:.1%} ({low:.1%} to {high:.1%})"


def _round_values(low: float, high: float) -> list[float]:
    """A few values on a logarithmic axis that read well."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1,)):
        values = [step * 10.0**decade for decade in decades for step in steps]
        inside = [value for value in values if low <= value <= high]
        if len(inside) <= _MOST_TICKS:
            return inside if len(inside) > 1 else [low, high]
    return inside[:: math.ceil(len(inside) / _MOST_TICKS)]


def _apart(heights: Sequence[float]) -> list[float]:
    """The heights of labels, near `heights` in their order and never nearer to each other than a letter."""
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    placed = [0.0] * len(heights)
    above = -math.inf
    for place in order:
        above = placed[place] = max(heights[place], above + _LETTER)
    # What was pushed below the axis goes up again.
    below = HEIGHT - _BOTTOM + _LETTER
    for place in reversed(order):
        below = placed[place] = min(placed[place], below - _LETTER)
    return placed
