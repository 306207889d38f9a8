"""One Gaussian histogram of users over public bins, and what follows from it at no further cost.

Counts, percentiles and the figure of user accuracies (paper, Tables 10 to 12 and Figure 5) are functions of the
noised counts alone: post-processing.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from fedprobe.privacy import noise
from fedprobe.privacy.events import SampledGaussian

# One user in units of the grid on which counts are noised.
USER_STEPS = 2**20
# The authors' histogram of accuracies has bins of 1%.
_HUNDREDTHS = 100
_NORMAL_95 = 1.959963984540054
_PERCENTILE = re.compile(r"p(\d{1,2}(\.\d+)?)")


@dataclass(frozen=True)
class Estimate:
    """An estimated number of users or share of them, with its standard error (0 where it is exact)."""

    value: float
    standard_error: float

    @property
    def margin(self) -> float:
        """The half-width of its 95% interval."""
        return _NORMAL_95 * self.standard_error


@dataclass(frozen=True)
class GaussianHistogram:
    """A histogram of users, each in at most one bin, with Gaussian noise of standard deviation z on every count.

    `edges` [bins + 1] ascend. Bin i holds values from `edges[i]` up to but without `edges[i + 1]`; if `right_closed`,
    those above `edges[i]` up to and with `edges[i + 1]`. `noise_multiplier` is z; 0 makes it exact (simulations).
    *Guarantee:* `release` is one Gaussian event of noise multiplier z, without sampling, because adding or removing
    one user changes one count by 1.
    *Assumes:* edges and z are public numbers, or come from earlier releases.
    """

    edges: tuple[float, ...]
    noise_multiplier: float
    right_closed: bool = False

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or not np.isfinite(self.edges).all() or not (np.diff(self.edges) > 0).all():
            raise ValueError("the edges of a histogram's bins must be finite and ascend")
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier >= 0):
            raise ValueError("the noise multiplier must be finite and not negative")
        noise.require_within(self.noise_multiplier * USER_STEPS)

    def event(self) -> SampledGaussian:
        """What releasing it costs."""
        return SampledGaussian(self.noise_multiplier, 1.0, 1)

    def count(self, values: np.ndarray) -> np.ndarray:
        """How many of `values` [users], one a user, lie in each bin (int64 [bins]); NaN and what is outside in none."""
        places = np.digitize(values, self.edges, right=self.right_closed)
        inside = (places > 0) & (places < len(self.edges)) & np.isfinite(values)
        return np.bincount(places[inside] - 1, minlength=len(self.edges) - 1).astype(np.int64)

    def release(self, counts: np.ndarray) -> "ReleasedHistogram":
        """Noise `counts` (int64 [bins], one bin a user) on the grid.

        *Guarantee:* see the class. *Assumes:* called once for an event that was reserved.
        """
        if counts.dtype != np.int64 or counts.shape != (len(self.edges) - 1,):
            raise TypeError("counts must be int64, one a bin")
        total = counts * USER_STEPS
        if self.noise_multiplier > 0:
            total = total + noise.gaussian(total.size, self.noise_multiplier * USER_STEPS)
        return ReleasedHistogram(
            self.edges, tuple((total / USER_STEPS).tolist()), self.noise_multiplier, self.right_closed
        )


@dataclass(frozen=True)
class ReleasedHistogram:
    """A histogram as it was released: `counts` [bins], each with a standard error of `noise_multiplier` users.

    Bins are as in `GaussianHistogram`. Counts are not rounded, and may be negative.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]
    noise_multiplier: float
    right_closed: bool = False

    @property
    def exact(self) -> bool:
        """Whether there is no noise: a simulation's."""
        return self.noise_multiplier == 0

    @property
    def users(self) -> Estimate:
        """How many users there are in all."""
        return self._sum(0, len(self.counts))

    def below(self, edge: float) -> Estimate:
        """How many users lie below `edge`, those at it included if `right_closed`. ValueError if it is no edge."""
        return self._sum(0, self._place(edge))

    def above(self, edge: float) -> Estimate:
        """How many users lie above `edge`, those at it included unless `right_closed`. ValueError if it is no edge."""
        return self._sum(self._place(edge), len(self.counts))

    def between(self, low: float, high: float) -> Estimate:
        """How many users lie in the bins from `low` to `high`; 0 and 1 take what is beyond them, too.

        Raises ValueError if they are no edges.
        """
        start = 0 if low == 0 else self._place(low)
        stop = len(self.counts) if high == 1 else self._place(high)
        return self._sum(start, stop)

    def share_below(self, edge: float) -> Estimate:
        """The share of the users that `below` counts, between 0 and 1.

        Its standard error is that of a ratio of two noised sums to first order, so it wants a total far above its own.
        """
        below, above, total = self.below(edge), self.above(edge), max(1.0, self.users.value)
        share = min(1.0, max(0.0, below.value / total))
        error = math.hypot((1 - share) * below.standard_error, share * above.standard_error) / total
        return Estimate(share, error)

    def percentile(self, share: float) -> float:
        """The value in [0, 1] below which `share` of the users lie.

        Read off the cumulative counts, made monotone by isotonic regression and clipped to [0, total], and linear
        within a bin.
        """
        return float(np.interp(share, self._cumulative_shares(), np.clip(self.edges, 0, 1)))

    def percentile_interval(self, share: float) -> tuple[float, float]:
        """A 95% interval of `percentile`, by the standard error of the share at the edge nearest to it."""
        margin = self.share_below(self.threshold(share)).margin
        return self.percentile(max(0.0, share - margin)), self.percentile(min(1.0, share + margin))

    def threshold(self, share: float) -> float:
        """The edge strictly between 0 and 1 at which the share of users below is nearest to `share`.

        An edge, so that the users on either side of it are counted by whole bins. Of equally near edges it is the
        middle one. Monotone as in `percentile`.
        """
        edges = np.array(self.edges)
        distance = np.abs(self._cumulative_shares() - share)
        distance[(edges <= 0) | (edges >= 1)] = np.inf
        (nearest,) = np.nonzero(np.isclose(distance, distance.min(), rtol=0, atol=1e-12))
        return self.edges[nearest[(len(nearest) - 1) // 2]]

    def to_json(self) -> dict:
        """`edges`, `counts`, which side of a bin belongs to it, and whether the counts are exact or noised."""
        counts = [round(count) if self.exact else round(count, 3) for count in self.counts]
        return {
            "edges": list(self.edges),
            "counts": counts,
            "closed": "right" if self.right_closed else "left",
            "is": "exact-simulation" if self.exact else "dp",
            "standard_error": self.noise_multiplier,
        }

    def _place(self, edge: float) -> int:
        if edge not in self.edges:
            raise ValueError("users are counted at an edge of the histogram's bins only")
        return self.edges.index(edge)

    def _sum(self, start: int, stop: int) -> Estimate:
        return Estimate(math.fsum(self.counts[start:stop]), self.noise_multiplier * math.sqrt(stop - start))

    def _cumulative_shares(self) -> np.ndarray:
        """The share of users below each edge [bins + 1]: monotone, between 0 and 1."""
        cumulative = np.concatenate([[0.0], np.cumsum(self.counts)])
        return np.clip(isotonic_regression(cumulative).x / max(1.0, cumulative[-1]), 0, 1)


def at_least_one(users: Estimate) -> int:
    """A number of users to plan with."""
    return max(1, round(users.value))


def accuracy_histogram_of(
    noise_multiplier: float, threshold: float | None = None, right_closed: bool = False
) -> GaussianHistogram:
    """A histogram of users' accuracies in bins of 0.01, and with an edge at `threshold`.

    The accuracy on the open side of the last bin (1.0, or 0.0 if `right_closed`) has a bin of its own. So users
    strictly below any edge, or strictly above it if `right_closed`, are whole bins.
    """
    hundredths = np.arange(_HUNDREDTHS + 1) / _HUNDREDTHS
    beyond = -1 / _HUNDREDTHS if right_closed else 1 + 1 / _HUNDREDTHS
    edges = np.union1d(hundredths, [beyond] if threshold is None else [beyond, threshold])
    return GaussianHistogram(tuple(edges.tolist()), noise_multiplier, right_closed)


def membership_histogram_of(noise_multiplier: float) -> GaussianHistogram:
    """Two bins: users outside a cohort (0) and in it (1)."""
    return GaussianHistogram((0.0, 1.0, 2.0), noise_multiplier)


def percentile_of(text: str) -> float | None:
    """The share that a percentile such as `p25` names; None if `text` is not one strictly between p0 and p100."""
    found = _PERCENTILE.fullmatch(text)
    share = float(found[1]) / 100 if found else 0.0
    return share or None
