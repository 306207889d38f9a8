"""How far apart two sets of samples lie in the space of a kernel, and whether chance alone would put them there.

Gretton, Borgwardt, Rasch, Schoelkopf, Smola 2012, "A Kernel Two-Sample Test": the squared maximum mean discrepancy.
"""

from dataclasses import dataclass

import numpy as np

PERMUTATIONS = 499
# Of the largest statistic there can be: differences below that are rounding, and count as ties.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Mmd:
    """The unbiased estimate of MMD^2 (it can fall below 0), and how often so large a one comes by chance."""

    squared: float
    p_value: float
    permutations: int

    def says(self) -> str:
        """The test for a person, as a part of a sentence."""
        return f"MMD² {self.squared:.4f}, p = {self.p_value:.3f} of {self.permutations} permutations"

    def to_json(self) -> dict:
        return {"squared": self.squared, "p_value": self.p_value, "permutations": self.permutations}


def mmd_test(a: np.ndarray, b: np.ndarray, permutations: int = PERMUTATIONS, seed: int = 0) -> Mmd:
    """The kernel two-sample test of samples `a` [n, ...] and `b` [m, ...], drawn independently of each other.

    A Gaussian kernel, as wide as the median distance of all samples of both. The p-value is (1 + those of
    `permutations` of the pooled samples that are as far apart) / (1 + permutations): the width does not change with a
    permutation, so that under the null hypothesis p <= t has a chance of at most t, for every t and any number of
    samples (Phipson and Smyth 2010). Permutations are drawn from `seed`. Raises ValueError for fewer than two a set.
    """
    n, m = len(a), len(b)
    if min(n, m) < 2:
        raise ValueError("a kernel two-sample test takes at least two samples a set")
    pooled = np.concatenate([a.reshape(n, -1), b.reshape(m, -1)]).astype(np.float64)
    kernel = _gaussian(pooled)
    stream, first = np.random.default_rng(seed), np.repeat([1.0, 0.0], [n, m])
    # The first column is what was observed: it is summed up as all others are.
    sides = np.stack([first, *(stream.permutation(first) for _ in range(permutations))], axis=1)
    within_a = np.einsum("ik,ik->k", sides, kernel @ sides)
    rows = kernel.sum(axis=1)
    across = rows @ sides - within_a
    within_b = rows.sum() - within_a - 2 * across
    squared = within_a / (n * (n - 1)) + within_b / (m * (m - 1)) - 2 * across / (n * m)
    as_far = int((squared[1:] >= squared[0] - _ROUNDING).sum())
    return Mmd(float(squared[0]), (1 + as_far) / (1 + permutations), permutations)


def _gaussian(pooled: np.ndarray) -> np.ndarray:
    """The kernel of each two of these samples [n + m, n + m], 0 for each with itself."""
    centred = pooled - pooled.mean(axis=0)
    lengths = np.square(centred).sum(axis=1)
    squares = np.maximum(lengths[:, None] + lengths - 2 * (centred @ centred.T), 0)
    each_two = squares[np.triu_indices(len(pooled), 1)]
    # Where most samples are copies of each other, the median says nothing.
    width = float(np.median(each_two)) or float(each_two.mean()) or 1.0
    kernel = np.exp(-squares / (2 * width))
    np.fill_diagonal(kernel, 0)
    return kernel
