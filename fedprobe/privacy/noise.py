"""The one function in fedprobe that draws noise."""

import numpy as np

from fedprobe.privacy.randomness import uniform_bits

# Pairs a block: the working set stays in a core's cache, which is what makes this fast.
_BLOCK = 16_384


def gaussian(count: int, standard_deviation: float) -> np.ndarray:
    """Draw `count` independent Gaussian values of mean 0, rounded to integers (int64).

    `standard_deviation` is in units of the grid on which the sum lies; adding a rounded Gaussian to an integer
    equals rounding the sum of both, so rounding is post-processing of the Gaussian mechanism.

    Method: Box and Muller 1958, from 64-bit uniforms in float64. The largest magnitude that can come out is
    sqrt(2 * 64 * ln 2) = 9.4 standard deviations, which a Gaussian exceeds with probability 5e-21. That bounds the
    tail only: float64 arithmetic leaves the body discrete far below one grid step's share of it, and no bound on the
    whole distance is part of delta yet.
    *Assumes:* `standard_deviation` times 9.4 is far below 2**63.
    Raises ValueError for a negative or non-finite standard deviation.
    """
    if not (np.isfinite(standard_deviation) and standard_deviation >= 0):
        raise ValueError("the noise's standard deviation must be finite and not negative")
    if standard_deviation * 10 >= 2.0**62:
        raise ValueError("the noise would overflow 64-bit integers; use a coarser grid or less noise")
    drawn = np.empty(count, dtype=np.int64)
    for start in range(0, count, 2 * _BLOCK):
        here = min(2 * _BLOCK, count - start)
        pairs = (here + 1) // 2
        bits = uniform_bits(2 * pairs)
        # (bits + 1) / 2**64 lies in (0, 1]: the logarithm is finite.
        radius = bits[:pairs].astype(np.float64)
        radius += 1.0
        radius *= 2.0**-64
        np.log(radius, out=radius)
        radius *= -2.0
        np.sqrt(radius, out=radius)
        radius *= standard_deviation
        angle = bits[pairs:].astype(np.float64)
        angle *= 2.0 * np.pi * 2.0**-64
        values = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:here]
        drawn[start : start + here] = np.rint(values, out=values)
    return drawn
