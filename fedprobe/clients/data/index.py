"""The index of one shard: its users and schema, read once, checked, and cached beside the data."""

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import h5py
import numpy as np

from fedprobe.errors import FedprobeError
from fedprobe.privacy import population as populations
from fedprobe.privacy.population import Population
from fedprobe.privacy.randomness import key


class DataError(FedprobeError):
    """The data cannot be read or is invalid. The message holds no id and no value of the data."""

    exit_code = 3


@dataclass(frozen=True)
class ShardIndex:
    """What one shard holds: its users, how many examples each has, and the schema of all.

    Images: `shape` (C, H, W), `dtype`, `labelled`. Text: `columns`, the names of its columns of text. `offsets`
    [users + 1]: where each user's rows begin in a packed shard; None in TFF's layout.
    """

    path: Path
    users: Sequence[str]
    examples: np.ndarray
    shape: tuple[int, int, int] = (1, 0, 0)
    dtype: str = "float32"
    labelled: bool = False
    columns: tuple[str, ...] = ()
    offsets: np.ndarray | None = None

    @property
    def packed(self) -> bool:
        """Whether it is a packed shard."""
        return self.offsets is not None

    @property
    def kind(self) -> str:
        """`images` or `text`."""
        return "text" if self.columns else "images"


def indexed(
    path: Path,
    population: Population | None,
    record: Path | None,
    packed: Callable[[Path], ShardIndex | None] = lambda path: None,
) -> ShardIndex:
    """The index of the shard at `path`: the one kept beside it if the shard's size and time are the same, or a new one.

    Without a population nothing is kept, nor is the index that `packed` makes of a shard in its layout. Raises
    DataError where the shard's structure is not sound.
    """
    faults = fault_folder(path, population, record)
    if population is None:
        return packed(path) or _index(path, faults, True)
    counted = population.kind == "simulation"
    name = f"{path.name}-{key(populations.name_of(path, record)):016x}.npz"
    cache = populations.folder_of(population, path, record) / "index" / name
    kept = _kept(cache, path)
    if kept is not None:
        return kept
    found = packed(path)
    if found is not None:
        return found
    index = _index(path, faults, counted)
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_suffix(f".{os.getpid()}.temporary.npz")
    np.savez(
        temporary,
        stamp=np.array(stamp(path)),
        users=np.frombuffer(json.dumps(index.users).encode(), np.uint8),
        examples=index.examples,
        shape=np.array(index.shape),
        dtype=np.array(index.dtype),
        labelled=np.array(index.labelled),
        columns=np.frombuffer(json.dumps(index.columns).encode(), np.uint8),
    )
    os.replace(temporary, cache)
    return index


def _kept(cache: Path, path: Path) -> ShardIndex | None:
    """The index in `cache` if it is whole and the shard has not changed since."""
    try:
        with np.load(cache, allow_pickle=False) as kept:
            if kept["stamp"].tolist() != stamp(path):
                return None
            users = json.loads(kept["users"].tobytes())
            shape = tuple(kept["shape"].tolist())
            columns = tuple(json.loads(kept["columns"].tobytes()))
            return ShardIndex(path, users, kept["examples"], shape, str(kept["dtype"]), bool(kept["labelled"]), columns)
    except (OSError, ValueError, KeyError, BadZipFile):
        return None


def _index(path: Path, fault_folder: Path, counted: bool) -> ShardIndex:
    """Read one shard's structure; DataError, with all users at fault written down, where it is not sound.

    The message says how many they are if `counted`: of a private population nobody is told.
    """
    users, examples, schemas, faults = [], [], set(), {}
    with open_file(path) as file:
        group = own(file, "examples")
        if not isinstance(group, h5py.Group):
            raise DataError(f"{path.name} has no group `examples`; is it a federated shard?")
        try:
            for user in group:
                if not isinstance(user, str):
                    raise DataError(f"{path.name}: the ids of some users are not UTF-8 text; rename their groups")
                fault, number, schema = _structure(own(group, user))
                if fault:
                    faults[user] = fault
                else:
                    users.append(user)
                    examples.append(number)
                    schemas.add(schema)
        except (OSError, RuntimeError, KeyError):
            raise DataError(f"{path.name} is damaged: some of its users cannot be read; copy it again") from None
    if faults:
        raise faulty(f"{path.name}: {cannot_be_used(faults, counted)}", faults, fault_folder)
    if len(schemas) > 1:
        raise DataError(
            f"{path.name}: its users differ in their columns, image size, dtype or in having labels; split it"
        )
    schema = schemas.pop() if schemas else ((1, 0, 0), "float32", True, ())
    return ShardIndex(path, users, np.array(examples, np.int64), *schema)


def own(group: h5py.Group, name: str) -> object:
    """What lies in `group` by that name; None where it is a link, or its data lie in another file.

    Data of another file have a record of their own, which nobody would ask for here.
    """
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    value = group[name]
    elsewhere = isinstance(value, h5py.Dataset) and (value.is_virtual or value.external)
    return None if elsewhere else value


def _structure(group: object) -> tuple[str | None, int, tuple]:
    """One user's fault (or None), number of examples, and schema (shape as C, H, W; dtype; labelled; text columns)."""
    if not isinstance(group, h5py.Group):
        return "no data sets in a group", 0, ()
    if "pixels" not in group:
        return _text_structure(group)
    pixels = own(group, "pixels")
    if not isinstance(pixels, h5py.Dataset):
        return "no data set `pixels`", 0, ()
    if pixels.ndim not in (3, 4):
        return "`pixels` of the wrong rank (it takes [n, H, W] or [n, H, W, C])", 0, ()
    if pixels.dtype not in (np.float32, np.uint8):
        return "`pixels` of the wrong dtype (it takes float32 in [0, 1] or uint8)", 0, ()
    label = own(group, "label") if "label" in group else None
    if label is not None:
        if not isinstance(label, h5py.Dataset) or label.ndim != 1 or label.dtype.kind not in "iu":
            return "a `label` that is not one integer an example", 0, ()
        if len(label) != len(pixels):
            return "`label` and `pixels` of different lengths", 0, ()
    height, width, channels = (*pixels.shape[1:], 1)[:3]
    return None, len(pixels), ((channels, height, width), pixels.dtype.name, label is not None, ())


def _text_structure(group: h5py.Group) -> tuple[str | None, int, tuple]:
    """The same of a user with text: every one-dimensional data set of strings is a column."""
    columns = {
        name: len(rows)
        for name, rows in ((name, own(group, name)) for name in group)
        if isinstance(rows, h5py.Dataset) and rows.ndim == 1 and h5py.check_string_dtype(rows.dtype) is not None
    }
    if not columns:
        return "neither `pixels` nor a column of text", 0, ()
    if len(set(columns.values())) > 1:
        return "columns of text of different lengths", 0, ()
    return None, next(iter(columns.values())), ((1, 0, 0), "text", False, tuple(sorted(columns)))


def open_file(path: Path) -> h5py.File:
    """Open one shard for reading; DataError, which says what is wrong with the file, if it cannot be."""
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


def cannot_be_used(faults: dict[str, str], counted: bool = True) -> str:
    """In which ways users are at fault, and if `counted` how many they are, without naming any."""
    who = count(len(faults), "user") if counted else "some users"
    return f"{who} cannot be used: {'; '.join(sorted(set(faults.values())))}"


def write_faults(faults: dict[str, str], folder: Path) -> Path:
    """Write which user has which fault to a file in `folder`, which lies beside the data; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    populations.write_json(folder / "faults.json", faults)
    return folder / "faults.json"


def faulty(message: str, faults: dict[str, str], folder: Path) -> DataError:
    """A DataError that names no user, while a file in `folder` does."""
    try:
        return DataError(f"{message}. Which users: {write_faults(faults, folder)}")
    except OSError:
        return DataError(f"{message}. Which users could not be written down: {folder} is read-only, see --record")


def fault_folder(path: Path, population: Population | None, record: Path | None) -> Path:
    """Where the faults of the shard at `path` are written: beside it, or in its record's folder."""
    if population is not None:
        return populations.folder_of(population, path, record)
    return record or path.parent / populations.FOLDER


def stamp(path: Path) -> list[int]:
    """Size and time of change of a file: what tells that it is not the one that was read."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def count(number: int, noun: str) -> str:
    """`number` things in words."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
