"""Packed shards: all users' examples in flat data sets with offsets, so that an index of millions of users opens fast.

Group `packed`: `users` [U], ids as bytes, sorted; `offsets` [U + 1], user i's rows; `attributes` and
`attribute_offsets` [U + 1], a JSON object a user, as bytes. Images: `pixels` [N, H, W] or [N, H, W, C] and optionally
`label` [N]. Text: groups `text/COLUMN` with `bytes` and `offsets` [N + 1]. `fedprobe data pack` writes them.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from fedprobe.clients.data.index import DataError, ShardIndex, open_file, own

# Longer ids would make the array of all ids large: it has one width.
LONGEST_ID = 255


class Ids(Sequence[str]):
    """The ids of many users as one array of bytes [U]; an id is text when it is asked for."""

    def __init__(self, ids: np.ndarray) -> None:
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, row: int) -> str:
        return self._ids[row].decode()

    def __iter__(self) -> Iterator[str]:
        return (id.decode() for id in self._ids)


class PackedFile:
    """A packed shard open for reading, each of its data sets opened once: that takes longer than to read a user."""

    def __init__(self, path: Path) -> None:
        self._file = open_file(path)
        self._group = self._file["packed"]
        self._datasets: dict[str, h5py.Dataset] = {}

    @property
    def attrs(self) -> h5py.AttributeManager:
        """The attributes of all examples."""
        return self._group.attrs

    def __getitem__(self, name: str) -> h5py.Dataset:
        if name not in self._datasets:
            self._datasets[name] = self._group[name]
        return self._datasets[name]

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class _Rows:
    """Some rows of a flat data set, read with `[...]` as a user's own data set is."""

    values: h5py.Dataset
    start: int
    stop: int
    row_offsets: h5py.Dataset | None = None

    @property
    def file(self) -> h5py.File:
        return self.values.file

    def __getitem__(self, everything: object) -> np.ndarray:
        if self.row_offsets is None:
            return self.values[self.start : self.stop]
        bounds = self.row_offsets[self.start : self.stop + 1]
        flat = self.values[bounds[0] : bounds[-1]].tobytes()
        starts, stops = (bounds[:-1] - bounds[0]).tolist(), (bounds[1:] - bounds[0]).tolist()
        rows = np.empty(len(starts), object)
        rows[:] = [flat[start:stop] for start, stop in zip(starts, stops, strict=True)]
        return rows


@dataclass(frozen=True)
class PackedUsers:
    """A user of a packed shard, in the place of a group of TFF's layout; or neighbours, whose rows follow each other.

    `row` is the (first) user's, `start` and `stop` are of their examples.
    """

    file: PackedFile
    row: int
    start: int
    stop: int

    def __getitem__(self, name: str) -> _Rows:
        if name in ("pixels", "label"):
            return _Rows(self.file[name], self.start, self.stop)
        return _Rows(self.file[f"text/{name}/bytes"], self.start, self.stop, self.file[f"text/{name}/offsets"])

    @property
    def attrs(self) -> dict[str, object]:
        offsets, attributes = self.file["attribute_offsets"], self.file["attributes"]
        try:
            start, stop = offsets[self.row : self.row + 2].tolist()
            return json.loads(attributes[start:stop].tobytes() or b"{}")
        except OSError:
            name = Path(attributes.file.filename).name
            raise DataError(f"{name} is damaged: some of its data cannot be read") from None

    @property
    def parent(self) -> PackedFile:
        return self.file


def packed_users(file: PackedFile, shard: ShardIndex, rows: range) -> PackedUsers:
    """The users at `rows` of an open packed shard with index `shard`."""
    return PackedUsers(file, rows.start, int(shard.offsets[rows.start]), int(shard.offsets[rows.stop]))


def packed_index(path: Path) -> ShardIndex | None:
    """The index of a packed shard; None if the file is not one. Raises DataError where its structure is not sound."""
    with open_file(path) as file:
        if "packed" not in file or "examples" in file:
            return None
        group = own(file, "packed")
        try:
            return _index(path, group)
        except (OSError, RuntimeError, KeyError, TypeError, AttributeError):
            raise DataError(f"{path.name} is damaged: some of its users cannot be read; pack it again") from None


def _index(path: Path, group: h5py.Group) -> ShardIndex:
    users, offsets = own(group, "users")[...], own(group, "offsets")[...]
    attributes, attribute_offsets = own(group, "attributes"), own(group, "attribute_offsets")[...]
    total = int(offsets[-1]) if len(offsets) else 0
    sound = users.dtype.kind == "S" and bool((users[1:] > users[:-1]).all())
    sound &= _increasing(offsets, len(users), total)
    sound &= _increasing(attribute_offsets, len(users), len(attributes)) and attributes.dtype == np.uint8
    if sound and not _are_text(users):
        raise DataError(f"{path.name}: the ids of some users are not UTF-8 text; rename their groups and pack it again")
    if not sound:
        raise DataError(f"{path.name} is damaged: its users and offsets do not belong together; pack it again")
    examples = np.diff(offsets)
    if not len(users):
        return ShardIndex(path, Ids(users), examples, labelled=True, offsets=offsets)
    if "text" in group:
        columns = own(group, "text")
        for name in columns:
            flat, rows = own(columns[name], "bytes"), own(columns[name], "offsets")
            if flat.dtype != np.uint8 or not _increasing(rows[...], total, len(flat)):
                raise DataError(f"{path.name} is damaged: a column and its offsets differ in length; pack it again")
        return ShardIndex(path, Ids(users), examples, (1, 0, 0), "text", False, tuple(sorted(columns)), offsets=offsets)
    pixels = own(group, "pixels")
    label = own(group, "label") if "label" in group else None
    if pixels.ndim not in (3, 4) or pixels.dtype not in (np.float32, np.uint8):
        raise DataError(f"{path.name}: `pixels` of the wrong rank or dtype (float32 in [0, 1] or uint8); pack it again")
    if label is not None and (label.ndim != 1 or label.dtype.kind not in "iu"):
        raise DataError(f"{path.name}: a `label` that is not one integer an example; pack it again")
    if len(pixels) != total or (label is not None and len(label) != total):
        raise DataError(f"{path.name}: `label`, `pixels` and offsets of different lengths; pack it again")
    height, width, channels = (*pixels.shape[1:], 1)[:3]
    shape = channels, height, width
    return ShardIndex(path, Ids(users), examples, shape, pixels.dtype.name, label is not None, offsets=offsets)


def _are_text(ids: np.ndarray) -> bool:
    """Whether every one of `ids` (bytes of one width) is UTF-8: all at once, where none begins inside a character."""
    if not ids.size:
        return True
    flat = ids.tobytes()
    if (np.frombuffer(flat, np.uint8)[:: ids.itemsize] & 0xC0 == 0x80).any():
        return False
    try:
        flat.decode()
    except UnicodeDecodeError:
        return False
    return True


def _increasing(offsets: np.ndarray, users: int, total: int) -> bool:
    """Whether `offsets` cut `total` rows into so many parts."""
    fits = offsets.shape == (users + 1,) and offsets.dtype == np.int64
    return bool(fits and offsets[0] == 0 and offsets[-1] == total and (np.diff(offsets) >= 0).all())
