"""Rehearsing a bug: copies of shards in which some users' data went wrong in a known way.

The truth, which users were struck, is kept beside the copies and never inside them.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from fedprobe.clients.data.index import DataError, ShardIndex, open_file
from fedprobe.clients.data.shards import SUFFIXES, FederatedDataset
from fedprobe.clients.data.writing import new_shard, require_new
from fedprobe.errors import RequestError
from fedprobe.privacy import population as populations
from fedprobe.privacy.population import Population
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
    Returns the files written and the number of users struck. Raises RequestError if a file is there
    already or the shards are not registered, DataError if a shard is damaged.
    """
    if not 0 <= share <= 1:
        raise RequestError("--users is a share: between 0 and 1")
    if dataset.population is None:
        raise RequestError("these shards are not registered, so there is no place for the truth: run fedprobe init")
    targets = _targets(dataset, out)
    for target in targets:
        require_new(target)
    users = dataset.users
    ranked = sorted(range(len(users)), key=lambda user: key(seed, bug, users[user]))
    struck = {users[user] for user in ranked[: round(share * len(users))]}
    # The truth and the record first: a copy is never there without them. All copies appear, or none does.
    populations.carry(dataset.population, targets)
    if record is not None:
        populations.carry(dataset.population, targets, record)
    with ExitStack() as copies:
        for shard, target in zip(dataset.shards, targets, strict=True):
            truth = {"bug": bug, "share": share, "users": sorted(struck.intersection(shard.users))}
            write_truth(dataset.population, target, truth)
            copy = copies.enter_context(new_shard(target))
            _copy(shard, copy, struck, BUGS[bug])
    return targets, len(struck)


def write_truth(population: Population, shard: Path, truth: dict) -> None:
    """Keep beside `shard` what a rehearsed bug did to it."""
    file = truth_of(population, shard)
    file.parent.mkdir(parents=True, exist_ok=True)
    populations.write_json(file, truth)


def truth_of(population: Population, shard: Path) -> Path:
    """Where the truth about a rehearsed bug in `shard` lies: beside it, whatever other folder holds its record."""
    return populations.folder_of(population, shard) / "truth" / f"{shard.name}.json"


def _copy(shard: ShardIndex, copy: h5py.File, struck: set[str], change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Copy a whole shard, attributes and all, and change the pixels of the users in `struck`."""
    with open_file(shard.path) as source:
        try:
            for name, value in source.attrs.items():
                copy.attrs[name] = value
            source.copy("examples", copy)
            for user in struck.intersection(shard.users):
                pixels = copy["examples"][user]["pixels"]
                pixels[...] = change(pixels[...])
        except (OSError, RuntimeError, KeyError):
            raise DataError(f"{shard.path.name} is damaged: some of its data cannot be copied") from None


def _targets(dataset: FederatedDataset, out: Path) -> list[Path]:
    if out.suffix in SUFFIXES:
        if len(dataset.shards) > 1:
            raise RequestError("several shards go to a folder: give OUT without a file suffix")
        return [out]
    targets = [out / path.name for path in dataset.paths]
    if len(set(targets)) < len(targets):
        raise DataError("several shards have one file name, so their copies would overwrite each other; rename them")
    return targets
