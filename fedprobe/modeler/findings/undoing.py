"""What shows a cause of images: samples with it undone, or done."""

from collections.abc import Sequence

import numpy as np
import torch

from fedprobe.modeler.findings.image_causes import Cause
from fedprobe.modeler.findings.shown import MOST_IMAGES, Samples, ShownImages, shown_by_label


def shown_images(cause: Cause, says: str, samples: Samples, names: Sequence[str]) -> ShownImages:
    """The pairs of samples of one latent that `cause` brings nearest to each other, with it undone on B's.

    Where it cannot be undone, or B's samples do not show it, they stand beside A's with it done: those that it changes
    most, where none come nearer.
    """
    a, b = samples.paired
    done, nearer = _applied(cause.apply, a), np.zeros(0)
    if cause.undo is not None:
        undone = _applied(cause.undo, b)
        nearer = _distances(a, b) - _distances(a, undone)
    third = (f"{names[0]} {says}", done)
    if nearer.size and nearer.max() > 0:
        third = (f"{names[1]} with that undone", undone)
    else:
        nearer = _distances(a, b) - _distances(done, b)
    if nearer.max() <= 0:
        nearer = _distances(a, done)
    best = np.argsort(-nearer, kind="stable")[:MOST_IMAGES]
    rows = ((names[0], a), (names[1], b), third)
    return ShownImages([(name, images[best]) for name, images in rows], best.tolist())


def shown_labels(name: str, labels: Sequence[int], samples: Samples, names: Sequence[str]) -> ShownImages | None:
    """Samples of the `labels` that a finding of this `name` is about: of the side that has them, or of both."""
    if samples.of_label is None or not labels:
        return None
    sides = {"class-missing": (0,), "class-over-represented": (1,)}.get(name, (0, 1))
    return shown_by_label(samples.of_label, labels, names, sides)


def _applied(change, images: np.ndarray) -> np.ndarray:
    return change(torch.from_numpy(images)).clamp(0, 1).numpy()


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.linalg.norm((one - other).reshape(len(one), -1), axis=1)
