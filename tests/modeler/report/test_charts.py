"""Charts as coordinates: where a figure is, its interval, its table."""

import numpy as np
import pytest

from fedprobe.modeler.epsilon_plot import Curve
from fedprobe.modeler.report.charts import epsilon_chart, oov_chart
from fedprobe.modeler.text_sampling import OovProfile

PROFILES = [OovProfile(np.array([50, 10]), np.array([100, 100])), OovProfile(np.array([20]), np.array([100]))]


def share(chart, y: str) -> float:
    """The value at a height, as a share of the axis: by the two ends of it."""
    return (chart.bottom - float(y)) / (chart.bottom - chart.top)


def test_rates_stand_at_their_height_within_their_intervals():
    chart = oov_chart(["a", "b"], PROFILES)
    top = float(chart.y_ticks[-1].label.rstrip("%")) / 100
    for series, profile in zip(chart.series, PROFILES, strict=True):
        for point, rate, interval in zip(series.points, profile.rates, profile.intervals, strict=True):
            heights = [share(chart, y) * top for y in (point.low, point.y, point.high)]
            assert heights == pytest.approx([interval[0], rate, interval[1]], abs=0.002)


def test_every_mark_lies_within_the_axes():
    for chart in (oov_chart(["a", "b"], PROFILES), epsilon_chart(curves())):
        for series in chart.series:
            for point in series.points:
                assert chart.left <= float(point.x) <= chart.right
                for y in filter(None, (point.y, point.low, point.high)):
                    assert chart.top - 0.1 <= float(y) <= chart.bottom + 0.1


def test_the_tables_have_the_same_figures():
    chart = oov_chart(["a", "b"], PROFILES)
    assert chart.headings == ["position", "a", "b"]
    low, high = PROFILES[0].intervals[0]
    assert chart.rows[0][:2] == ["1", f"50.0% ({low:.1%} to {high:.1%})"]
    assert chart.rows[1][2] == "", "one side has no second word"
    chart = epsilon_chart(curves())
    assert chart.headings == ["rounds", "z 0.5", "z 1 (the plan)"]
    assert chart.rows == [["1", "2.00", "1.00"], ["10", "20.00", "10.00"]]


def test_without_words_there_is_no_chart():
    assert oov_chart(["a"], [OovProfile(np.array([], int), np.array([], int))]) is None


def test_the_plan_stands_out_and_more_noise_lies_lower():
    less, more = epsilon_chart(curves()).series
    assert (less.main, more.main) == (False, True)
    assert all(float(one.y) < float(other.y) for one, other in zip(less.points, more.points, strict=True))


def test_names_at_the_ends_of_lines_never_lie_on_each_other():
    alike = [Curve(z, [1, 10], [1.0, 1.0], "pld", z == 1) for z in (0.25, 0.5, 1, 2, 4)]
    heights = sorted(float(series.label_at) for series in epsilon_chart(alike).series)
    assert min(np.diff(heights)) >= 12.9


def curves() -> list[Curve]:
    return [Curve(0.5, [1, 10], [2.0, 20.0], "pld"), Curve(1.0, [1, 10], [1.0, 10.0], "pld", planned=True)]
