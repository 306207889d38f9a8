"""The two-sample test: its p-value, its level where nothing differs, its power where something does."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedprobe.modeler.mmd import Mmd, mmd_test
from fedprobe.modeler.two_sample import TwoSample, two_sample_test, two_sample_tests


def normal(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, 1, 2, 3)).astype(np.float32)


@settings(deadline=None, max_examples=10)
@given(st.integers(20, 45), st.integers(0, 2**31), st.floats(0, 3))
def test_the_p_value_is_the_chance_of_as_many_right_answers_with_labels_permuted(count, seed, shift):
    result = two_sample_test(normal(count, seed), normal(count, seed + 1, shift))
    # What was not learnt from is judged.
    side = count - count // 2
    assert result.held_out == 2 * side
    right = round(result.accuracy * result.held_out)
    assert right / result.held_out == result.accuracy
    # So many right answers can come with one table or another: the p-value is Fisher's of one of them.
    tables = [
        [[hits, taken - hits], [side - hits, side - taken + hits]]
        for hits in range(side + 1)
        for taken in [side + 2 * hits - right]
        if 0 <= taken - hits <= side
    ]
    by_fisher = [stats.fisher_exact(table, alternative="greater").pvalue for table in tables]
    assert any(result.p_value == pytest.approx(one, rel=1e-9) for one in by_fisher)


def test_p_values_are_not_below_uniform_where_the_sets_are_of_one_distribution(monkeypatch):
    # Whatever the classifier is, and few trees are quick. With these seeds nothing is left to chance; for any others, a
    # false alarm once in a million.
    monkeypatch.setattr("fedprobe.modeler.two_sample._TREES", 3)
    results = [two_sample_test(normal(20, 2 * seed), normal(20, 2 * seed + 1)) for seed in range(200)]
    assert stats.kstest([result.p_value for result in results], "uniform", alternative="greater").pvalue > 1e-6
    # And it does not always answer alike.
    assert len({result.accuracy for result in results}) > 5


def test_trees_that_always_answer_alike_prove_nothing():
    same = np.full((40, 1, 2, 3), 0.5)
    result = two_sample_test(same[:20], same[20:])
    assert (result.accuracy, result.p_value) == (0.5, 1)


def test_it_sees_an_obvious_difference(strokes):
    result = two_sample_test(strokes(60, 0), 1 - strokes(60, 1))
    assert result.accuracy == 1
    assert result.p_value == pytest.approx(1 / math.comb(60, 30))
    assert result.differ


def test_it_sees_a_shift_of_one_standard_deviation():
    assert two_sample_test(normal(200, 0), normal(200, 1, shift=1.0)).differ


def test_a_set_against_itself_is_no_difference():
    images = normal(40, 0)
    assert not two_sample_test(images, images.copy()).differ


@pytest.mark.parametrize("p_value, differ", [(0.0099, True), (0.01, False), (1.0, False)])
def test_sets_differ_below_one_percent(p_value, differ):
    assert TwoSample(0.6, p_value, 100).differ == differ


@pytest.mark.parametrize("p_values, differ", [((0.0049, 1), True), ((1, 0.002), True), ((0.006, 0.006), False)])
def test_of_two_tests_either_will_do_at_half_the_level(p_values, differ):
    assert TwoSample(0.6, p_values[0], 100, Mmd(0.1, p_values[1], 499)).differ == differ


def test_both_tests_are_made_of_the_same_sets():
    a, b = normal(40, 0), normal(40, 1, shift=0.5)
    both = two_sample_tests(a, b, seed=3)
    assert both == replace(two_sample_test(a, b, seed=3), mmd=mmd_test(a, b, seed=3))
    assert f"MMD² {both.mmd.squared:.4f}" in both.says() and both.to_json()["mmd"]["p_value"] == both.mmd.p_value


def test_the_same_seed_gives_the_same_answer():
    a, b = normal(40, 0), normal(40, 1, shift=0.5)
    assert two_sample_test(a, b, seed=3) == two_sample_test(a, b, seed=3)


@pytest.mark.parametrize("counts", [(20, 21), (40, 20), (19, 19), (0, 0)])
def test_sets_of_different_size_or_too_few_samples_are_refused(counts):
    with pytest.raises(ValueError, match="at least 20"):
        two_sample_test(*(normal(count, 0) for count in counts))
