"""Medians of ratios and their bootstrap intervals."""

from collections.abc import Sequence

import numpy as np


def median_ratio(ours: Sequence[float], theirs: Sequence[float], draws: int = 10_000) -> tuple[float, float, float]:
    """The median of `ours` / `theirs` over pairs of neighbouring rounds, and a 95% bootstrap interval of it."""
    ratios = np.asarray(ours) / np.asarray(theirs)
    chosen = np.random.default_rng(0).integers(0, len(ratios), (draws, len(ratios)))
    low, high = np.quantile(np.median(ratios[chosen], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)
