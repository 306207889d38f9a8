"""The one function in fedprobe that draws noise: Gaussian, rounded to integers, with every rounding decided exactly.

What is released is an integer sum plus `gaussian`, which equals rounding (sum + y) for a real Gaussian y: a
post-processing of the Gaussian mechanism, so nothing has to be added to its delta. That holds only if the rounding is
of the *real* y. Gaussian noise taken from floating point as it comes has holes and repeats that tell sums apart
(Mironov 2012, "On Significance of the Least Significant Bits for Differential Privacy").

**The real y.** For independent uniform reals u and v in (0, 1), y = s R cos(2 pi v) and s R sin(2 pi v) with
R = sqrt(-2 ln u) are independent Gaussian reals of standard deviation s (Box and Muller 1958). Bits of u and v are
drawn as they are needed: 64 of each, u in [b, b + 1] 2^-64 and v in [c, c + 1] 2^-64, say where y lies. A half-integer
farther from that place than the error of computing it cannot be in between, and the integer is certain. Otherwise
64 bits more are drawn of both and all is computed with more digits, until it is: the strategy of Ziv 1991, "Fast
evaluation of elementary mathematical functions with correctly rounded last bit". Ties have probability 0.

**First with float64** (`in_float64`), where h = 2^-53 and a result below is off by at most:
1. U = b + 1/2, scaled, for u: by 2^-49 of u for the bits not drawn, as b >= 2^48, and 2 h of u for two roundings. So
   ln U is off by 2^-49 + 2 h, and L = -2 ln U by 2^-48 + 4 h = 1.13 x 2^-48.
2. R = sqrt(L): |sqrt(L) - sqrt(L')| <= |L - L'| / sqrt(L), so by 1.13 x 2^-48 / R for that, and for the functions
   log (16 h of L, which is 8 h of R) and sqrt (1 h) by 9 h R.
3. a = pi v, v taken in [-1/2, 1/2]: three roundings of at most pi/2, and the bits not drawn, 4.8 h. So cos 2a and
   sin 2a by 9.6 h.
4. t = tan a, by 16 h of t. As d/dt (1 - t^2)/(1 + t^2) = -4 t / (1 + t^2)^2 and d/dt 2t/(1 + t^2) = 2 (1 - t^2) /
   (1 + t^2)^2, that moves cos 2a = (1 - t^2)/(1 + t^2) by 16 h at most and sin 2a = 2t/(1 + t^2) by 8 h.
5. The products, quotients and sums of s R (1 - t^2)/(1 + t^2) and s R 2t/(1 + t^2): by 7 h s R.
Together 1.13 x 2^-48 s / R + (9 + 9.6 + 16 + 7) h s R, and terms of second order. The code takes
2^-47 s (1 / R + R), half as much again. b < 2^48, and R = 0, are never certain.

**Then with more digits** (`exact_pair`), w bits of u and v known and p = w + 64 digits (binary): u by 1/(2b) of itself
moves L by 1/b and R by 1/(b R), and v by 2^-w / 2 moves the angle by pi 2^-w; arithmetic adds less than 2^-40 of each.
The code takes 4 s (1 / (b R) + R 2^-w).

*Assumes:*
- ChaCha20 cannot be told from uniform bits (`fedprobe.privacy.randomness`).
- numpy's log and tan on float64 are within 8 units in the last place (16 h of the result at most); numpy's own limit
  for its vectorised functions is 4 (numpy pull request 19478). Other operations round as IEEE 754 says; where they
  underflow, y is next to 0, far from a half.
- mpmath's ln, cospi and sinpi, asked for p binary digits, are right in all but the last 8.
- The result fits 64 bits: the tail is not cut, and a standard deviation near the limit below would have to be
  exceeded 20 times, whose probability is below 1e-88. That is an OverflowError, which depends on the noise alone.
"""

import math

import mpmath
import numpy as np

from fedprobe.privacy.randomness import uniform_bits

# Pairs a block: the working set stays in a core's cache, which is what makes this fast.
_BLOCK = 8_192
# The error bound of the float64 path, in units of s (1 / R + R).
_FLOAT64_ERROR = 2.0**-47
_LEAST_FLOAT64_BITS = np.uint64(2**48)


def gaussian(count: int, standard_deviation: float) -> np.ndarray:
    """Draw `count` independent Gaussian values of mean 0, rounded to integers (int64).

    `standard_deviation` (s) is in units of the grid on which the sum lies.
    *Guarantee:* each value is a Gaussian real number of that very standard deviation, rounded to the nearest integer;
    there is no distance to it that delta would have to carry. *Assumes:* what the module's docstring lists.
    The time depends on the noise alone. A share of about 2^-43.7 s + 2^-16 of the pairs needs more than float64: 300
    of 3.3 million where s is 2^30. Near s = 2^40 that is slow.
    Raises ValueError for a standard deviation that is negative, not finite or 2^62 / 10 and more.
    """
    require_within(standard_deviation)
    drawn = np.empty(count, dtype=np.int64)
    for start in range(0, count, 2 * _BLOCK):
        here = min(2 * _BLOCK, count - start)
        bits = uniform_bits(2 * ((here + 1) // 2)).reshape(2, -1)
        drawn[start : start + here] = rounded(bits[0], bits[1], standard_deviation).reshape(-1)[:here]
    return drawn


def require_within(standard_deviation: float) -> None:
    """Raise ValueError for a standard deviation that `gaussian` cannot draw: before a plan with it is charged."""
    if not (np.isfinite(standard_deviation) and standard_deviation >= 0):
        raise ValueError("the noise's standard deviation must be finite and not negative")
    if standard_deviation * 10 >= 2.0**62:
        raise ValueError("the noise would overflow 64-bit integers; use a coarser grid or less noise")


def rounded(u_bits: np.ndarray, v_bits: np.ndarray, standard_deviation: float) -> np.ndarray:
    """Round the pairs of Gaussian values that begin with these bits of u and v (uint64 [P] each) to int64 [2, P].

    Further bits of u and v are drawn where these do not decide.
    """
    values, error = in_float64(u_bits, v_bits, standard_deviation)
    nearest = np.rint(values)
    integers = nearest.astype(np.int64)
    # The first difference is exact; of the second, no float64 lies between 0.5 - error and what it is rounded to.
    np.abs(np.subtract(values, nearest, out=values), out=values)
    certain = np.maximum(values[0], values[1], out=values[0]) < np.subtract(0.5, error, out=error)
    # A pair shares u and v, so its two values are decided by the same further bits.
    for pair in np.flatnonzero(~certain):
        integers[:, pair] = exact_pair(int(u_bits[pair]), int(v_bits[pair]), standard_deviation)
    return integers


def in_float64(u_bits: np.ndarray, v_bits: np.ndarray, standard_deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs' values (float64 [2, P]) and a bound on the error of both (float64 [P]).

    *Guarantee:* whatever the bits of u and v that follow, neither real value is farther off than the bound.
    """
    radius = u_bits.astype(np.float64)
    radius += 0.5
    radius *= 2.0**-64
    np.log(radius, out=radius)
    radius *= -2.0
    # ln 1 gives -0 here, whose inverse would be no bound.
    np.abs(radius, out=radius)
    np.sqrt(radius, out=radius)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = 1.0 / radius
        error += radius
        error *= standard_deviation * _FLOAT64_ERROR
    error[u_bits < _LEAST_FLOAT64_BITS] = np.inf
    radius *= standard_deviation
    # As signed integers, which moves v by a whole turn at most and halves the error of the angle.
    tangent = v_bits.view(np.int64).astype(np.float64)
    tangent *= np.pi * 2.0**-64
    # One tangent of half the angle: far faster than a cosine and a sine.
    np.tan(tangent, out=tangent)
    square = np.square(tangent)
    values = np.empty((2, len(radius)))
    np.add(square, 1.0, out=values[0])
    radius /= values[0]
    np.multiply(np.subtract(1.0, square, out=square), radius, out=values[0])
    tangent *= 2.0
    np.multiply(tangent, radius, out=values[1])
    return values, error


def exact_pair(b: int, c: int, standard_deviation: float) -> tuple[int, int]:
    """Round the pair of Gaussian values whose u and v begin with the 64 bits of `b` and of `c`, for certain.

    In integers, scaled by powers of two, but for mpmath's logarithm, cosine and sine. Ends with probability 1.
    """
    numerator, denominator = float(standard_deviation).as_integer_ratio()
    known = 64
    while True:
        if b > 0:
            digits = known + 64
            u = mpmath.ldexp(mpmath.mpf(2 * b + 1, prec=digits), -known - 1)
            turn = mpmath.ldexp(mpmath.mpf(2 * c + 1, prec=digits), -known)
            minus_log = -int(mpmath.ldexp(mpmath.ln(u, prec=digits), digits))
            radius = math.isqrt(minus_log << (digits + 1))
            parts = (mpmath.cospi(turn, prec=digits), mpmath.sinpi(turn, prec=digits))
            # From here on in units of 1 / unit.
            unit = denominator << (2 * digits)
            error = 4 * numerator * ((1 << (3 * digits)) // (b * radius) + (radius << 64) + 1)
            values = [numerator * radius * int(mpmath.ldexp(part, digits)) for part in parts]
            low, high = ([(2 * (y + side) + unit) // (2 * unit) for y in values] for side in (-error, error))
            if low == high:
                return low[0], low[1]
        more = uniform_bits(2)
        b, c, known = b << 64 | int(more[0]), c << 64 | int(more[1]), known + 64
