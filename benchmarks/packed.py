"""Seconds and memory to open a packed shard of many users, and users read a second in random order.

    python -m benchmarks.packed [--users 2000000]

Synthetic: five images of 8 x 8 a user, none of them stored, so that what is read is the overhead and not unpacking.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from fedprobe.clients.data.shards import open_dataset

EXAMPLES = 5
READ = 5_000


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


def peak_mb() -> float:
    """The most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=2_000_000)
    parser.add_argument("path", nargs="?", type=Path, help="The shard; written where it is not there.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.path or Path(folder) / "packed.h5"
        if not path.exists():
            write_packed(path, arguments.users)
        started = time.perf_counter()
        dataset = open_dataset([path])
        opened = time.perf_counter() - started
        peak = peak_mb()
        users = np.random.default_rng(0).choice(len(dataset), min(READ, len(dataset)), replace=False)
        started = time.perf_counter()
        for user in users.tolist():
            dataset.read([user])
        rate = len(users) / (time.perf_counter() - started)
    print(f"{len(dataset):,} users: opened in {opened:.2f} s, peak {peak:.0f} MB; {rate:,.0f} users/s read")


if __name__ == "__main__":
    main()
