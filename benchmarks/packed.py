"""Seconds and memory to open a packed shard of many users, and users read a second, packed and with a group a user.

    python -m benchmarks.packed [--users 2000000] [--read 5000]

Synthetic. Opened: five images of 8 x 8 a user, none of them stored. Read: five images of 28 x 28 a user, a few strokes'
worth of bright pixels each, one user at a time in random order and all in order; turns are taken, and the ratio is
what to quote.
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from fedprobe.clients.data.packing import pack
from fedprobe.clients.data.shards import FederatedDataset, open_dataset

EXAMPLES = 5
TURNS = 5


def write_packed(path: Path, users: int) -> None:
    """A packed shard of `users`, written without the shards that `fedprobe data pack` would make it of."""
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("packed")
        group["users"] = np.char.add("user_", np.char.zfill(np.arange(users).astype(str), 9)).astype("S")
        group["offsets"] = np.arange(users + 1, dtype=np.int64) * EXAMPLES
        group["attributes"] = np.zeros(0, np.uint8)
        group["attribute_offsets"] = np.zeros(users + 1, np.int64)
        shape = (users * EXAMPLES, 8, 8)
        group.create_dataset("pixels", shape, np.uint8, chunks=(1024, 8, 8), compression="gzip", compression_opts=1)


def write_groups(path: Path, users: int) -> None:
    """A shard in TFF's layout: one pixel in six is bright, as of pen strokes."""
    stream = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for user in range(users):
            pixels = stream.integers(1, 256, (EXAMPLES, 28, 28)) * (stream.random((EXAMPLES, 28, 28)) < 1 / 6)
            file[f"examples/user_{user:09d}/pixels"] = pixels.astype(np.uint8)


def peak_mb() -> float:
    """The most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_by_one(dataset: FederatedDataset) -> None:
    """Read every user on her own, in random order."""
    for user in np.random.default_rng(0).permutation(len(dataset)).tolist():
        dataset.read([user])


def in_order(dataset: FederatedDataset) -> None:
    """Read everybody, neighbours together."""
    for _ in dataset.batches():
        pass


def compare(how: Callable[[FederatedDataset], None], groups: Path, packed: Path) -> str:
    """Users a second of both layouts, newly opened each turn, and how many times faster packed ones are."""
    seconds: dict[Path, list[float]] = {groups: [], packed: []}
    for _ in range(TURNS):
        for path, taken in seconds.items():
            dataset = open_dataset([path])
            started = time.perf_counter()
            how(dataset)
            taken.append(time.perf_counter() - started)
    rates = [len(dataset) / statistics.median(taken) for taken in seconds.values()]
    ratios = sorted(ours / theirs for theirs, ours in zip(seconds[packed], seconds[groups], strict=True))
    return (
        f"{rates[0]:,.0f} users/s with a group a user, {rates[1]:,.0f} packed: "
        f"{statistics.median(ratios):.1f} times ({ratios[0]:.1f} to {ratios[-1]:.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=2_000_000)
    parser.add_argument("--read", type=int, default=5_000, help="Users that are read.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.h5"
        # In a process of its own: what writing takes is not part of the peak.
        writing = multiprocessing.get_context("fork").Process(target=write_packed, args=(path, arguments.users))
        writing.start()
        writing.join()
        started = time.perf_counter()
        dataset = open_dataset([path])
        opened = time.perf_counter() - started
        print(f"{len(dataset):,} users: opened in {opened:.2f} s, peak {peak_mb():.0f} MB")
        groups, packed = Path(folder) / "groups.h5", Path(folder) / "packed.h5"
        write_groups(groups, arguments.read)
        pack(open_dataset([groups]), packed)
        print(f"one by one, in random order: {compare(one_by_one, groups, packed)}")
        print(f"all of them, in order: {compare(in_order, groups, packed)}")
        sizes = [path.stat().st_size for path in (groups, packed)]
        print(f"{sizes[0] / 1e6:.1f} MB with a group a user, {sizes[1] / 1e6:.1f} MB packed")


if __name__ == "__main__":
    main()
