"""One noised histogram: its noise, its counts at thresholds, its percentiles, and what it costs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, norm

from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.histogram import (
    USER_STEPS,
    Estimate,
    GaussianHistogram,
    ReleasedHistogram,
    accuracy_histogram_of,
    at_least_one,
    membership_histogram_of,
    percentile_of,
)

# A right implementation is outside less than once in a million runs.
RARE = 1e-7
# Accuracies of users with few examples, which lie on edges, and any others.
ACCURACIES = st.lists(
    st.tuples(st.integers(0, 100), st.integers(1, 100)).map(lambda pair: min(pair) / pair[1]) | st.floats(0, 1),
    max_size=40,
).map(np.array)
THRESHOLDS = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.88, 0.882, 0.939, 1.0]) | st.floats(0, 1)


def exact(values: np.ndarray, threshold: float | None = None, right_closed: bool = False) -> ReleasedHistogram:
    bins = accuracy_histogram_of(0.0, threshold, right_closed)
    return bins.release(bins.count(values))


@given(ACCURACIES, THRESHOLDS)
def test_without_noise_users_on_one_side_of_a_threshold_are_counted_exactly(values, threshold):
    low, high = exact(values, threshold), exact(values, threshold, right_closed=True)
    assert low.below(threshold) == Estimate((values < threshold).sum(), 0)
    assert high.above(threshold) == Estimate((values > threshold).sum(), 0)
    assert low.users.value == high.users.value == len(values)
    assert at_least_one(low.users) == at_least_one(high.users) == max(1, len(values))


@given(ACCURACIES, st.booleans(), st.integers(1, 5))
def test_every_user_is_in_one_bin_and_those_without_accuracy_in_none(values, right_closed, absent):
    bins = accuracy_histogram_of(1.0, 0.882, right_closed)
    counts = bins.count(values)
    assert counts.dtype == np.int64 and counts.sum() == len(values)
    assert np.array_equal(bins.count(np.concatenate([values, np.full(absent, np.nan), [-3, np.inf, 7]])), counts)


@given(ACCURACIES, st.floats(0, 1), st.booleans())
def test_one_user_more_changes_one_count_by_one(values, another, right_closed):
    bins = accuracy_histogram_of(1.0, None, right_closed)
    difference = bins.count(np.append(values, another)) - bins.count(values)
    assert np.abs(difference).sum() == difference.max() == 1


def test_bins_by_hand():
    values = np.array([0.0, 0.5, 0.5, 0.7, 1.0, 1.0])
    left = GaussianHistogram((0.0, 0.5, 1.0), 0.0)
    right = GaussianHistogram((0.0, 0.5, 1.0), 0.0, right_closed=True)
    assert left.count(values).tolist() == [1, 3]
    assert right.count(values).tolist() == [2, 3]


@pytest.mark.parametrize("noise_multiplier", [0.7, 4.5, 300.0])
def test_the_noise_has_the_standard_deviation_that_is_charged(noise_multiplier):
    bins = GaussianHistogram(tuple(range(20_001)), noise_multiplier)
    released = bins.release(np.full(20_000, 9, np.int64))
    noise = (np.array(released.counts) - 9) / noise_multiplier
    low, high = chi2.ppf([RARE / 2, 1 - RARE / 2], noise.size)
    assert low < np.square(noise).sum() < high
    assert abs(noise.sum()) < norm.isf(RARE / 2) * math.sqrt(noise.size)
    # Neither rounded to whole users nor finer than the grid.
    steps = np.array(released.counts) * USER_STEPS
    assert np.array_equal(steps, np.rint(steps)) and not np.array_equal(released.counts, np.rint(released.counts))
    assert bins.event() == SampledGaussian(noise_multiplier, 1.0, 1)


def test_no_two_releases_share_their_noise():
    bins = accuracy_histogram_of(5.0)
    counts = np.zeros(len(bins.edges) - 1, np.int64)
    assert not set(bins.release(counts).counts) & set(bins.release(counts).counts)


@pytest.mark.parametrize("counts", [np.zeros(2), np.zeros(3, np.int64), np.zeros(2, np.int32)], ids=str)
def test_counts_must_be_whole_and_one_a_bin(counts):
    with pytest.raises(TypeError):
        membership_histogram_of(1.0).release(counts)


@pytest.mark.parametrize("edges", [(), (0.0,), (0.0, 0.0), (0.0, math.nan), (1.0, 0.0), (0.0, math.inf)])
def test_edges_must_ascend(edges):
    with pytest.raises(ValueError, match="edges"):
        GaussianHistogram(edges, 1.0)


@pytest.mark.parametrize("noise_multiplier", [-1.0, math.nan, math.inf])
def test_noise_must_be_a_number(noise_multiplier):
    with pytest.raises(ValueError, match="noise multiplier"):
        membership_histogram_of(noise_multiplier)


def test_noise_that_cannot_be_drawn_is_refused_before_it_is_charged():
    with pytest.raises(ValueError, match="overflow"):
        membership_histogram_of(1e12)


def many_releases(values: np.ndarray, bins: GaussianHistogram, times: int = 600) -> list[ReleasedHistogram]:
    counts = bins.count(values)
    return [bins.release(counts) for _ in range(times)]


@pytest.fixture(scope="module")
def accuracies() -> np.ndarray:
    """3,400 users as many as the paper has, with tens of examples each, mostly well served."""
    stream = np.random.default_rng(5)
    examples = stream.integers(20, 200, 3400)
    return stream.binomial(examples, stream.beta(30, 3, 3400)) / examples


def test_counts_scatter_around_the_truth_as_their_standard_error_says(accuracies):
    bins = accuracy_histogram_of(4.0, 0.882)
    released = many_releases(accuracies, bins)
    truths = {"below": (accuracies < 0.882).sum(), "above": (accuracies >= 0.882).sum(), "users": 3400}
    for name, truth in truths.items():
        estimates = [one.users if name == "users" else getattr(one, name)(0.882) for one in released]
        scaled = np.array([(one.value - truth) / one.standard_error for one in estimates])
        low, high = chi2.ppf([RARE / 2, 1 - RARE / 2], len(scaled))
        assert low < np.square(scaled).sum() < high, name
        assert estimates[0].margin == pytest.approx(norm.ppf(0.975) * estimates[0].standard_error)


def test_a_share_lies_in_its_95_percent_interval_19_times_of_20(accuracies):
    truth = (accuracies < 0.882).mean()
    shares = [one.share_below(0.882) for one in many_releases(accuracies, accuracy_histogram_of(4.0, 0.882), 1000)]
    hits = sum(abs(share.value - truth) <= share.margin for share in shares)
    # Binomial(1000, 0.95), and to first order only: between 91% and 98%.
    assert 910 < hits < 980


@pytest.mark.parametrize("right_closed", [False, True])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_percentiles_are_near_the_truth(accuracies, share, right_closed):
    truth = np.quantile(accuracies, share)
    without_noise = exact(accuracies, right_closed=right_closed)
    assert abs(without_noise.percentile(share) - truth) < 0.01, "within a bin"
    assert abs(without_noise.threshold(share) - truth) <= 0.01
    for one in many_releases(accuracies, accuracy_histogram_of(4.0, None, right_closed), 50):
        low, high = one.percentile_interval(share)
        assert low <= one.percentile(share) <= high
        # Six standard errors of the cumulative count (4 sqrt(101) = 40 users of 3,400) are 7% of the users.
        assert np.quantile(accuracies, share - 0.08) - 0.01 < one.percentile(share)
        assert one.percentile(share) < np.quantile(accuracies, share + 0.08) + 0.01


@given(st.lists(st.floats(-30, 60), min_size=101, max_size=101), st.booleans())
def test_percentiles_never_decrease_whatever_the_noise(counts, right_closed):
    edges = accuracy_histogram_of(1.0, None, right_closed).edges
    released = ReleasedHistogram(edges, tuple(counts), 5.0, right_closed)
    percentiles = [released.percentile(share) for share in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)]
    assert percentiles == sorted(percentiles)
    assert 0 <= percentiles[0] and percentiles[-1] <= 1
    assert 0 < released.threshold(0.25) < 1 and released.threshold(0.25) in edges
    assert released.threshold(0.25) <= released.threshold(0.75)
    assert at_least_one(released.users) >= 1 and 0 <= released.share_below(0.5).value <= 1


def test_thresholds_by_hand():
    """Ten users: two at 0.4, five at 0.9, three at 1."""
    values = np.array([0.4] * 2 + [0.9] * 5 + [1.0] * 3)
    # Below any edge from 0.41 to 0.9 are 20%, from 0.91 70%: 20% is nearer to a quarter, 70% to a half.
    assert exact(values).threshold(0.25) == 0.65
    assert 0.9 < exact(values).threshold(0.5) < 1
    # At or below 0.9 are 70%, and 1 is no threshold: nobody is above it.
    assert 0.9 <= exact(values, right_closed=True).threshold(0.75) < 1
    assert exact(values, right_closed=True).percentile(0.75) > 0.99
    assert exact(values).percentile(1.0) == 1


@given(ACCURACIES, st.booleans(), st.sampled_from([(0, 0.35), (0.35, 0.9), (0.9, 1), (0, 1)]))
def test_users_between_edges_have_the_error_of_their_bins(values, right_closed, ends):
    low, high = ends
    bins = accuracy_histogram_of(0.0, None, right_closed)
    counts = tuple(bins.count(values).tolist())
    users = ReleasedHistogram(bins.edges, counts, 2.0, right_closed).between(low, high)
    inside = (low < values) & (values <= high) if right_closed else (low <= values) & (values < high)
    beyond = (low == 0) & (values == 0) if right_closed else (high == 1) & (values == 1)
    assert users.value == (inside | beyond).sum()
    extra = low == 0 if right_closed else high == 1
    assert users.standard_error == pytest.approx(2 * math.sqrt(round(100 * (high - low)) + extra))


def test_users_are_counted_at_edges_only():
    with pytest.raises(ValueError, match="edge"):
        exact(np.array([0.5])).below(0.8825)


def test_what_is_written_says_whether_it_is_exact():
    counts = np.arange(101)
    written = accuracy_histogram_of(0.0).release(counts).to_json()
    assert (written["is"], written["counts"], written["closed"]) == ("exact-simulation", counts.tolist(), "left")
    noised = accuracy_histogram_of(2.0, right_closed=True).release(counts).to_json()
    assert (noised["is"], noised["standard_error"], noised["closed"]) == ("dp", 2.0, "right")
    assert len(noised["edges"]) == len(noised["counts"]) + 1


@pytest.mark.parametrize("value", [-4.2, 0.0, 0.4])
def test_a_number_of_users_to_plan_with_is_at_least_one(value):
    assert at_least_one(Estimate(value, 3.0)) == 1


@pytest.mark.parametrize(
    ("text", "share"),
    [("p25", 0.25), ("p75", 0.75), ("p2.5", 0.025), ("p99", 0.99), ("p0", None), ("p100", None), ("p-5", None)]
    + [("0.25", None), ("25", None), ("p", None), ("pp25", None), ("P25", None), ("p25 ", None)],
)
def test_percentiles_have_names(text, share):
    assert percentile_of(text) == (None if share is None else pytest.approx(share))
