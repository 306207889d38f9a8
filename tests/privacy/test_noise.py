"""Every integer is the rounding of a real Gaussian value: the float64 bound, the path with more digits, the law.

Tests of chance fail a right implementation less than once in a million runs.
"""

import math
from collections.abc import Iterable

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedprobe.privacy import noise

FALSE_ALARM = 1e-7
WORD = 2**64

words = st.integers(0, WORD - 1)
deviations = st.floats(1e-3, 2.0**45)


def real_pair(u: mpmath.mpf, v: mpmath.mpf, standard_deviation: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Box and Muller's pair, in mpmath's working precision."""
    radius = standard_deviation * mpmath.sqrt(-2 * mpmath.ln(u))
    angle = 2 * mpmath.pi * v
    return radius * mpmath.cos(angle), radius * mpmath.sin(angle)


def joined(of_one: Iterable[int]) -> int:
    """The integer that 64-bit words make, the highest first."""
    whole = 0
    for word in of_one:
        whole = whole * WORD + word
    return whole


class Script:
    """Stands in for `uniform_bits`: further words of u and v as written down, in turns; keeps count of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, u_words: Iterable[int], v_words: Iterable[int]) -> None:
        self._pairs = iter(list(zip(u_words, v_words, strict=True)))
        self.drawn = 0
        monkeypatch.setattr(noise, "uniform_bits", self)

    def __call__(self, count: int) -> np.ndarray:
        assert count == 2
        self.drawn += 1
        return np.array(next(self._pairs), dtype=np.uint64)


def adversarial() -> tuple[np.ndarray, np.ndarray]:
    """All pairs of bits of u near 0, powers of two and 1 with bits of v near multiples of a sixteenth of a turn."""
    near = [0, 1, 2, 3, 2**10, 2**11 - 1, 2**11, 2**11 + 1, 2**20, 2**34, 2**48]
    u_bits = [2**48 + step for step in near] + [WORD - 1 - step for step in near]
    u_bits += [2**power + side for power in range(49, 64, 2) for side in (-1, 0, 1)]
    v_bits = [(i * 2**60 + side * step) % WORD for i in range(16) for side in (-1, 1) for step in near[:9:2]]
    grid = np.meshgrid(np.array(u_bits, dtype=np.uint64), np.array(v_bits, dtype=np.uint64))
    return grid[0].ravel(), grid[1].ravel()


def random_bits(count: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(7).integers(0, WORD, (2, count), dtype=np.uint64, endpoint=False)
    return drawn[0], drawn[1]


@pytest.mark.parametrize("standard_deviation", [0.7, 2.0**30])
@pytest.mark.parametrize("bits", [random_bits(500), adversarial()], ids=["random", "adversarial"])
def test_the_float64_error_is_below_half_of_its_bound_whatever_bits_follow(bits, standard_deviation):
    every = slice(None, None, max(1, len(bits[0]) // 1200))
    u_bits, v_bits = (np.ascontiguousarray(of_one[every]) for of_one in bits)
    values, error = noise.in_float64(u_bits, v_bits, standard_deviation)
    with mpmath.workdps(60):
        for i, (b, c) in enumerate(zip(u_bits.tolist(), v_bits.tolist(), strict=True)):
            if math.isinf(error[i]):
                continue
            # The ends of what the 64 bits leave open; u is never 1.
            for u in (mpmath.mpf(b) / WORD, mpmath.mpf(b + 1 - mpmath.mpf(2) ** -99) / WORD):
                for v in (mpmath.mpf(c) / WORD, mpmath.mpf(c + 1) / WORD):
                    for value, real in zip(values[:, i], real_pair(u, v, standard_deviation), strict=True):
                        assert abs(mpmath.mpf(float(value)) - real) <= mpmath.mpf(float(error[i])) / 2


def test_where_float64_says_nothing_it_says_so():
    u_bits = np.array([0, 1, 2**48 - 1, WORD - 1, WORD - 2**10, 2**48, 2**63], dtype=np.uint64)
    _, error = noise.in_float64(u_bits, np.zeros_like(u_bits), 1.0)
    assert np.isinf(error).tolist() == [True] * 5 + [False] * 2


def test_numpys_functions_are_within_half_of_the_assumed_8_units_in_the_last_place():
    stream = np.random.default_rng(3)
    u = np.concatenate(
        [stream.random(1500), 1 - 2.0 ** -stream.uniform(1, 53, 500), 2.0 ** -stream.uniform(0, 16, 500)]
    )
    a = np.concatenate([stream.uniform(-1, 1, 1500), 1 - 2.0 ** -stream.uniform(1, 53, 500)]) * (np.pi / 2)
    with mpmath.workdps(60):
        for function, exact, inputs in ((np.log, mpmath.ln, u[u < 1]), (np.tan, mpmath.tan, a)):
            outputs = function(inputs)
            for x, y, unit in zip(inputs.tolist(), outputs.tolist(), np.spacing(np.abs(outputs)).tolist(), strict=True):
                assert abs(exact(mpmath.mpf(x)) - mpmath.mpf(y)) <= 4 * mpmath.mpf(unit)


@settings(deadline=None)
@given(words, words, deviations, st.lists(st.tuples(words, words), max_size=4))
def test_what_is_decided_is_the_rounding_whatever_bits_would_follow(b, c, standard_deviation, further):
    # Zeros for ever would decide nothing: the words after the chosen ones are any others.
    further += np.random.default_rng(0).integers(0, WORD, (4, 2), dtype=np.uint64, endpoint=False).tolist()
    with pytest.MonkeyPatch.context() as patch:
        script = Script(patch, *zip(*further, strict=True))
        decided = noise.exact_pair(b, c, standard_deviation)
    seen = further[: script.drawn]
    whole_u, whole_v = joined([b] + [u for u, _ in seen]), joined([c] + [v for _, v in seen])
    with mpmath.workprec(64 * len(seen) + 300):
        unit = mpmath.mpf(WORD) ** -(1 + len(seen))
        for u_side in (mpmath.mpf(2) ** -40, 1 - mpmath.mpf(2) ** -40):
            for v_side in (0, 1):
                pair = real_pair((whole_u + u_side) * unit, (whole_v + v_side) * unit, standard_deviation)
                assert decided == tuple(int(mpmath.floor(y + 0.5)) for y in pair)


@pytest.mark.parametrize("standard_deviation", [0.0, 1e-300, 0.7, 3.0, 2.0**20, 2.0**30, 2.0**38])
def test_both_paths_make_the_same_integers_of_the_same_bits(monkeypatch, standard_deviation):
    u_bits, v_bits = (np.concatenate(both) for both in zip(random_bits(1500), adversarial(), strict=True))
    some = np.random.default_rng(1).permutation(len(u_bits))[:3000]
    # Pairs that even 64 bits do not decide go on alike.
    monkeypatch.setattr(noise, "uniform_bits", lambda count: np.full(count, 0x0123456789ABCDEF, dtype=np.uint64))
    quick = noise.rounded(u_bits[some], v_bits[some], standard_deviation)
    monkeypatch.setattr(noise, "_FLOAT64_ERROR", math.inf)
    assert np.array_equal(noise.rounded(u_bits[some], v_bits[some], standard_deviation), quick)


@pytest.mark.parametrize("on_it", [0, 1], ids=["cosine", "sine"])
@pytest.mark.parametrize(("of_u", "expected"), [(0, 12_345), (WORD - 1, 12_344)], ids=["above", "below"])
@pytest.mark.parametrize("undecided", [1, 2, 5])
def test_a_value_on_a_half_for_many_words_gets_as_many_and_one(monkeypatch, undecided, of_u, expected, on_it):
    """u is solved for, so that one value lies on 12,344.5 as far as `undecided` words of u and of v can tell."""
    boundary, standard_deviation = mpmath.mpf("12344.5"), 2.0**14
    # An eighth of a turn and a little: cosine and sine are positive.
    v_words = [2**61 + 987_654_321] + [0x0F1E2D3C4B5A6978] * (undecided - 1)
    with mpmath.workprec(64 * undecided + 300):
        v = (joined(v_words) + mpmath.mpf("0.5")) / mpmath.mpf(WORD) ** undecided
        part = (mpmath.cos, mpmath.sin)[on_it](2 * mpmath.pi * v)
        u = mpmath.exp(-((boundary / (standard_deviation * part)) ** 2) / 2)
        whole = int(mpmath.floor(u * mpmath.mpf(WORD) ** undecided))
        u_words = [(whole >> (64 * i)) % WORD for i in reversed(range(undecided))]
        # What u and v go on with after that: v as it was solved for, u at one end.
        after_u = (joined(u_words) + mpmath.mpf(of_u) / WORD) / mpmath.mpf(WORD) ** undecided
        other = int(mpmath.nint(real_pair(after_u, v, standard_deviation)[1 - on_it]))
    script = Script(monkeypatch, u_words[1:] + [of_u], v_words[1:] + [2**63])
    pair = noise.rounded(np.array(u_words[:1], np.uint64), np.array(v_words[:1], np.uint64), standard_deviation)
    assert script.drawn == undecided
    assert (pair[on_it, 0], pair[1 - on_it, 0]) == (expected, other)


def test_the_other_value_of_a_pair_goes_on_with_the_same_bits(monkeypatch):
    """b = 0 says nothing of either value; the words that follow decide both, at a radius that is one number."""
    Script(monkeypatch, [0, 2**63 - 1], [5, 6])
    cosine, sine = noise.rounded(np.zeros(1, np.uint64), np.array([2**61], np.uint64), 2.0**20)[:, 0].tolist()
    assert math.hypot(cosine, sine) / 2**20 == pytest.approx(math.sqrt(2 * 129 * math.log(2)), abs=1e-5)
    assert abs(cosine - sine) <= 1


def test_beyond_9_standard_deviations_the_tail_goes_on_as_a_gaussians():
    """Where the first 64 bits of u are 0, half the squared radius exceeds 64 ln 2 by an exponential variable."""
    scale = 2.0**20
    v_bits = random_bits(3000)[1]
    pairs = noise.rounded(np.zeros_like(v_bits), v_bits, scale) / scale
    excess = np.square(pairs).sum(axis=0) / 2 - 64 * math.log(2)
    assert stats.kstest(excess, "expon").pvalue > FALSE_ALARM


def expected_counts(low: int, high: int, standard_deviation: float, count: int) -> np.ndarray:
    """Of `count` rounded Gaussians how many are to be `low` or less, low + 1, ..., high - 1, `high` or more."""
    edges = np.arange(low, high) + 0.5
    below = stats.norm.cdf(edges / standard_deviation)
    return count * np.diff(below, prepend=0.0, append=1.0)


@pytest.mark.parametrize("path", ["float64 first", "more digits only"])
@pytest.mark.parametrize(("standard_deviation", "largest"), [(0.3, 1), (0.7, 2), (3.0, 10)])
def test_a_coarse_grid_has_the_rounded_gaussians_probabilities(monkeypatch, path, standard_deviation, largest):
    count = 1_000_000
    if path == "more digits only":
        count = 20_000
        largest = math.ceil(largest * 0.7)
        monkeypatch.setattr(noise, "_FLOAT64_ERROR", math.inf)
    drawn = np.clip(noise.gaussian(count, standard_deviation), -largest, largest)
    expected = expected_counts(-largest, largest, standard_deviation, count)
    assert expected.min() > 50, "the chi-square approximation wants no small bins"
    assert stats.chisquare(np.bincount(drawn + largest, minlength=2 * largest + 1), expected).pvalue > FALSE_ALARM


@pytest.mark.parametrize("standard_deviation", [100.0, 2.0**30, 2.0**36])
def test_a_fine_grid_has_the_gaussians_variance_shape_and_tails(standard_deviation):
    count = 600_000
    drawn = noise.gaussian(count, standard_deviation)
    # Rounding adds a twelfth to the variance; to have it in the sum makes the interval right at any fineness.
    squares = np.square(drawn / standard_deviation).sum() / (1 + 1 / (12 * standard_deviation**2))
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], count)
    assert low < squares < high
    # Spread over its grid step again, so that a rounded value is as continuous as what it is compared with.
    spread = drawn + np.random.default_rng().uniform(-0.5, 0.5, count)
    assert stats.kstest(spread / standard_deviation, "norm").pvalue > FALSE_ALARM
    for multiple in (3, 4):
        least = math.ceil(multiple * standard_deviation)
        for beyond in (drawn >= least, drawn <= -least):
            probability = stats.norm.sf((least - 0.5) / standard_deviation)
            assert stats.binomtest(int(beyond.sum()), count, probability).pvalue > FALSE_ALARM


@pytest.mark.parametrize("modulus", [2, 256])
def test_no_low_digit_is_more_likely_than_another(modulus):
    counts = np.bincount(noise.gaussian(500_000, 2.0**30) % modulus, minlength=modulus)
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


def test_mpmaths_global_precision_decides_nothing():
    arguments = (2**62 + 12_345, 2**60 + 99, 2.0**30)
    with mpmath.workprec(300):
        expected = noise.exact_pair(*arguments)
    with mpmath.workprec(5):
        assert noise.exact_pair(*arguments) == expected


@pytest.mark.parametrize("count", [0, 1, 2, 3, 2 * noise._BLOCK - 1, 2 * noise._BLOCK, 2 * noise._BLOCK + 1])
def test_any_length_and_only_integers(count):
    drawn = noise.gaussian(count, 1e6)
    assert drawn.shape == (count,) and drawn.dtype == np.int64


def test_no_noise_is_zeros():
    assert not noise.gaussian(100, 0.0).any()


@pytest.mark.parametrize("deviation", [-1.0, -0.001, math.nan, math.inf, -math.inf, 2.0**60])
def test_a_standard_deviation_that_cannot_be_is_refused(deviation):
    with pytest.raises(ValueError):
        noise.gaussian(1, deviation)


def test_a_value_beyond_64_bits_is_never_wrapped(monkeypatch):
    """Once in 2^832 draws: 13 words of zeros make a radius of 34 standard deviations of 2^58."""
    Script(monkeypatch, [0] * 12 + [2**63], [0] * 13)
    with pytest.raises(OverflowError):
        noise.rounded(np.zeros(1, np.uint64), np.zeros(1, np.uint64), 2.0**58)
