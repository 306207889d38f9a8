"""Writing federated shards in TensorFlow Federated's layout."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from fedprobe.errors import RequestError


def require_new(path: Path) -> None:
    """Raise RequestError if there is something at `path`."""
    if path.exists():
        raise RequestError(f"{path} exists; choose another name")


@contextmanager
def new_shard(path: Path) -> Iterator[h5py.File]:
    """An empty HDF5 file that becomes `path` when the block ends well, and vanishes when it does not.

    Raises RequestError if `path` is there already.
    """
    require_new(path)
    new_folder = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.temporary")
    try:
        with h5py.File(temporary, "w", libver="latest") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        if new_folder and not any(path.parent.iterdir()):
            path.parent.rmdir()
