"""Federated HDF5 shards in TensorFlow Federated's layout: group `examples`, one sub-group per user.

Images: `pixels` [n, H, W] or [n, H, W, C], float32 in [0, 1] (1.0 is white) or uint8, and optionally `label` [n],
integers. User ids are opaque. An index of the users is built once and kept beside the shards; examples are read
lazily, user by user.
"""

import glob
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from fedprobe.errors import FedprobeError
from fedprobe.privacy import population as populations
from fedprobe.privacy.population import Population

SUFFIXES = (".h5", ".hdf5")
_MOST_OPEN_FILES = 64


class DataError(FedprobeError):
    """The data cannot be read or is invalid. The message holds no id and no value of the data."""

    exit_code = 3


@dataclass(frozen=True)
class UserBatch:
    """Several users' examples, ragged: user i's are rows `offsets[i]` to `offsets[i + 1]`.

    `pixels` [n, C, H, W] float32 in [0, 1]; `labels` [n] int64, or None where the shards have none.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator["UserBatch"]:
        for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            labels = None if self.labels is None else self.labels[start:stop]
            yield UserBatch(self.pixels[start:stop], labels, np.array([0, stop - start]))


@dataclass(frozen=True)
class ShardIndex:
    """What one shard holds: its users, how many examples each has, and the schema of all."""

    path: Path
    users: Sequence[str]
    examples: np.ndarray
    shape: tuple[int, int, int]
    dtype: str
    labelled: bool


@dataclass(frozen=True)
class FederatedDataset:
    """Users of one or several shards. Open it with `open_dataset`.

    A user is known by her position in `users`; her id stays here. `shape` is (C, H, W).
    """

    shards: Sequence[ShardIndex]
    population: Population | None
    record: Path | None = None
    _files: dict = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return sum(len(shard.users) for shard in self.shards)

    @property
    def users(self) -> list[str]:
        return [user for shard in self.shards for user in shard.users]

    def user_id(self, user: int) -> str:
        """The id of the user at a position; it stays in `clients`, where keys are made of it."""
        shard, row = self._locate(user)
        return self.shards[shard].users[row]

    @property
    def examples(self) -> np.ndarray:
        """How many examples each user has [users]."""
        return np.concatenate([shard.examples for shard in self.shards])

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.shards[0].shape

    @property
    def labelled(self) -> bool:
        return all(shard.labelled for shard in self.shards)

    @property
    def paths(self) -> list[Path]:
        return [shard.path for shard in self.shards]

    @property
    def folder(self) -> Path | None:
        """Where what is measured about these users is kept: beside the first shard. None if not registered."""
        if self.population is None:
            return None
        return populations.folder_of(self.population, self.paths[0], self.record)

    def read(self, users: Sequence[int]) -> UserBatch:
        """The examples of `users` (positions), in that order. Raises DataError where a shard cannot be read."""
        pixels, labels, offsets = [], [], [0]
        for user in users:
            group = self._group(user)
            images = _read(group["pixels"])
            pixels.append(_as_unit(images))
            if self.labelled:
                labels.append(_read(group["label"]).astype(np.int64))
            offsets.append(offsets[-1] + len(images))
        channels, height, width = self.shape
        none = np.zeros((0, channels, height, width), np.float32)
        return UserBatch(
            np.concatenate([none, *pixels]),
            np.concatenate([np.zeros(0, np.int64), *labels]) if self.labelled else None,
            np.array(offsets),
        )

    def batches(self, users_at_once: int = 64) -> Iterator[tuple[range, UserBatch]]:
        """All users in order, some at once: their positions and their examples."""
        for start in range(0, len(self), users_at_once):
            users = range(start, min(start + users_at_once, len(self)))
            yield users, self.read(users)

    def require_grey(self) -> None:
        """Raise DataError unless the images have one channel."""
        if self.shape[0] != 1:
            raise DataError(f"the images have {self.shape[0]} channels; this version trains on grey images only")

    def require_labels(self) -> None:
        """Raise DataError unless every shard has labels."""
        if not self.labelled:
            raise DataError("these shards have no labels; this needs a data set `label` beside each `pixels`")

    def _locate(self, user: int) -> tuple[int, int]:
        for number, shard in enumerate(self.shards):
            if user < len(shard.users):
                return number, user
            user -= len(shard.users)
        raise IndexError("no user at that position")

    def _group(self, user: int) -> h5py.Group:
        number, row = self._locate(user)
        shard = self.shards[number]
        # Handles are not shared with a forked worker: each process opens its own.
        handle = (os.getpid(), number)
        if handle not in self._files:
            if len(self._files) >= _MOST_OPEN_FILES:
                self._files.popitem()[1].close()
            self._files[handle] = _open(shard.path)
        return self._files[handle]["examples"][shard.users[row]]


def open_dataset(
    shards: Sequence[str | Path], record: Path | None = None, simulation_for: str | None = None
) -> FederatedDataset:
    """Open files, folders or globs of shards, checking their structure (not their contents: see `check`).

    The index is read from beside the shards where it is there and no older than they are. `simulation_for` names what
    the examples are wanted for, where only a simulation will do: a private population is then refused unopened.
    Raises DataError for anything that is not one consistent federated data set, PopulationError for shards of two
    populations, PrivacyRefusal as said.
    """
    paths = expand(shards)
    population = populations.lookup(paths, record)
    if simulation_for is not None:
        populations.require_simulation(population, simulation_for)
    indices = [_indexed(path, population, record) for path in paths]
    _require_same_schema(indices)
    seen: set[str] = set()
    for index in indices:
        repeated = seen.intersection(index.users)
        if repeated:
            raise _faulty(
                f"{index.path.name} repeats {_count(len(repeated), 'user')} of the other shards; every user "
                "belongs to one shard",
                dict.fromkeys(repeated, "is in two shards"),
                _fault_folder(index.path, population, record),
            )
        seen.update(index.users)
    if not seen:
        raise DataError("the shards hold no users: their group `examples` is empty")
    return FederatedDataset(indices, population, record)


def expand(shards: Sequence[str | Path]) -> list[Path]:
    """The shard files that files, folders and globs name, sorted. Raises DataError where there are none."""
    found: set[Path] = set()
    for shard in map(str, shards):
        path = Path(shard)
        if path.is_dir():
            inside = [file for suffix in SUFFIXES for file in path.glob(f"*{suffix}")]
        else:
            inside = [path] if path.exists() else [Path(file) for file in glob.glob(shard)]
        if not inside:
            raise DataError(f"no shards at {shard}; give HDF5 files, a folder of them, or a glob")
        found.update(inside)
    return sorted(found)


def check(
    dataset: FederatedDataset,
    classes: int | None = None,
    on_users: Callable[[int], None] = lambda users: None,
) -> dict[str, str]:
    """Read every example and return which user has which fault, {} if none has.

    Faults: values that are not finite or outside [0, 1], no examples, labels that are negative or (if `classes` is
    given) not below `classes`. For the steward: the result names users.
    """
    faults: dict[str, str] = {}
    users = dataset.users
    for positions, batch in dataset.batches():
        for position, one in zip(positions, batch, strict=True):
            fault = _fault(one, classes)
            if fault:
                faults[users[position]] = fault
        on_users(positions.stop)
    return faults


def require_valid(
    dataset: FederatedDataset,
    classes: int | None = None,
    on_users: Callable[[int], None] = lambda users: None,
    again: bool = False,
) -> None:
    """Raise DataError if any user's content is faulty; in a simulation every command that reads examples asks this.

    A data set that has passed is remembered beside the shards and read again only if `again`.
    """
    passed = None if dataset.folder is None else dataset.folder / "checked.json"
    state = {"stamps": [[path.name, *_stamp(path)] for path in dataset.paths], "classes": classes}
    if passed is not None and not again and passed.exists() and json.loads(passed.read_text()) == state:
        return
    faults = check(dataset, classes, on_users)
    if faults:
        folder = _fault_folder(dataset.paths[0], dataset.population, dataset.record)
        raise _faulty(cannot_be_used(faults), faults, folder)
    if passed is not None:
        populations.write_json(passed, state)


def cannot_be_used(faults: dict[str, str]) -> str:
    """How many users are at fault and in which ways, without naming any."""
    return f"{_count(len(faults), 'user')} cannot be used: {'; '.join(sorted(set(faults.values())))}"


def write_faults(faults: dict[str, str], folder: Path) -> Path:
    """Write which user has which fault to a file in `folder`, which lies beside the data; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    populations.write_json(folder / "faults.json", faults)
    return folder / "faults.json"


def _faulty(message: str, faults: dict[str, str], folder: Path) -> DataError:
    try:
        return DataError(f"{message}. Which users: {write_faults(faults, folder)}")
    except OSError:
        return DataError(f"{message}. Which users could not be written down: {folder} is read-only, see --record")


def _fault_folder(path: Path, population: Population | None, record: Path | None) -> Path:
    if population is not None:
        return populations.folder_of(population, path, record)
    return record or path.parent / populations.FOLDER


def _fault(user: UserBatch, classes: int | None) -> str | None:
    pixels, labels = user.pixels, user.labels
    if not len(pixels):
        return "no examples"
    if not np.isfinite(pixels).all():
        return "pixels that are not finite (NaN or infinite)"
    if pixels.min() < 0 or pixels.max() > 1:
        return "pixels outside [0, 1]"
    if labels is not None and labels.min() < 0:
        return "negative labels"
    if labels is not None and classes is not None and labels.max() >= classes:
        return f"labels outside the {classes} classes"
    return None


def _indexed(path: Path, population: Population | None, record: Path | None) -> ShardIndex:
    if population is None:
        return _index(path, _fault_folder(path, None, record))
    cache = populations.folder_of(population, path, record) / "index" / f"{path.name}.npz"
    stamp = _stamp(path)
    if cache.exists():
        with np.load(cache, allow_pickle=False) as kept:
            if kept["stamp"].tolist() == stamp:
                users = json.loads(kept["users"].tobytes())
                shape = tuple(kept["shape"].tolist())
                labelled = bool(kept["labelled"])
                return ShardIndex(path, users, kept["examples"], shape, str(kept["dtype"]), labelled)
    index = _index(path, _fault_folder(path, population, record))
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_suffix(f".{os.getpid()}.temporary.npz")
    np.savez(
        temporary,
        stamp=np.array(stamp),
        users=np.frombuffer(json.dumps(index.users).encode(), np.uint8),
        examples=index.examples,
        shape=np.array(index.shape),
        dtype=np.array(index.dtype),
        labelled=np.array(index.labelled),
    )
    os.replace(temporary, cache)
    return index


def _index(path: Path, fault_folder: Path) -> ShardIndex:
    """Read one shard's structure; DataError, with all users at fault written down, where it is not sound."""
    users, counts, schemas, faults = [], [], set(), {}
    with _open(path) as file:
        examples = file.get("examples")
        if not isinstance(examples, h5py.Group):
            raise DataError(f"{path.name} has no group `examples`; is it a federated shard?")
        try:
            for user in examples:
                fault, count, schema = _structure(examples[user])
                if fault:
                    faults[user] = fault
                else:
                    users.append(user)
                    counts.append(count)
                    schemas.add(schema)
        except (OSError, RuntimeError, KeyError):
            raise DataError(f"{path.name} is damaged: some of its users cannot be read") from None
    if faults:
        raise _faulty(f"{path.name}: {cannot_be_used(faults)}", faults, fault_folder)
    if len(schemas) > 1:
        raise DataError(f"{path.name}: its users differ in image size, dtype or in having labels")
    shape, dtype, labelled = schemas.pop() if schemas else ((1, 0, 0), "float32", True)
    return ShardIndex(path, users, np.array(counts, np.int64), shape, dtype, labelled)


def _structure(group: object) -> tuple[str | None, int, tuple]:
    """One user's fault (or None), number of examples, and schema (shape as C, H, W; dtype; labelled)."""
    pixels = group.get("pixels") if isinstance(group, h5py.Group) else None
    if not isinstance(pixels, h5py.Dataset):
        return "no data set `pixels`", 0, ()
    if pixels.ndim not in (3, 4):
        return "`pixels` of the wrong rank (it takes [n, H, W] or [n, H, W, C])", 0, ()
    if pixels.dtype not in (np.float32, np.uint8):
        return "`pixels` of the wrong dtype (it takes float32 in [0, 1] or uint8)", 0, ()
    label = group.get("label")
    if label is not None:
        if not isinstance(label, h5py.Dataset) or label.ndim != 1 or label.dtype.kind not in "iu":
            return "a `label` that is not one integer an example", 0, ()
        if len(label) != len(pixels):
            return "`label` and `pixels` of different lengths", 0, ()
    height, width, channels = (*pixels.shape[1:], 1)[:3]
    return None, len(pixels), ((channels, height, width), pixels.dtype.name, label is not None)


def _require_same_schema(indices: Sequence[ShardIndex]) -> None:
    filled = [index for index in indices if len(index.users)]
    for index in filled[1:]:
        for what in ("shape", "dtype", "labelled"):
            if getattr(index, what) != getattr(filled[0], what):
                raise DataError(f"{index.path.name} and {filled[0].path.name} differ in {what}")


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        sizes = re.search(r"truncated file: eof = (\d+),.*stored_eof = (\d+)", str(error))
        if sizes:
            have, want = (f"{int(size):,}" for size in sizes.groups())
            why = f"is cut short: HDF5 says {want} bytes, the file has {have}. Copy it again"
        elif not os.access(path, os.R_OK):
            why = "cannot be read; check its permissions"
        else:
            why = "is not an HDF5 file, or is damaged"
        raise DataError(f"{path.name} {why}") from None


def _read(dataset: h5py.Dataset) -> np.ndarray:
    try:
        return dataset[...]
    except OSError:
        raise DataError(f"{Path(dataset.file.filename).name} is damaged: some of its data cannot be read") from None


def _as_unit(images: np.ndarray) -> np.ndarray:
    """[n, H, W] or [n, H, W, C] to [n, C, H, W] float32, uint8 divided by 255."""
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / np.float32(255)
    return images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
