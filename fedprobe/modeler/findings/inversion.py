"""Inversion: one set looks like the other with black and white exchanged."""

import math

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import binomtest

from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.two_sample import two_sample_test

# Two generators of one kind of data differ a little, too: a finding needs more than that.
LEAST_STRENGTH = 0.1


def inversion(a: np.ndarray, b: np.ndarray, a_name: str, b_name: str) -> Finding | None:
    """Whether one set looks like the other with black and white exchanged; images [n, C, H, W] in [0, 1].

    Strength: the share of b's samples whose inverse lies nearer to a (in mean Euclidean distance) than they do, less
    the same share of a's own samples; Newcombe's 95% interval (1998, method 10) of that difference. Either set is held
    against the other, and the stronger direction counts. A finding is returned only where the whole interval lies
    above 0.1.
    """
    sides = ((a, b, a_name, b_name), (b, a, b_name, a_name))
    reference, struck, reference_name, struck_name = max(sides, key=lambda side: _strength(side[0], side[1])[0])
    strength, low, high = _strength(reference, struck)
    if low <= LEAST_STRENGTH:
        return None
    before, after = two_sample_test(reference, struck), two_sample_test(reference, 1 - struck)
    return Finding(
        "inversion",
        strength,
        low,
        high,
        f"{struck_name} looks like {reference_name} with black and white exchanged",
        f"told apart with accuracy {before.accuracy:.2f} as they are, "
        f"{after.accuracy:.2f} after inverting {struck_name}",
    )


def _strength(reference: np.ndarray, samples: np.ndarray) -> tuple[float, float, float]:
    """How much more often `samples` than `reference`'s own are nearer to `reference` after inversion; the interval."""
    flat_reference, flat = reference.reshape(len(reference), -1), samples.reshape(len(samples), -1)
    struck = _nearer_when_inverted(flat, flat_reference, same=False)
    baseline = _nearer_when_inverted(flat_reference, flat_reference, same=True)
    return _difference(struck, len(samples), baseline, len(reference))


def _nearer_when_inverted(samples: np.ndarray, reference: np.ndarray, same: bool) -> int:
    """How many `samples` are nearer to `reference` after inversion; `same`: a sample is no reference of its own."""
    others = len(reference) - (1 if same else 0)
    as_is = cdist(samples, reference).sum(axis=1) / others
    inverted = cdist(1 - samples, reference)
    inverted = (inverted.sum(axis=1) - (np.diagonal(inverted) if same else 0)) / others
    return int((inverted < as_is).sum())


def _difference(hits: int, count: int, base_hits: int, base_count: int) -> tuple[float, float, float]:
    """The difference of two proportions and its interval, from the Wilson intervals of both."""
    first = binomtest(hits, count).proportion_ci(method="wilson")
    second = binomtest(base_hits, base_count).proportion_ci(method="wilson")
    p, q = hits / count, base_hits / base_count
    low = p - q - math.hypot(p - first.low, second.high - q)
    high = p - q + math.hypot(first.high - p, q - second.low)
    return p - q, max(-1.0, low), min(1.0, high)
