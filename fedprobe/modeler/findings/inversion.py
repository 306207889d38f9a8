"""Inversion: one set looks like the other with black and white exchanged."""

import numpy as np
from scipy.spatial.distance import cdist

from fedprobe.modeler.findings.finding import Finding, difference_of_shares
from fedprobe.modeler.findings.shown import MOST_IMAGES, ShownImages
from fedprobe.modeler.two_sample import two_sample_test

# Two generators of one kind of data differ a little, too: a finding needs more than that.
LEAST_STRENGTH = 0.1
# A grey background is its own inverse: which of the two lies nearer must not be decided by a hair.
CLEARLY = 0.75
# By how much inverting must lower the accuracy, or the sets differ in something else as well.
_LEAST_FALL = 0.1


def inversion(
    a: np.ndarray,
    b: np.ndarray,
    a_name: str,
    b_name: str,
    paired: tuple[np.ndarray, np.ndarray] | None = None,
) -> Finding | None:
    """Whether one set looks like the other with black and white exchanged; images [n, C, H, W] in [0, 1].

    Strength: the share of b's samples whose inverse lies nearer to a (in mean Euclidean distance) than they do, less
    the same share of a's own samples; Newcombe's 95% interval (1998, method 10) of that difference. Either set is held
    against the other; a is the one that was struck where its whole interval lies above b's strength: of a set that is
    all dark and one that is all light nobody can tell. A finding is returned only where the whole interval lies above
    0.1, and the inverses in question lie nearer by a quarter of the distance (in the median). `paired`, samples of both
    that the tests are not made of, show it.
    """
    sides = ((a, b, a_name, b_name), (b, a, b_name, a_name))
    strengths = [_strength(reference, samples) for reference, samples, _, _ in sides]
    stronger = int(strengths[1][0][1] > strengths[0][0][0])
    reference, struck, reference_name, struck_name = sides[stronger]
    (strength, low, high), ratio, nearer = strengths[stronger]
    if low <= LEAST_STRENGTH or ratio > CLEARLY:
        return None
    inverted = np.where(nearer[:, None, None, None], 1 - struck, struck)
    before, after = two_sample_test(reference, struck), two_sample_test(reference, inverted)
    then = f"{after.accuracy:.2f} with those inverted"
    if after.accuracy > before.accuracy - _LEAST_FALL:
        then += ": something else differs, too"
    return Finding(
        "inversion",
        strength,
        low,
        high,
        f"{struck_name} looks like {reference_name} with black and white exchanged",
        f"{nearer.mean():.0%} of {struck_name}'s samples lie nearer to {reference_name} after inverting them; "
        f"told apart with accuracy {before.accuracy:.2f} as they are (0.5 is chance), {then}",
        None if paired is None else _shown(reference, paired[1 - stronger], reference_name, struck_name),
    )


def _shown(reference: np.ndarray, samples: np.ndarray, reference_name: str, name: str) -> ShownImages:
    """The samples that inverting brings nearest, inverted, and those of `reference` that lie nearest to that."""
    flat_reference, flat = reference.reshape(len(reference), -1), samples.reshape(len(samples), -1)
    best = np.argsort(_distance_ratios(flat, flat_reference, same=False), kind="stable")[:MOST_IMAGES]
    nearest = cdist(1 - flat[best], flat_reference).argmin(axis=1)
    rows = [(name, samples[best]), (f"{name} with that undone", 1 - samples[best])]
    return ShownImages([*rows, (f"the nearest of {reference_name}", reference[nearest])], best.tolist())


def _strength(reference: np.ndarray, samples: np.ndarray) -> tuple[tuple[float, float, float], float, np.ndarray]:
    """How much more often `samples` than `reference`'s own are nearer to `reference` after inversion.

    The difference of the shares with its interval, the median ratio of distances of the samples that are nearer, and
    which ones are: [n] of bool.
    """
    flat_reference, flat = reference.reshape(len(reference), -1), samples.reshape(len(samples), -1)
    ratios = _distance_ratios(flat, flat_reference, same=False)
    own = _distance_ratios(flat_reference, flat_reference, same=True)
    nearer = ratios < 1
    difference = difference_of_shares(int(nearer.sum()), len(ratios), int((own < 1).sum()), len(own))
    return difference, float(np.median(ratios[nearer])) if nearer.any() else 1.0, nearer


def _distance_ratios(samples: np.ndarray, reference: np.ndarray, same: bool) -> np.ndarray:
    """Mean distances to `reference` after inversion over those before; `same`: no sample is its own reference."""
    others = len(reference) - (1 if same else 0)
    as_is = cdist(samples, reference).sum(axis=1) / others
    inverted = cdist(1 - samples, reference)
    inverted = (inverted.sum(axis=1) - (np.diagonal(inverted) if same else 0)) / others
    return inverted / np.maximum(as_is, 1e-12)
