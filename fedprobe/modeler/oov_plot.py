"""Rates of words out of vocabulary by position, as a table of bars and as PNG (the paper's Figures 1 and 4)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from fedprobe.errors import RequestError
from fedprobe.modeler.printable import headings, legend
from fedprobe.modeler.text_sampling import OovProfile

# Eighths of a character, so that small differences show.
_EIGHTHS = " ▏▎▍▌▋▊▉█"
# Beyond it few sentences go on, and a line each would fill the screen.
MOST_POSITIONS = 20
# "100.0% ± 0.0%"
_FIGURE = 13
_MARKERS = "os^Dv<>p"


def oov_table(names: Sequence[str], profiles: Sequence[OovProfile], width: int) -> Table:
    """One row a position, one column of bars a run, each with its rate and the half-width of its 95% interval.

    Runs whose names do not fit are A, B, and so on, with a legend below; of many runs there are no bars, and then no
    intervals either.
    """
    room = (width - 9) // len(profiles) - 1
    bar = max(2, room - 1 - _FIGURE)
    bars, intervals = room > _FIGURE + 2, room >= _FIGURE
    over = headings(names, bar if bars else room)
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        caption=None if (said := legend(names, over)) is None else Text(said),
        caption_justify="left",
        caption_style="",
    )
    table.add_column("position", justify="right", no_wrap=True)
    highest = max((max(profile.rates, default=0.0) for profile in profiles), default=0.0) or 1.0
    for name in over:
        if bars:
            table.add_column(Text(name), no_wrap=True, width=bar)
        table.add_column("" if bars else Text(name), justify="right", no_wrap=True)
    for position in range(min(MOST_POSITIONS, max(len(profile.rates) for profile in profiles))):
        cells = []
        for profile in profiles:
            if position >= len(profile.rates):
                cells += [""] * (1 + bars)
                continue
            low, high = profile.intervals[position]
            rate = profile.rates[position]
            cells += [_bar(rate / highest, bar)] * bars
            cells.append(f"{rate:6.1%}" + f" ± {(high - low) / 2:.1%}" * intervals)
        table.add_row(str(position + 1), *cells)
    return table


def save_oov_plot(path: Path, names: Sequence[str], profiles: Sequence[OovProfile]) -> Path:
    """Draw the rates with their 95% intervals, one line a run, as PNG; return `path`.

    Raises RequestError for a name that does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise RequestError(f"{path}: pictures are PNG, so give a name that ends in .png")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    shift = np.linspace(-0.15, 0.15, len(profiles)) if len(profiles) > 1 else [0.0]
    for side, (profile, aside) in enumerate(zip(profiles, shift, strict=True)):
        shown = min(MOST_POSITIONS, len(profile.rates))
        rates = 100 * np.array(profile.rates[:shown])
        intervals = 100 * np.array(profile.intervals[:shown]).reshape(shown, 2)
        margins = np.abs(intervals.T - rates)
        places = np.arange(1, shown + 1) + aside
        marker = _MARKERS[side % len(_MARKERS)]
        axes.errorbar(places, rates, margins, marker=marker, ms=4, capsize=2, lw=1, label=str(side))
    axes.set_xlabel("position in the sentence")
    axes.set_ylabel("words out of vocabulary (%)")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    for text, name in zip(axes.legend(frameon=False).get_texts(), names, strict=True):
        # A name is shown as it is: neither mathematics nor a mark of what is to be left out.
        text.set_parse_math(False)
        text.set_text(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
    return path


def _bar(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
