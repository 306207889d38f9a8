"""Writing federated shards in TensorFlow Federated's layout."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from fedprobe.clients.data.shards import DataError


@contextmanager
def new_shard(path: Path) -> Iterator[h5py.File]:
    """An empty HDF5 file that becomes `path` when the block ends well, and vanishes when it does not.

    Raises DataError if `path` is there already.
    """
    if path.exists():
        raise DataError(f"{path} exists; choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.temporary")
    try:
        with h5py.File(temporary, "w", libver="latest") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
