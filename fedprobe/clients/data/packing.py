"""Packing shards: the same users, examples and attributes in the layout of `packed.py`."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from fedprobe.clients.data.corrupt import targets_of, truth_of, write_truth
from fedprobe.clients.data.index import DataError, ShardIndex
from fedprobe.clients.data.packed import LONGEST_ID
from fedprobe.clients.data.shards import FederatedDataset
from fedprobe.clients.data.vocabulary import carry_notes
from fedprobe.clients.data.writing import new_shard, require_new
from fedprobe.privacy import population as populations

# What is compressed together: small enough that reading one user unpacks little more than hers. With eight times as
# much, reading single users took three times as long and files were a fiftieth smaller.
_CHUNK_BYTES = 1 << 13
_USERS_AT_ONCE = 256


def pack(
    dataset: FederatedDataset,
    out: Path,
    record: Path | None = None,
    on_users: Callable[[int], None] = lambda users: None,
) -> tuple[list[Path], str]:
    """Write each shard of `dataset` packed to `out`; return the files and the dtype of what they hold.

    Pixels become uint8 only if every one of them is k / 255 exactly, so that what is read is the same bit for bit.
    The record of the population, the truth about a rehearsed bug and the vocabularies counted are carried over.
    `out` is a file if there is one shard and it has a shard's suffix, else a folder. `on_users` is told how many users
    are written. Raises RequestError if a file is
    there already, DataError if a shard is damaged or an attribute is neither text, number nor a list of them.
    """
    targets = targets_of(dataset, out)
    for target in targets:
        require_new(target)
    dtype = "uint8" if dataset.kind == "images" and _whole(dataset) else dataset.dtype
    start = 0
    for shard, target in zip(dataset.shards, targets, strict=True):
        with new_shard(target) as file:
            _write(dataset, shard, start, file.create_group("packed"), dtype, on_users)
            if dataset.population is not None:
                # Before the file has its name: data are never there without their record.
                populations.carry(dataset.population, [target])
                if record is not None:
                    populations.carry(dataset.population, [target], record)
                truth = truth_of(dataset.population, shard.path)
                if truth.exists():
                    write_truth(dataset.population, target, json.loads(truth.read_text()))
                carry_notes(dataset, populations.folder_of(dataset.population, target))
        start += len(shard.users)
    return targets, dtype


def _whole(dataset: FederatedDataset) -> bool:
    """Whether every pixel is k / 255 in float32, for a whole k."""
    return all(_as_bytes(dataset.stored(user)["pixels"]) is not None for user in range(len(dataset)))


def _as_bytes(pixels: np.ndarray) -> np.ndarray | None:
    """Pixels as uint8 where dividing those by 255 gives the same float32, None where it does not."""
    if pixels.dtype == np.uint8:
        return pixels
    inside = np.where((pixels >= 0) & (pixels <= 1), pixels, 0)
    whole = np.rint(inside * 255).astype(np.uint8)
    return whole if np.array_equal(whole.astype(np.float32) / np.float32(255), pixels) else None


def _write(
    dataset: FederatedDataset,
    shard: ShardIndex,
    start: int,
    group: h5py.Group,
    dtype: str,
    on_users: Callable[[int], None],
) -> None:
    # HDF5 may list users in the order of their making.
    order = sorted(range(len(shard.users)), key=lambda row: shard.users[row].encode())
    ids = [shard.users[row].encode() for row in order]
    if max(map(len, ids), default=0) > LONGEST_ID:
        raise DataError(f"ids of users longer than {LONGEST_ID} bytes cannot be packed; rename their groups")
    group.create_dataset("users", data=np.array(ids, "S"))
    offsets = np.concatenate([[0], np.cumsum(shard.examples[order], dtype=np.int64)]).astype(np.int64)
    group.create_dataset("offsets", data=offsets)
    if len(ids):
        _copy_examples_attributes(dataset, start, group)
    attributes = [_attributes(dataset.stored_attributes(start + row)) for row in order]
    group.create_dataset("attributes", data=np.frombuffer(b"".join(attributes), np.uint8))
    group.create_dataset("attribute_offsets", data=np.cumsum([0, *map(len, attributes)], dtype=np.int64))
    for first in range(0, len(order), _USERS_AT_ONCE):
        users = [dataset.stored(start + row) for row in order[first : first + _USERS_AT_ONCE]]
        for name in users[0]:
            rows = np.concatenate([user[name] for user in users])
            if name == "pixels" and dtype == "uint8":
                rows = _as_bytes(rows)
            if dataset.kind == "images":
                _append(group, name, rows)
            else:
                _append(group, f"text/{name}/bytes", np.frombuffer(b"".join(rows), np.uint8))
                sizes = np.cumsum([len(row) for row in rows], dtype=np.int64)
                if f"text/{name}/offsets" not in group:
                    _append(group, f"text/{name}/offsets", np.zeros(1, np.int64))
                _append(group, f"text/{name}/offsets", sizes + group[f"text/{name}/offsets"][-1])
        on_users(start + first + len(users))


def _append(group: h5py.Group, name: str, rows: np.ndarray) -> None:
    """Add rows to the end of a data set that grows, made with the first of them."""
    if name not in group:
        size = max(1, rows.dtype.itemsize * int(np.prod(rows.shape[1:])))
        chunks = (max(1, _CHUNK_BYTES // size), *rows.shape[1:])
        group.create_dataset(
            name,
            data=rows,
            maxshape=(None, *rows.shape[1:]),
            chunks=chunks,
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        return
    values = group[name]
    before = len(values)
    values.resize(before + len(rows), axis=0)
    values[before:] = rows


def _copy_examples_attributes(dataset: FederatedDataset, user: int, group: h5py.Group) -> None:
    for name, value in dataset.common_attributes(user).items():
        group.attrs[name] = value


def _attributes(attributes: dict[str, object]) -> bytes:
    """A user's attributes as JSON. DataError for what JSON cannot say."""
    if not attributes:
        return b""
    try:
        return json.dumps({name: _plain(value) for name, value in attributes.items()}).encode()
    except (TypeError, UnicodeDecodeError):
        pass
    # Outside the block: the error before it carries the value.
    raise DataError("some attributes of users are neither text, numbers nor lists of them, and cannot be packed")


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode()
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
