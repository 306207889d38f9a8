"""The histogram of user accuracies, as a table of bars and as PNG."""

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from fedprobe.errors import RequestError
from fedprobe.modeler.accuracy_plot import accuracy_chart, save_accuracy_plot
from fedprobe.privacy.histogram import ReleasedHistogram, accuracy_histogram_of


def histogram(values, noise_multiplier: float = 0.0, right_closed: bool = False) -> ReleasedHistogram:
    """Of these accuracies; the noise is only said to be there."""
    bins = accuracy_histogram_of(0.0, None, right_closed)
    return ReleasedHistogram(bins.edges, tuple(bins.count(np.array(values)).tolist()), noise_multiplier, right_closed)


def printed(one: ReleasedHistogram, threshold: float | None = None, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False, _environ={})
    with console.capture() as capture:
        console.print(accuracy_chart(one, threshold, width))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_rows_and_bars_by_hand():
    """Four users at 0.61, two at 0.93, one at 1: the empty rows below are one, and 0.55 to 0.60 is in it."""
    header, *rows = printed(histogram([0.61] * 4 + [0.93] * 2 + [1.0]), 0.93)
    assert header.split() == ["accuracy", "users"]
    assert rows[0].startswith("[0.00, 0.60)") and rows[-1].startswith("[0.95, 1.00]")
    assert len(rows) == 1 + 8
    bars = [row.count("█") for row in rows]
    full = bars[1]
    assert full >= 30
    assert bars[1] == 2 * bars[7] and abs(bars[8] - full / 4) <= 1 and sum(bars) == bars[1] + bars[7] + bars[8]
    assert rows[1].split()[-1] == "4" and rows[8].split()[-1] == "1"
    assert rows[7].endswith("2 < 0.93") and sum("<" in row for row in rows) == 1


def test_a_cohort_above_is_marked_as_such():
    rows = printed(histogram([0.3, 0.9], right_closed=True), 0.9)
    assert [row for row in rows if "> 0.9" in row] and not [row for row in rows if "<" in row]


@pytest.mark.parametrize("right_closed", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.5, 0.882, 0.95, 1.0])
def test_every_threshold_is_marked_once_at_the_last_row_with_somebody_on_its_side(threshold, right_closed):
    values = np.arange(101) / 100
    rows = printed(histogram(values, right_closed=right_closed), threshold)[1:]
    (marked,) = [row for row in rows if ("> " if right_closed else "< ") in row]
    chosen = values > threshold if right_closed else values < threshold
    if not chosen.any():
        return
    nearest = values[chosen].min() if right_closed else values[chosen].max()
    low, high = (float(end) for end in re.findall(r"\d\.\d\d", marked)[:2])
    assert low <= nearest <= high
    inside = (low < nearest or marked[0] == "[") and (nearest < high or marked[11] == "]")
    assert inside


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.booleans())
def test_a_row_counts_those_whom_it_says(twentieths, right_closed):
    values = np.array(twentieths) / 20
    for row in printed(histogram(values, right_closed=right_closed))[1:]:
        low, high = (float(end) for end in re.findall(r"\d\.\d\d", row)[:2])
        inside = (values > low) & (values < high)
        inside |= (values == low) * (row[0] == "[") | (values == high) * (row[11] == "]")
        assert int(row.split()[-1]) == inside.sum()


def test_noised_counts_show_how_sure_they_are():
    noise = 4.0
    rows = printed(histogram([0.9] * 500, noise))
    # 1.96 standard errors of 4 times the root of 90 bins in a row, of 5, and of 6 with the bin at 1.
    assert [row.split("  ")[-1].strip() for row in (rows[1], rows[-1])] == ["0 ± 74", "0 ± 19"]
    assert rows[2].startswith("[0.90") and rows[2].endswith("500 ± 18")
    assert "±" not in "".join(printed(histogram([0.9] * 500)))


@given(
    st.lists(st.floats(-50, 3e6), min_size=101, max_size=101),
    st.booleans(),
    st.sampled_from([0.0, 3.0, 1e4]),
    st.integers(60, 160),
)
def test_a_chart_fits_and_cuts_nothing(counts, right_closed, noise, width):
    one = ReleasedHistogram(accuracy_histogram_of(0.0, None, right_closed).edges, tuple(counts), noise, right_closed)
    rows = printed(one, 0.882, width)
    assert max(map(cell_len, rows)) <= width
    assert 3 <= len(rows) <= 21
    assert all("…" not in row for row in rows)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("noise", [0.0, 6.0])
@pytest.mark.parametrize("values", [[], [0.0], [1.0], [0.9] * 20 + [0.2]], ids=len)
def test_the_picture_is_a_png(tmp_path, values, noise):
    path = save_accuracy_plot(tmp_path / "deep" / "a.png", histogram(values, noise), 0.882)
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert len(set(image.convert("L").tobytes())) > 2


def test_another_histogram_or_threshold_is_another_picture(tmp_path):
    pictures = []
    for name, values, threshold in (("one", [0.5], 0.5), ("again", [0.5], 0.5), ("b", [0.6], 0.5), ("c", [0.5], 0.6)):
        path = save_accuracy_plot(tmp_path / f"{name}.png", histogram(values), threshold)
        with Image.open(path) as image:
            pictures.append(image.tobytes())
    assert pictures[0] == pictures[1]
    assert len(set(pictures)) == 3


def test_a_name_that_is_no_pngs_is_refused(tmp_path):
    with pytest.raises(RequestError, match="png"):
        save_accuracy_plot(tmp_path / "a.pdf", histogram([0.5]))
    assert list(tmp_path.iterdir()) == []
