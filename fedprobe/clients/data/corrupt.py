"""Rehearsing a bug: copies of shards in which some users' data went wrong in a known way.

The truth, which users were struck, is kept beside the copies and never inside them.
"""

from pathlib import Path

import h5py
import numpy as np

from fedprobe.clients.data.shards import SUFFIXES, DataError, FederatedDataset
from fedprobe.clients.data.writing import new_shard
from fedprobe.privacy import population as populations
from fedprobe.privacy.randomness import key


def invert_pixels(pixels: np.ndarray) -> np.ndarray:
    """Exchange black and white: 1 - x, or 255 - x for uint8."""
    return 255 - pixels if pixels.dtype == np.uint8 else (1 - pixels).astype(pixels.dtype)


BUGS = {"invert-pixels": invert_pixels}


def corrupt(
    dataset: FederatedDataset, out: Path, bug: str, share: float, seed: int, record: Path | None = None
) -> tuple[list[Path], int]:
    """Copy `dataset`'s shards to `out`, with `bug` in all data of a random `share` of the users.

    Exactly round(share * users) users are struck, the same ones for the same `seed`. `out` is a file if there is one
    shard and it has a shard's suffix, else a folder. The record of the population is carried over.
    Returns the files written and the number of users struck. Raises DataError if a file is there already.
    """
    if not 0 <= share <= 1:
        raise ValueError("--users is a share: between 0 and 1")
    targets = _targets(dataset, out)
    for target in targets:
        if target.exists():
            raise DataError(f"{target} exists; choose another name")
    users = dataset.users
    ranked = sorted(range(len(users)), key=lambda user: key(seed, bug, users[user]))
    struck = {users[user] for user in ranked[: round(share * len(users))]}
    for shard, target in zip(dataset.shards, targets, strict=True):
        with h5py.File(shard.path, "r") as source, new_shard(target) as copy:
            source.copy("examples", copy)
            for user in struck.intersection(shard.users):
                pixels = copy["examples"][user]["pixels"]
                pixels[...] = BUGS[bug](pixels[...])
    if dataset.population is not None:
        populations.carry(dataset.population, targets, record)
        folder = populations.folder_of(dataset.population, targets[0], record) / "truth"
        folder.mkdir(parents=True, exist_ok=True)
        for shard, target in zip(dataset.shards, targets, strict=True):
            truth = {"bug": bug, "share": share, "users": sorted(struck.intersection(shard.users))}
            populations.write_json(folder / f"{target.name}.json", truth)
    return targets, len(struck)


def _targets(dataset: FederatedDataset, out: Path) -> list[Path]:
    if out.suffix in SUFFIXES:
        if len(dataset.shards) > 1:
            raise DataError("several shards go to a folder: give OUT without a file suffix")
        return [out]
    return [out / path.name for path in dataset.paths]
