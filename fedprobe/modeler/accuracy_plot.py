"""The histogram of user accuracies, as a table of bars and as PNG (the paper's Figure 5)."""

import math
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.bar import Bar
from rich.table import Table

from fedprobe.errors import RequestError
from fedprobe.privacy.histogram import Estimate, ReleasedHistogram

_ROWS = 20
# The bins of the authors' figure.
_BARS = 100
# Beyond so many standard errors a row is more than noise.
_NOISE = 3.0
# What a row takes beside its bar: "0.85 - 0.90", a count with its margin, a mark and the gaps between them.
_BESIDE_A_BAR = 42


def accuracy_chart(histogram: ReleasedHistogram, threshold: float | None, width: int) -> Table:
    """One row a twentieth, with its users; the first row takes all those below the first that stands out.

    `threshold` is marked at the row that it lies in. Fits into `width` columns of at least 60.
    """
    rows = histogram.merged(_ROWS)
    counts = np.array(rows.counts)
    standing_out = np.flatnonzero(counts > _NOISE * rows.noise_multiplier)
    first = max(0, int(standing_out[0]) - 1) if len(standing_out) else 0
    margins = [Estimate(0, rows.noise_multiplier * math.sqrt(merged)).margin for merged in (first + 1, 1)]
    shown = [(rows.edges[0], rows.edges[first + 1], counts[: first + 1].sum(), margins[0])]
    shown += [(rows.edges[row], rows.edges[row + 1], counts[row], margins[1]) for row in range(first + 1, _ROWS)]
    most = max(1.0, *(count for _, _, count, _ in shown))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("accuracy", no_wrap=True)
    table.add_column("", no_wrap=True, width=max(10, width - _BESIDE_A_BAR))
    table.add_column("users", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for low, high, count, margin in shown:
        inside = threshold is not None and low <= threshold and (threshold < high or high == threshold == 1)
        mark = f"< {threshold:.4g}" if inside else ""
        users = f"{count:,.0f}" if histogram.exact else f"{count:,.0f} ± {margin:,.0f}"
        table.add_row(f"{low:.2f} - {high:.2f}", Bar(most, 0, max(0.0, count)), users, mark)
    return table


def require_png(path: Path) -> None:
    """Raise RequestError for a picture's name that does not end in .png."""
    if path.suffix.lower() != ".png":
        raise RequestError(f"{path}: pictures are PNG, so give a name that ends in .png")


def save_accuracy_plot(path: Path, histogram: ReleasedHistogram, threshold: float | None = None) -> Path:
    """Draw users against accuracy in bins of 1%, with 95% intervals where noised, as PNG; return `path`.

    `threshold` is drawn as a line. Raises RequestError for a name that does not end in .png.
    """
    require_png(path)
    bars = histogram.merged(_BARS)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    # A negative count is noise around few users.
    counts = np.maximum(bars.counts, 0)
    axes.stairs(counts, bars.edges, fill=True, color="tab:blue", alpha=0.7)
    if not histogram.exact:
        margin = Estimate(0, bars.noise_multiplier).margin
        middles = (np.array(bars.edges[:-1]) + bars.edges[1:]) / 2
        axes.errorbar(middles, bars.counts, margin, fmt="none", ecolor="0.4", elinewidth=0.6)
    if threshold is not None:
        axes.axvline(threshold, color="tab:red", lw=1)
        axes.text(threshold, 1.01, f"{threshold:.4g}", transform=axes.get_xaxis_transform(), ha="center", va="bottom")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("accuracy of the primary model on a user's examples")
    axes.set_ylabel("users, " + ("exact: a simulation" if histogram.exact else "DP, with 95% intervals"))
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
    return path
