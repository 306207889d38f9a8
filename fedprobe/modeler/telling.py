"""The samples that tell two sets apart: which are typical of their own side, and where both lie on a map."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier

TELLING = 8
_FOLDS = 5


@dataclass(frozen=True)
class TellingSide:
    """One side's most telling samples, the most telling one first.

    `samples` [k, C, H, W]; `chances` [k], how sure a classifier that never saw them is that they are of this side;
    `counterparts` [k, C, H, W], the nearest sample of the other side to each, in Euclidean distance.
    """

    samples: np.ndarray
    chances: np.ndarray
    counterparts: np.ndarray


@dataclass(frozen=True)
class Telling:
    """Both sides' most telling samples, and a map of all samples: [n, 2] a side, with one scale for both."""

    a: TellingSide
    b: TellingSide
    map_a: np.ndarray
    map_b: np.ndarray


def telling(a: np.ndarray, b: np.ndarray, count: int = TELLING, seed: int = 0) -> Telling:
    """What tells images `a` and `b` [n, C, H, W] apart, `count` samples a side.

    The map is onto the two directions in which both sets together vary most (principal components). It shows that sets
    lie apart only where that is a large part of how they vary. Raises ValueError as `own_side_chances` does.
    """
    chances = own_side_chances(a, b, seed)
    flat = [images.reshape(len(images), -1).astype(np.float64) for images in (a, b)]
    distances = cdist(*flat)
    sides = []
    for own, other, sure, nearest in (
        (a, b, chances[0], distances.argmin(axis=1)),
        (b, a, chances[1], distances.argmin(axis=0)),
    ):
        best = np.argsort(-sure, kind="stable")[:count]
        sides.append(TellingSide(own[best], sure[best], other[nearest[best]]))
    places = PCA(2, svd_solver="full").fit_transform(np.concatenate(flat))
    return Telling(*sides, places[: len(a)], places[len(a) :])


def own_side_chances(a: np.ndarray, b: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """How likely each sample of `a` and `b` [n, ...] is of its own side, by trees that never saw it: [n] and [n].

    Of five folds each is judged by trees that learnt from the other four. The n-th of both sets are in one fold, so
    that of two sets that are the same no sample is judged by its copy: its two chances add up to 1. Folds and trees are
    drawn from `seed`. Raises ValueError for sets of different size, or of fewer than 20.
    """
    if len(a) != len(b) or len(a) < 20:
        raise ValueError("what tells two sets apart takes sets of one size, at least 20 each")
    flat = np.stack([a.reshape(len(a), -1), b.reshape(len(b), -1)])
    sure = np.empty((2, len(a)))
    for held_out in np.array_split(np.random.default_rng(seed).permutation(len(a)), _FOLDS):
        learnt = np.setdiff1d(np.arange(len(a)), held_out)
        trees = ExtraTreesClassifier(n_estimators=100, min_samples_leaf=2, random_state=seed)
        trees.fit(np.concatenate(flat[:, learnt]), np.repeat([0, 1], len(learnt)))
        for side in (0, 1):
            sure[side, held_out] = trees.predict_proba(flat[side, held_out])[:, side]
    return sure[0], sure[1]
