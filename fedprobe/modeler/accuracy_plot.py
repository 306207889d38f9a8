"""The histogram of user accuracies, as a table of bars and as PNG (the paper's Figure 5)."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.bar import Bar
from rich.table import Table

from fedprobe.errors import RequestError
from fedprobe.privacy.histogram import ReleasedHistogram

_ROWS = 20
# The bins of the authors' figure; noised ones so narrow would show little but noise.
_BARS = 100
# Beyond so many standard errors a row is more than noise.
_NOISE = 3.0
# What a row takes beside its bar: "[0.85, 0.90)", a count with its margin, a mark and the gaps between them.
_BESIDE_A_BAR = 44


def accuracy_chart(histogram: ReleasedHistogram, threshold: float | None, width: int) -> Table:
    """One row a twentieth, with its users; the first row takes all those before the first that stands out.

    A row says which of its ends belongs to it: the one that leaves whole bins on the side that a cohort takes.
    `threshold` is marked, with that side, at the row that it cuts; where it lies between two rows, at the one that
    the cohort takes. Fits into `width` columns of at least 60.
    """
    edges = [row / _ROWS for row in range(_ROWS + 1)]
    rows = [(low, high, histogram.between(low, high)) for low, high in zip(edges[:-1], edges[1:], strict=True)]
    first = next((row for row, (_, _, users) in enumerate(rows) if users.value > _NOISE * users.standard_error), 1)
    rows[:first] = [(0.0, edges[first], histogram.between(0.0, edges[first]))] if first else []
    most = max(1.0, *(users.value for _, _, users in rows))
    side = ">" if histogram.right_closed else "<"
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("accuracy", no_wrap=True)
    table.add_column("", no_wrap=True, width=max(10, width - _BESIDE_A_BAR))
    table.add_column("users", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for low, high, users in rows:
        inside = threshold is not None and _marked(low, high, threshold, histogram.right_closed)
        mark = f"{side} {threshold:.4g}" if inside else ""
        count = f"{users.value:,.0f}" if histogram.exact else f"{users.value:,.0f} ± {users.margin:,.0f}"
        table.add_row(_says(low, high, histogram.right_closed), Bar(most, 0, max(0.0, users.value)), count, mark)
    return table


def _marked(low: float, high: float, threshold: float, above: bool) -> bool:
    """Whether the threshold is to be marked between `low` and `high`; one that nobody passes, at the last row there."""
    if above:
        return low <= threshold < high or threshold == high == 1
    return low < threshold <= high or threshold == low == 0


def _says(low: float, high: float, right_closed: bool) -> str:
    """A row as an interval; the first and the last take what lies at 0 and 1 as well."""
    start = "[" if low == 0 or not right_closed else "("
    end = "]" if high == 1 or right_closed else ")"
    return f"{start}{low:.2f}, {high:.2f}{end}"


def require_png(path: Path) -> None:
    """Raise RequestError for a picture's name that does not end in .png."""
    if path.suffix.lower() != ".png":
        raise RequestError(f"{path}: pictures are PNG, so give a name that ends in .png")


def save_accuracy_plot(path: Path, histogram: ReleasedHistogram, threshold: float | None = None) -> Path:
    """Draw users against accuracy as PNG; return `path`: in bins of 1%, or noised ones of 5% with 95% intervals.

    `threshold` is drawn as a line. Raises RequestError for a name that does not end in .png.
    """
    require_png(path)
    count = _BARS if histogram.exact else _ROWS
    edges = np.arange(count + 1) / count
    bars = [histogram.between(low, high) for low, high in zip(edges[:-1], edges[1:], strict=True)]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    values = np.array([users.value for users in bars])
    # A negative count is noise around few users.
    axes.stairs(np.maximum(values, 0), edges, fill=True, color="tab:blue", alpha=0.7)
    if not histogram.exact:
        margins = [users.margin for users in bars]
        axes.errorbar((edges[:-1] + edges[1:]) / 2, values, margins, fmt="none", ecolor="0.3", elinewidth=1, capsize=3)
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
