"""The mechanism's guarantee: a bounded contribution, noise of the promised size, an exact sum."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from fedprobe.privacy import noise
from fedprobe.privacy.mechanism import CLIP_STEPS, Mechanism
from fedprobe.privacy.randomness import key, uniform_bits

any_float = st.floats(allow_nan=True, allow_infinity=True, width=64)
updates = st.one_of(
    arrays(np.float64, st.integers(1, 200), elements=any_float),
    arrays(np.float32, st.integers(1, 200), elements=st.floats(allow_nan=True, allow_infinity=True, width=32)),
)
clip_norms = st.floats(1e-6, 1e6)


def exact_norm_squared(steps: np.ndarray) -> int:
    """In Python's integers, which do not overflow."""
    return sum(int(step) ** 2 for step in steps)


@given(updates, clip_norms)
def test_no_update_contributes_more_than_the_clip_norm(update, clip_norm):
    steps = Mechanism(clip_norm, 1.0).contribution(update)
    assert steps.dtype == np.int64 and steps.shape == update.shape
    assert exact_norm_squared(steps) <= CLIP_STEPS**2


@given(st.integers(1, 300), st.integers(0, 2**32 - 1), clip_norms)
def test_the_norm_is_bounded_on_the_edge_too(size, seed, clip_norm):
    """Updates whose norm is the clip norm up to a rounding error, either side of it."""
    direction = np.random.default_rng(seed).standard_normal(size)
    update = direction * (clip_norm / np.linalg.norm(direction))
    for nudged in (update, np.nextafter(update, np.inf), np.nextafter(update, -np.inf)):
        steps = Mechanism(clip_norm, 1.0).contribution(nudged)
        assert exact_norm_squared(steps) <= CLIP_STEPS**2


@given(arrays(np.float64, 50, elements=st.floats(-1, 1)), clip_norms)
def test_a_small_update_survives_to_within_one_grid_step(update, clip_norm):
    mechanism = Mechanism(clip_norm, 0.0)
    update = update * (0.9 * clip_norm / math.sqrt(50))
    steps = mechanism.contribution(update)
    assert np.all(np.abs(steps * mechanism.grid - update) <= mechanism.grid * 1.001)
    assert np.all(np.abs(steps * mechanism.grid) <= np.abs(update) * (1 + 1e-12)), "rounding is toward zero"


@given(arrays(np.float64, 50, elements=st.floats(-1e3, 1e3)).filter(lambda update: np.linalg.norm(update) > 2.0))
def test_a_large_update_keeps_its_direction(update):
    mechanism = Mechanism(1.0, 0.0)
    clipped = mechanism.contribution(update) * mechanism.grid
    assert np.allclose(clipped, update / np.linalg.norm(update), atol=1e-8)


@pytest.mark.parametrize("others", [1e-9, 1.8e-8, 1e-7])
def test_one_dominant_coordinate_does_not_lose_the_update(others):
    """Its norm is that of one coordinate up to a rounding error, which must not fail the exact check."""
    update = np.full(50, others)
    update[7] = 1.0
    steps = Mechanism(0.01, 1.0).contribution(update)
    assert exact_norm_squared(steps) > 0.999 * CLIP_STEPS**2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_contributes_zeros(value):
    update = np.ones(10)
    update[3] = value
    assert not Mechanism(1.0, 1.0).contribution(update).any()


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e200, 1e308])
def test_neither_huge_nor_tiny_updates_overflow(scale):
    steps = Mechanism(1.0, 1.0).contribution(np.full(4, scale))
    assert exact_norm_squared(steps) <= CLIP_STEPS**2
    assert (steps[0] > 0) == (scale > 1e-9), "huge ones are clipped, tiny ones fall below the grid"


@given(st.lists(arrays(np.float64, 20, elements=st.floats(-10, 10)), min_size=1, max_size=6), st.randoms())
def test_the_sum_depends_on_neither_order_nor_grouping(updates, random):
    mechanism = Mechanism(1.0, 0.0)
    contributions = [mechanism.contribution(update) for update in updates]
    shuffled = random.sample(contributions, len(contributions))
    half = len(shuffled) // 2
    grouped = sum(shuffled[:half], np.zeros(20, np.int64)) + sum(shuffled[half:], np.zeros(20, np.int64))
    assert np.array_equal(sum(contributions), grouped)


@given(st.lists(arrays(np.float32, 20, elements=st.floats(width=32)), max_size=6), clip_norms)
def test_the_sum_of_updates_is_that_of_their_contributions(updates, clip_norm):
    mechanism = Mechanism(clip_norm, 1.0)
    contributions = [mechanism.contribution(update) for update in updates]
    total = mechanism.sum_of(20, iter(updates))
    assert total.dtype == np.int64
    assert np.array_equal(total, sum(contributions, np.zeros(20, np.int64)))


@pytest.mark.parametrize("length", [1, 19, 21])
def test_an_update_of_another_length_is_not_added(length):
    with pytest.raises(ValueError):
        Mechanism(1.0, 1.0).sum_of(20, [np.ones(20), np.ones(length)])


@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_contributions_are_not_put_into_other_types(dtype):
    with pytest.raises(TypeError):
        Mechanism(1.0, 1.0).contribution(np.ones(20), out=np.empty(20, dtype))


def test_an_update_is_clipped_by_the_same_factor_with_any_number_of_threads():
    """What a user adds may not depend on how many cores the machine has."""
    code = """
import numpy as np
from fedprobe.privacy.mechanism import Mechanism
updates = np.random.default_rng(0).standard_normal((8, 200_000))
print([Mechanism(1.0, 1.0)._steps_per_unit(update).hex() for update in updates])
"""
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | dict.fromkeys(["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"], threads),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(said) == 1


def test_without_noise_the_sum_comes_out_as_it_went_in():
    total = np.array([0, CLIP_STEPS, -CLIP_STEPS // 2])
    assert Mechanism(0.5, 0.0).release(total).tolist() == [0.0, 0.5, -0.25]


@pytest.mark.parametrize(("clip_norm", "noise_multiplier"), [(0.1, 0.01), (0.1, 1.0), (3.0, 4.0)])
def test_the_released_sum_has_noise_of_z_times_s(clip_norm, noise_multiplier):
    count = 400_000
    total = np.full(count, 12_345, dtype=np.int64)
    mechanism = Mechanism(clip_norm, noise_multiplier)
    noised = (mechanism.release(total) - total * mechanism.grid) / (clip_norm * noise_multiplier)
    # (n-1) s^2 is chi-square: the two-sided interval that a right sampler leaves once in a million runs.
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], count - 1) / (count - 1)
    assert low < noised.var(ddof=1) < high
    assert abs(noised.mean()) < 5 / math.sqrt(count)
    assert stats.kstest(noised, "norm").pvalue > 1e-6


def test_every_release_draws_its_own_noise():
    mechanism, total = Mechanism(1.0, 1.0), np.zeros(1000, np.int64)
    one, other = mechanism.release(total), mechanism.release(total)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.2
    assert not np.array_equal(one, other)


def test_noise_is_independent_from_coordinate_to_coordinate():
    """Box and Muller's pairs lie half a block apart: neither they nor neighbours may be correlated."""
    drawn = noise.gaussian(4 * noise._BLOCK, 1e9).astype(float)
    for shift in (1, 2, noise._BLOCK):
        assert abs(np.corrcoef(drawn[shift:], drawn[:-shift])[0, 1]) < 6 / math.sqrt(len(drawn) - shift)
        squares = drawn**2
        assert abs(np.corrcoef(squares[shift:], squares[:-shift])[0, 1]) < 6 / math.sqrt(len(drawn) - shift)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 32_767, 32_768, 32_769, 70_001])
def test_noise_comes_in_any_length(count):
    drawn = noise.gaussian(count, 1e6)
    assert drawn.shape == (count,) and drawn.dtype == np.int64
    assert np.count_nonzero(drawn) >= 0.99 * count


@pytest.mark.parametrize("deviation", [-1.0, float("nan"), float("inf"), 2.0**60])
def test_noise_that_cannot_be_drawn_is_refused(deviation):
    with pytest.raises(ValueError):
        noise.gaussian(1, deviation)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("nan"), float("inf")])
def test_a_mechanism_without_a_clip_norm_is_refused(clip_norm):
    with pytest.raises(ValueError):
        Mechanism(clip_norm, 1.0)


@pytest.mark.parametrize("noise_multiplier", [-0.1, float("nan"), float("inf")])
def test_a_mechanism_with_impossible_noise_is_refused(noise_multiplier):
    with pytest.raises(ValueError):
        Mechanism(1.0, noise_multiplier)


def test_a_sum_off_the_grid_is_refused():
    with pytest.raises(TypeError):
        Mechanism(1.0, 1.0).release(np.zeros(3))


def test_a_user_more_moves_the_sum_by_at_most_the_clip_norm():
    """The sensitivity under add-or-remove, on worst-case directions: all users push the same way."""
    mechanism = Mechanism(0.1, 0.0)
    total = sum(mechanism.contribution(np.full(64, 10.0)) for _ in range(7))
    with_one_more = total + mechanism.contribution(np.full(64, 10.0))
    assert 0.99 * CLIP_STEPS**2 < exact_norm_squared(with_one_more - total) <= CLIP_STEPS**2


def test_uniform_bits_are_uniform_and_never_repeat():
    bits = uniform_bits(200_000)
    assert len(np.unique(bits)) == len(bits)
    assert stats.kstest(bits.astype(float) / 2.0**64, "uniform").pvalue > 1e-6
    per_bit = np.unpackbits(bits.view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.all(np.abs(per_bit - 0.5) < 6 * 0.5 / math.sqrt(len(bits)))
    assert not np.array_equal(uniform_bits(4), uniform_bits(4))


def test_no_nonce_overflows_the_block_counter(monkeypatch):
    monkeypatch.setattr("os.urandom", lambda count: b"\xff" * count)
    assert len(uniform_bits(100_000)) == 100_000


@given(
    st.lists(st.one_of(st.integers(), st.text()), max_size=4), st.lists(st.one_of(st.integers(), st.text()), max_size=4)
)
def test_keys_differ_where_their_parts_differ(parts, others):
    same = [str(part) for part in parts] == [str(other) for other in others]
    assert (key(*parts) == key(*others)) == same
    assert 0 <= key(*parts) < 2**63


def test_keys_do_not_confuse_where_one_part_ends():
    assert key("ab", "c") != key("a", "bc")
    assert key(1, 23) != key(12, 3)
