"""The kernel two-sample test: its statistic by the book, its level where nothing differs, its power where it does."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from fedprobe.modeler.mmd import mmd_test


def normal(count: int, seed: int, shift: float = 0.0, shape: tuple[int, ...] = (2, 3)) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, *shape)).astype(np.float32)


def by_the_book(a: np.ndarray, b: np.ndarray, width: float) -> float:
    """Gretton et al. 2012, Lemma 6, for any two sizes."""
    within = [
        np.mean([np.exp(-(np.linalg.norm(x - y) ** 2) / (2 * width**2)) for x, y in itertools.permutations(one, 2)])
        for one in (a, b)
    ]
    return sum(within) - 2 * np.exp(-(cdist(a, b) ** 2) / (2 * width**2)).mean()


@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 2**31), st.floats(0, 3))
def test_the_statistic_is_the_unbiased_one_with_the_median_distance_as_width(n, m, seed, shift):
    a, b = normal(n, seed, shape=(4,)).astype(float), normal(m, seed + 1, shift, shape=(4,)).astype(float)
    width = float(np.sqrt(np.median(pdist(np.concatenate([a, b])) ** 2)))
    assert mmd_test(a, b, 9).squared == pytest.approx(by_the_book(a, b, width), abs=1e-9)


@given(st.integers(0, 2**31), st.floats(0, 3), st.integers(1, 60))
def test_the_p_value_counts_what_was_observed_as_one_of_the_permutations(seed, shift, permutations):
    result = mmd_test(normal(6, seed), normal(7, seed + 1, shift), permutations, seed)
    as_far = result.p_value * (permutations + 1)
    assert as_far == pytest.approx(round(as_far)) and 1 <= round(as_far) <= permutations + 1


def test_the_p_value_is_near_that_of_all_permutations():
    a, b = normal(5, 0), normal(5, 1, 0.7)
    pooled = np.concatenate([a, b])
    every = [
        mmd_test(pooled[list(chosen)], np.delete(pooled, chosen, axis=0), 1).squared
        for chosen in itertools.combinations(range(10), 5)
    ]
    exact = np.mean(np.array(every) >= mmd_test(a, b, 1).squared - 1e-9)
    count = 4000
    drawn = mmd_test(a, b, count).p_value
    low, high = stats.binom.interval(1 - 1e-6, count, exact)
    assert low <= drawn * (count + 1) - 1 <= high


def test_p_values_are_not_below_uniform_where_nothing_differs():
    p_values = [mmd_test(normal(15, 2 * seed), normal(15, 2 * seed + 1), 99, seed).p_value for seed in range(300)]
    assert stats.kstest(p_values, "uniform", alternative="greater").pvalue > 1e-6
    # Nor far above it: the test is exact.
    assert stats.kstest(p_values, "uniform", alternative="less").pvalue > 1e-6


def test_sets_of_copies_never_differ():
    # All permutations tie, though sums are rounded otherwise for each.
    same = np.full((30, 4), 0.3)
    assert mmd_test(same[:10], same[10:]).p_value == 1
    two = np.repeat(normal(1, 0), 20, axis=0)
    assert mmd_test(two[:10], two[10:]).p_value == 1


def test_it_sees_what_is_different_on_average_and_what_is_not(strokes):
    assert mmd_test(strokes(60, 0), 1 - strokes(60, 1)).p_value == 1 / 500
    narrow = 0.3 * normal(100, 1)
    assert mmd_test(normal(100, 0), narrow).p_value == 1 / 500


@pytest.mark.parametrize("counts", [(1, 5), (5, 1), (0, 0)])
def test_too_few_samples_are_refused(counts):
    with pytest.raises(ValueError, match="at least two"):
        mmd_test(*(normal(count, 0) for count in counts))
