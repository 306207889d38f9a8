"""The two-sample test: its p-value, its level where nothing differs, its power where something does."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedprobe.modeler.two_sample import TwoSample, two_sample_test


def normal(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, 1, 2, 3)).astype(np.float32)


@settings(deadline=None, max_examples=10)
@given(st.integers(20, 45), st.integers(0, 2**31), st.floats(0, 3))
def test_the_p_value_is_the_chance_of_as_many_right_answers_by_flipping_coins(count, seed, shift):
    result = two_sample_test(normal(count, seed), normal(count, seed + 1, shift))
    # What was not learnt from is judged.
    assert result.held_out == 2 * (count - count // 2)
    right = round(result.accuracy * result.held_out)
    assert right / result.held_out == result.accuracy
    assert result.p_value == pytest.approx(stats.binom.sf(right - 1, result.held_out, 0.5), rel=1e-9)
    coins = sum(math.comb(result.held_out, k) for k in range(right, result.held_out + 1)) / 2**result.held_out
    assert result.p_value == pytest.approx(coins, rel=1e-9)


def test_it_holds_its_level_where_the_sets_are_of_one_distribution():
    # With these seeds nothing is left to chance; for any others, a false alarm once in a million.
    results = [two_sample_test(normal(30, 2 * seed), normal(30, 2 * seed + 1)) for seed in range(60)]
    for level in (0.01, 0.05, 0.2):
        assert sum(result.p_value < level for result in results) <= stats.binom.isf(1e-6, len(results), level)
    # And it does not always answer alike.
    assert len({result.accuracy for result in results}) > 5


def test_it_sees_an_obvious_difference(strokes):
    result = two_sample_test(strokes(60, 0), 1 - strokes(60, 1))
    assert result.accuracy == 1
    assert result.p_value == pytest.approx(2.0**-60)
    assert result.differ


def test_it_sees_a_shift_of_one_standard_deviation():
    assert two_sample_test(normal(200, 0), normal(200, 1, shift=1.0)).differ


def test_a_set_against_itself_is_no_difference():
    images = normal(40, 0)
    assert not two_sample_test(images, images.copy()).differ


@pytest.mark.parametrize("p_value, differ", [(0.0099, True), (0.01, False), (1.0, False)])
def test_sets_differ_below_one_percent(p_value, differ):
    assert TwoSample(0.6, p_value, 100).differ == differ


def test_the_same_seed_gives_the_same_answer():
    a, b = normal(40, 0), normal(40, 1, shift=0.5)
    assert two_sample_test(a, b, seed=3) == two_sample_test(a, b, seed=3)


@pytest.mark.parametrize("counts", [(20, 21), (40, 20), (19, 19), (0, 0)])
def test_sets_of_different_size_or_too_few_samples_are_refused(counts):
    with pytest.raises(ValueError, match="at least 20"):
        two_sample_test(*(normal(count, 0) for count in counts))
