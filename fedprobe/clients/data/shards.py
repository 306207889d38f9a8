"""Federated HDF5 shards in TensorFlow Federated's layout: group `examples`, one sub-group per user.

Images: `pixels` [n, H, W] or [n, H, W, C], float32 in [0, 1] (1.0 is white) or uint8, and optionally `label` [n],
integers. Text: columns of strings [n], one sentence a row; `tokens` unless said otherwise. User ids are opaque. An
index of the users is built once and kept beside the shards; examples are read lazily, user by user.
"""

import glob
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise
from pathlib import Path

import h5py
import numpy as np

from fedprobe.clients.data.index import DataError, ShardIndex, count, fault_folder, faulty, indexed, open_file
from fedprobe.clients.data.packed import PackedFile, PackedUsers, packed_index, packed_users
from fedprobe.clients.text import TextFormat
from fedprobe.privacy import population as populations
from fedprobe.privacy.population import Population

SUFFIXES = (".h5", ".hdf5")
_MOST_OPEN_FILES = 64


class TextError(DataError):
    """Text that is not UTF-8, or holds a NUL. The message holds none of it."""


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
class FederatedDataset:
    """Users of one or several shards. Open it with `open_dataset`.

    A user is known by her position in `users`; her id stays here. `shape` is (C, H, W). `text` says how the rows of
    text shards are read.
    """

    shards: Sequence[ShardIndex]
    population: Population | None
    record: Path | None = None
    text: TextFormat = TextFormat()
    _files: dict = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict:
        # Handles stay where they are, as they do when a worker is forked.
        return vars(self) | {"_files": {}, "digests": self._digests()}

    def __setstate__(self, state: dict) -> None:
        """Take over what another process sent. Raises DataError where its files are not those that are here.

        Where they differed, rows would be read by another file's index, and a user might count as two.
        """
        digests = state.pop("digests")
        vars(self).update(state)
        if self._digests() != digests:
            raise DataError("the shards are not the same on all machines; copy the same files to the same path of each")

    def _digests(self) -> list[bytes]:
        """A digest of each file. Of private data it is a figure like any other: it goes to ranks alone."""
        digests = []
        for path in self.paths:
            try:
                with open(path, "rb") as file:
                    digests.append(hashlib.file_digest(file, "sha256").digest())
            except OSError:
                raise DataError(
                    f"{path.name} cannot be read; copy the same files to the same path of each machine"
                ) from None
        return digests

    def __len__(self) -> int:
        return sum(len(shard.users) for shard in self.shards)

    @property
    def users(self) -> list[str]:
        """Everybody's id. Of many users that is a lot: `ids` hands them out one by one."""
        return list(self.ids())

    def ids(self) -> Iterator[str]:
        """The ids of all users, in order of their positions."""
        return chain.from_iterable(shard.users for shard in self.shards)

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
        return self._schema.shape

    @property
    def dtype(self) -> str:
        """The dtype of the pixels, or `text`."""
        return self._schema.dtype

    @property
    def kind(self) -> str:
        """`images` or `text`."""
        return self._schema.kind

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of text; () where the shards hold images."""
        return self._schema.columns

    @property
    def labelled(self) -> bool:
        return self._schema.labelled

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
        pixels, labels, lengths = [], [], []
        for number, rows in self._pieces(users):
            group, shard = self._group_of(number, rows), self.shards[number]
            images = _read(group["pixels"])
            pixels.append(_as_unit(images))
            if self.labelled:
                labels.append(_read(group["label"]).astype(np.int64))
            lengths.append(shard.examples[rows.start : rows.stop] if shard.packed else [len(images)])
        channels, height, width = self.shape
        none = np.zeros((0, channels, height, width), np.float32)
        return UserBatch(
            np.concatenate([none, *pixels]),
            np.concatenate([np.zeros(0, np.int64), *labels]) if self.labelled else None,
            np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths])),
        )

    def sentences(self, user: int) -> list[list[str]]:
        """The tokens of every sentence of one user (a position) that has any.

        Raises DataError where the shard cannot be read, TextError where it is not UTF-8.
        """
        return next(self.texts([user]))

    def texts(self, users: Sequence[int]) -> Iterator[list[list[str]]]:
        """The `sentences` of each of `users`, neighbours of a packed shard read together. Raises as they do."""
        for number, rows in self._pieces(users):
            group, shard = self._group_of(number, rows), self.shards[number]
            stored = _read(group[self.text.column])
            separator = separator_of(group.parent, self.text)
            lengths = shard.examples[rows.start : rows.stop].tolist() if shard.packed else [len(stored)]
            for start, stop in pairwise(accumulate(lengths, initial=0)):
                yield self._tokens(stored[start:stop], separator)

    def _tokens(self, rows: Sequence[bytes], separator: str | None) -> list[list[str]]:
        try:
            if not any(b"\0" in row for row in rows):
                return self.text.sentences(rows, separator)
        except UnicodeDecodeError:
            pass
        # Outside the block: the error before it carries the bytes, and is not to be this one's context.
        raise TextError("some text is not UTF-8, or holds a NUL; see whose with: fedprobe data describe --check")

    def attributes(self, user: int) -> dict[str, str | int | float | bool]:
        """The attributes of one user's group (a position) that are single strings, numbers or truth values.

        She has none where one of them is of a type that cannot be read: that is her content, and no fault of the file.
        """
        plain = {}
        try:
            for name, value in self._group(user).attrs.items():
                value = value.item() if isinstance(value, np.generic) else value
                value = value.decode() if isinstance(value, bytes) else value
                if isinstance(name, str) and isinstance(value, str | bool | int | float):
                    plain[name] = value
        except (ValueError, TypeError, AttributeError):
            return {}
        except (OSError, RuntimeError, KeyError):
            raise DataError("the attributes of some users cannot be read: a shard is damaged; copy it again") from None
        return plain

    def stored(self, user: int) -> dict[str, np.ndarray]:
        """One user's data sets as they are stored: `pixels` and `label`, or the rows (bytes) of each column."""
        group = self._group(user)
        names = self.columns or (("pixels", "label") if self.labelled else ("pixels",))
        return {name: _read(group[name]) for name in names}

    def stored_attributes(self, user: int) -> dict[str, object]:
        """One user's HDF5 attributes as they are stored. Raises DataError where one cannot be read."""
        return _stored(self._group(user).attrs)

    def common_attributes(self, user: int) -> dict[str, object]:
        """The HDF5 attributes of all examples of the shard that a user is in. Raises as `stored_attributes`."""
        return _stored(self._group(user).parent.attrs)

    def runs(self, examples_at_once: int) -> list[range]:
        """All users in order, cut into runs of neighbours with about so many examples, one user's more at most."""
        # Whoever's first example is in one stretch of so many examples is in one run.
        stretch = (np.cumsum(self.examples) - self.examples) // examples_at_once
        cuts = [0, *(np.flatnonzero(np.diff(stretch)) + 1).tolist(), len(self)]
        return [range(start, stop) for start, stop in pairwise(cuts)]

    def batches(self, users_at_once: int = 64) -> Iterator[tuple[range, UserBatch]]:
        """All users in order, some at once: their positions and their examples."""
        for start in range(0, len(self), users_at_once):
            users = range(start, min(start + users_at_once, len(self)))
            yield users, self.read(users)

    def require_text(self) -> None:
        """Raise DataError unless the shards hold text in the column that is asked for."""
        if self.kind != "text":
            raise DataError("these shards hold images; a language model takes shards of text")
        if self.text.column not in self.columns:
            columns = ", ".join(self.columns)
            raise DataError(f"no column of text is called {self.text.column}; give --column one of: {columns}")

    def require_images(self) -> None:
        """Raise DataError unless the shards hold images."""
        if self.kind != "images":
            raise DataError("these shards hold text; this takes shards of images")

    def require_trainable(self, least_side: int) -> None:
        """Raise DataError unless a GAN can be trained on the images: one channel, sides of at least `least_side`."""
        self.require_images()
        channels, height, width = self.shape
        if channels != 1:
            raise DataError(f"the images have {channels} channels; this version trains on grey images only")
        if min(height, width) < least_side:
            raise DataError(f"the images are too small for the networks: they take {least_side} x {least_side} pixels")

    def require_labels(self) -> None:
        """Raise DataError unless every shard has labels."""
        self.require_images()
        if not self.labelled:
            raise DataError("these shards have no labels; this needs a data set `label` beside each `pixels`")

    @property
    def _schema(self) -> ShardIndex:
        """A shard that has users: one without any decides nothing."""
        return next(shard for shard in self.shards if len(shard.users))

    def _locate(self, user: int) -> tuple[int, int]:
        for number, shard in enumerate(self.shards):
            if user < len(shard.users):
                return number, user
            user -= len(shard.users)
        raise IndexError("no user at that position")

    def _pieces(self, users: Sequence[int]) -> list[tuple[int, range]]:
        """The shard and the rows of `users` (positions), neighbours of a packed shard in one piece."""
        pieces: list[tuple[int, range]] = []
        for user in users:
            number, row = self._locate(user)
            if pieces and self.shards[number].packed and pieces[-1][0] == number and pieces[-1][1].stop == row:
                pieces[-1] = number, range(pieces[-1][1].start, row + 1)
            else:
                pieces.append((number, range(row, row + 1)))
        return pieces

    def _group(self, user: int) -> h5py.Group | PackedUsers:
        number, row = self._locate(user)
        return self._group_of(number, range(row, row + 1))

    def _group_of(self, number: int, rows: range) -> h5py.Group | PackedUsers:
        shard = self.shards[number]
        # Handles are not shared with a forked worker: each process opens its own.
        handle = (os.getpid(), number)
        if handle not in self._files:
            if len(self._files) >= _MOST_OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            self._files[handle] = PackedFile(shard.path) if shard.packed else open_file(shard.path)
        file = self._files[handle]
        return packed_users(file, shard, rows) if shard.packed else file["examples"][shard.users[rows.start]]


def open_dataset(
    shards: Sequence[str | Path],
    record: Path | None = None,
    simulation_for: str | None = None,
    text: TextFormat = TextFormat(),
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
    indices = [indexed(path, population, record, packed_index) for path in paths]
    _require_same_schema(indices)
    seen: set[str] = set()
    for index in indices:
        repeated = seen.intersection(index.users) if seen else ()
        if repeated:
            private = population is not None and population.kind == "private"
            who = "users" if private else count(len(repeated), "user")
            raise faulty(
                f"{index.path.name} repeats {who} of the other shards; every user belongs to one shard",
                dict.fromkeys(repeated, "is in two shards"),
                fault_folder(index.path, population, record),
            )
        if len(indices) > 1:
            seen.update(index.users)
    if not any(len(index.users) for index in indices):
        raise DataError("the shards hold no users: their group `examples` is empty")
    return FederatedDataset(indices, population, record, text)


def separator_of(examples: h5py.Group, text: TextFormat) -> str | None:
    """What a shard's `examples` say that separates the tokens of the column, if they do. DataError if it is no text."""
    separator = examples.attrs.get(text.separator_attribute)
    if isinstance(separator, bytes):
        # How h5py hands over text of fixed length.
        separator = separator.decode("utf-8", "ignore")
    if separator is not None and (not isinstance(separator, str) or not separator):
        raise DataError(f"the attribute {text.separator_attribute} of `examples` must be text, such as a tab")
    return separator


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


def _require_same_schema(indices: Sequence[ShardIndex]) -> None:
    filled = [index for index in indices if len(index.users)]
    for index in filled[1:]:
        for what in ("kind", "columns", "shape", "dtype", "labelled"):
            if getattr(index, what) != getattr(filled[0], what):
                raise DataError(f"{index.path.name} and {filled[0].path.name} differ in {what}")


def _stored(attributes: Mapping[str, object]) -> dict[str, object]:
    try:
        return dict(attributes)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError):
        pass
    # Outside the block: the error before it may carry the value.
    raise DataError("some attributes are damaged, or of a type that cannot be read; remove them from the shards")


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
