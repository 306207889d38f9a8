"""Every rounding of the noise is that of the real value: the float64 path against many more digits."""

import mpmath
import numpy as np
import pytest

from fedprobe.privacy.noise import exact_pair, in_float64, rounded

TOP = 2**64 - 1
EDGES = [2**48, 2**48 + 1, 2**53 - 1, 2**62, 2**63 - 1, 2**63, 2**63 + 1, 3 * 2**62, TOP - 1, TOP]


def bits(count: int, seed: int) -> np.ndarray:
    """Random 64-bit integers, and those around which a bound could fail."""
    drawn = np.random.default_rng(seed).integers(2**48, 2**64, count, dtype=np.uint64)
    return np.concatenate([drawn, np.array(EDGES, np.uint64)])


def real(b: int, c: int, standard_deviation: float, further: float) -> tuple:
    """The pair whose u and v go on after these bits with the share `further` of the last one."""
    with mpmath.workdps(60):
        u, v = (mpmath.mpf(value) + mpmath.mpf(further) for value in (b, c))
        radius = standard_deviation * mpmath.sqrt(-2 * mpmath.ln(u / 2**64))
        angle = 2 * mpmath.pi * v / 2**64
        return radius * mpmath.cos(angle), radius * mpmath.sin(angle)


@pytest.mark.parametrize("further", [1e-9, 0.5, 1 - 1e-9])
def test_the_float64_path_is_within_its_bound_whatever_bits_follow(further):
    u_bits, v_bits = bits(1500, 1), np.random.default_rng(2).permutation(bits(1500, 3))
    values, error = in_float64(u_bits, v_bits, 2.0**30)
    for pair, (b, c) in enumerate(zip(u_bits.tolist(), v_bits.tolist(), strict=True)):
        for value, expected in zip(values[:, pair], real(b, c, 2.0**30, further), strict=True):
            assert not error[pair] < abs(mpmath.mpf(float(value)) - expected)


@pytest.mark.parametrize("standard_deviation", [0.7, 3.0, 2.0**30])
def test_both_paths_round_alike(standard_deviation):
    u_bits, v_bits = bits(800, 4), bits(800, 5)
    quick = rounded(u_bits, v_bits, standard_deviation)
    _, error = in_float64(u_bits, v_bits, standard_deviation)
    slow = np.array([exact_pair(int(b), int(c), standard_deviation) for b, c in zip(u_bits, v_bits, strict=True)]).T
    # What 64 bits leave open is decided by bits that differ from call to call.
    decided = error < 2.0**-12
    assert decided.sum() > 500
    assert np.array_equal(quick[:, decided], slow[:, decided])


def test_bits_that_decide_nothing_are_followed_by_more():
    values = {exact_pair(0, 2**63, 1.0) for _ in range(20)}
    # u below 2^-64: a radius above 9.4; cos is -1 but for the bits that follow.
    assert all(-30 <= x <= -9 and y == 0 for x, y in values)
