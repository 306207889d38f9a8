"""The Gaussian mechanism on a sum of users' clipped updates, on an integer grid.

Its two halves run on the two sides of the wall: `contribution` beside each user's data, `release` in the
aggregator. What `release` returns is the only thing computed from users' data that anybody else ever sees.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedprobe.privacy import noise

# floor(S/g): the clip norm in units of the grid. A power of two, so that g = S / 2**30 is exact, squared norms
# stay below 2**61, and a sum over 2**32 users with its noise stays inside 64 bits.
CLIP_STEPS = 2**30
_INSIDE = 1 - 2.0**-40
# Far above where the grid's spacing would lose digits.
_LEAST_CLIP_NORM = 1e-200
# Two to this, and to minus this, are float64 with all of their digits.
_LARGEST_EXPONENT = 1000


@dataclass(frozen=True)
class Mechanism:
    """Clip to `clip_norm` (S), sum, add Gaussian noise of standard deviation `noise_multiplier` (z) times S.

    *Guarantee:* a user's contribution is at most S in L2 norm, and the noise is a real Gaussian's, rounded to the grid
    as the sum is: with users drawn by a `Participation`, each release is one event of its `event`, and rounding adds
    nothing to delta.
    *Assumes:* S and z come from public numbers, never from the data at hand.
    Source: Augenstein et al. 2020, Algorithms 1 and 2 (flat clipping, noise of z S on the sum).
    """

    # What a release of a vector takes of delta beside its noise; that of an open domain is partition_selection's.
    threshold_delta: ClassVar[float] = 0.0

    clip_norm: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        if not _LEAST_CLIP_NORM <= self.clip_norm < math.inf:
            raise ValueError(f"the clip norm must be a finite number of at least {_LEAST_CLIP_NORM:g}")
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier >= 0):
            raise ValueError("the noise multiplier must be finite and not negative")
        noise.require_within(self.noise_multiplier * CLIP_STEPS)

    @property
    def grid(self) -> float:
        """The spacing g of the public grid, in units of the update."""
        return self.clip_norm / CLIP_STEPS

    def sum_of(self, size: int, updates: Iterable[np.ndarray]) -> np.ndarray:
        """The sum (int64 [P], `size` is P) of the contributions of users' updates, one update a user.

        Raises ValueError for an update of another length.
        """
        total, steps = np.zeros(size, dtype=np.int64), np.empty(size, dtype=np.int64)
        for update in updates:
            total += self.contribution(update, out=steps)
        return total

    def contribution(self, update: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Clip one user's whole update [P] (any float type) and put it on the grid (int64 [P], `out` if it is given).

        The flat L2 norm is clipped in float64, every coordinate is rounded toward zero, and the integer norm is
        then checked exactly; an update that fails the check, or is not finite, becomes zeros.
        *Guarantee:* the L2 norm of the result is at most CLIP_STEPS grid steps, that is S.
        Raises ValueError for an `out` of another length, TypeError for one of another type.
        """
        values = np.asarray(update).reshape(-1)
        steps = np.empty(values.size, dtype=np.int64) if out is None else out
        if steps.shape != values.shape:
            raise ValueError("an update has another length than the sum")
        if steps.dtype != np.int64:
            raise TypeError("contributions are int64")
        factor = self._steps_per_unit(values)
        if factor == 0.0:
            steps[:] = 0
            return steps
        exact_squares = 0
        for block in _blocks(values.size):
            rounded = steps[block]
            scaled = values[block].astype(np.float64)
            scaled *= factor
            # To an integer toward zero.
            rounded[:] = scaled
            exact_squares += int(np.dot(rounded, rounded))
        if exact_squares > CLIP_STEPS**2:
            steps[:] = 0
        return steps

    def _steps_per_unit(self, values: np.ndarray) -> float:
        """By what an update is multiplied to be clipped and in grid steps; 0 where it is nothing, or not finite."""
        largest = float(max(values.max(), -values.min())) if values.size else 0.0
        if largest == 0.0 or not math.isfinite(largest):
            return 0.0
        # A power of two near 1 / largest: squares of huge or tiny updates neither overflow nor vanish.
        exponent = math.frexp(largest)[1]
        scale = 2.0 ** -min(max(exponent, -_LARGEST_EXPONENT), _LARGEST_EXPONENT)
        squares = 0.0
        for block in _blocks(values.size):
            scaled = values[block].astype(np.float64)
            scaled *= scale
            # Not a product of vectors: that is BLAS's, whose threads would decide the order of the sum.
            squares += float(np.square(scaled, out=scaled).sum())
        # A hair inside the ball, so that rounding errors of the norm do not fail the exact check.
        return min(CLIP_STEPS / math.sqrt(squares) * _INSIDE * scale, 1 / self.grid)

    def release(self, total: np.ndarray) -> np.ndarray:
        """Add noise to the sum over a round's users (int64 [P]) and return it in units of the update (float64 [P]).

        *Guarantee:* see the class. *Assumes:* called once a round, on a sum of `contribution`s; with
        `noise_multiplier` 0 nothing is protected, which only a simulation may ask for.
        """
        if total.dtype != np.int64:
            raise TypeError("the sum must be int64: contributions are added on the grid")
        if self.noise_multiplier > 0:
            noised = noise.gaussian(total.size, self.noise_multiplier * CLIP_STEPS)
            total = np.add(noised, total, out=noised)
        return total * self.grid


def _blocks(size: int, length: int = 32_768) -> Iterator[slice]:
    """Slices that cover `size` coordinates in pieces that stay in a core's cache."""
    return (slice(start, start + length) for start in range(0, size, length))
