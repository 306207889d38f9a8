"""Measuring every user for the cohorts: who is sound, what a model says of her examples, what is out of vocabulary.

What a model says of every example is measured once, in batches across users, and frozen beside the data; every cohort
of the same measurement is then decided from it, so that cohorts whose rules exclude each other share no user. Runs of
users are measured by several processes; who measures whom decides nothing.
"""

import json
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from fedprobe.clients.attributes import Snapshot, attribute_lines
from fedprobe.clients.data.checking import check
from fedprobe.clients.data.index import DataError, stamp, write_faults
from fedprobe.clients.data.shards import FederatedDataset, TextError
from fedprobe.clients.density import Densities, log_densities, only
from fedprobe.clients.density import require_fit as require_public_fit
from fedprobe.clients.processes import in_processes
from fedprobe.models.classifier import Classifier, merge_case, predict
from fedprobe.models.public import PublicModel
from fedprobe.models.vocabulary import Vocabulary
from fedprobe.privacy.population import Population, folder_of, name_of, write_json

# Of pixels as they are read, and how many images a process measures at once: enough to fill the model's batches.
_BYTES_AT_ONCE = 1 << 24
_IMAGES_AT_ONCE = (256, 2048)
_SENTENCES_AT_ONCE = 4096


@dataclass(frozen=True)
class Measurement:
    """Whether the primary model gets each example right (`correct` [examples] bool, user by user; `offsets`).

    `id` is random, so that a cohort file may carry it. A user of a private population whose content is bad has no
    measured example.
    """

    id: str
    correct: np.ndarray
    offsets: np.ndarray

    def accuracy(self) -> np.ndarray:
        """Each user's accuracy [users]; NaN, which no threshold selects, for users without measured examples."""
        right = np.concatenate([[0], np.cumsum(self.correct)])[self.offsets]
        with np.errstate(invalid="ignore"):
            return np.diff(right) / np.diff(self.offsets)

    @property
    def measured(self) -> np.ndarray:
        """Which users have measured examples [users] (bool)."""
        return np.diff(self.offsets) > 0

    def of(self, users: np.ndarray) -> "Measurement":
        """The same where only these `users` [users] (bool) have measured examples."""
        return Measurement(self.id, *only(users, self.correct, self.offsets))


@dataclass(frozen=True)
class OovCounts:
    """How many tokens each user has, and how many of them are out of vocabulary [users]."""

    oov: np.ndarray
    tokens: np.ndarray

    @property
    def rate(self) -> float:
        """The share of all tokens that are out of vocabulary (paper, Table 6); 0 where there are none."""
        return float(self.oov.sum() / max(1, self.tokens.sum()))

    def of(self, users: np.ndarray) -> "OovCounts":
        """The same where only these `users` [users] (bool) have tokens."""
        return OovCounts(self.oov * users, self.tokens * users)


def is_private(dataset: FederatedDataset) -> bool:
    """Whether the shards are registered as a private population: then nothing about single users may show."""
    return dataset.population is not None and dataset.population.kind == "private"


def sound_users(
    dataset: FederatedDataset,
    classes: int | None = None,
    on_users: Callable[[int], None] = lambda users: None,
    workers: int | None = None,
) -> np.ndarray:
    """Which users of a private population have examples, all of them with content that can be used [users] (bool).

    The others are members of no cohort, silently; who they are, and why, is written beside the data. `classes` is how
    many labels there are. Remembered beside the shards until they change.
    Raises DataError where a shard cannot be read: a fault of the file, not of one user's content.
    """
    kept = dataset.folder / f"content-{'any' if classes is None else classes}.json"
    state = {
        "shards": [[name_of(path, dataset.record), *stamp(path)] for path in dataset.paths],
        "classes": classes,
        "text": asdict(dataset.text) if dataset.kind == "text" else None,
    }
    bad = _remembered(kept, state)
    if bad is None:
        faults = check(dataset, classes, on_users, workers)
        bad = [position for position, user in enumerate(dataset.ids()) if user in faults] if faults else []
        for user in bad:
            _require_readable(dataset, user)
        if faults:
            write_faults(faults, dataset.folder)
        write_json(kept, {"state": state, "bad": bad})
    on_users(len(dataset))
    sound = np.ones(len(dataset), bool)
    sound[bad] = False
    return sound


def count_oov(
    dataset: FederatedDataset,
    vocabulary: Vocabulary,
    on_users: Callable[[int], None] = lambda users: None,
    sound: np.ndarray | None = None,
    workers: int | None = None,
) -> OovCounts:
    """Count every user's tokens and those outside `vocabulary`; none of users who are not `sound` [users] (None: all).

    Raises DataError where text cannot be read.
    """
    dataset.require_text()

    def count(users: range) -> np.ndarray:
        counts = np.zeros((len(users), 2), np.int64)
        chosen = [user for user in users if sound is None or sound[user]]
        for user, sentences in zip(chosen, dataset.texts(chosen), strict=True):
            counts[user - users.start] = sum(map(vocabulary.outside, sentences)), sum(map(len, sentences))
        return counts

    counts = np.zeros((len(dataset), 2), np.int64)
    runs = dataset.runs(_SENTENCES_AT_ONCE)
    for users, counted in zip(runs, in_processes(count, runs, workers), strict=True):
        counts[users.start : users.stop] = counted
        on_users(users.stop)
    return OovCounts(counts[:, 0], counts[:, 1])


def require_fit(dataset: FederatedDataset, primary: Classifier) -> None:
    """Raise DataError unless the images and labels are such as the primary model takes."""
    dataset.require_labels()
    config = primary.config
    if dataset.shape != (config.channels, config.height, config.width):
        raise DataError("the images are not of the size that the primary model takes")


def measure(
    dataset: FederatedDataset,
    primary: Classifier,
    primary_id: str,
    device: str = "cpu",
    on_users: Callable[[int], None] = lambda users: None,
    workers: int | None = None,
) -> Measurement:
    """Measure every user with the primary model, or return the frozen measurement of this very snapshot.

    `primary_id` names the model's weights; `on_users` is told how many users are done, by so many `workers` (None: one
    a core). On a private population, users whose content is bad are left out (`sound_users`).
    Raises DataError where images or labels do not fit the primary model, or a shard cannot be read.
    """
    require_fit(dataset, primary)
    config = primary.config
    population = dataset.population
    frozen = None if population is None else frozen_measurement(dataset.paths, population, dataset.record, primary_id)
    if frozen is not None:
        on_users(len(dataset))
        return frozen
    workers = workers if device == "cpu" else 1
    everybody = np.ones(len(dataset), bool)
    sound = sound_users(dataset, config.labels, workers=workers) if is_private(dataset) else everybody

    def right(users: range) -> np.ndarray:
        batch = dataset.read([user for user in users if sound[user]])
        images = torch.from_numpy(batch.pixels).mul_(2).sub_(1).to(device)
        labels = torch.from_numpy(batch.labels)
        guesses = predict(primary, images).argmax(1).cpu()
        return (guesses == (merge_case(labels) if config.merge_case else labels)).numpy()

    correct = [np.zeros(0, bool)]
    least, most = _IMAGES_AT_ONCE
    runs = dataset.runs(min(most, max(least, _BYTES_AT_ONCE // (4 * int(np.prod(dataset.shape))))))
    for users, some in zip(runs, in_processes(right, runs, workers), strict=True):
        correct.append(some)
        on_users(users.stop)
    measurement = Measurement(
        secrets.token_hex(8),
        np.concatenate(correct),
        np.concatenate([[0], np.cumsum(np.where(sound, dataset.examples, 0))]),
    )
    if population is not None:
        folder, snapshot = _snapshot(dataset.paths, population, dataset.record, primary_id)
        _freeze(folder, snapshot, measurement)
    return measurement


def measure_density(
    dataset: FederatedDataset,
    public: PublicModel,
    on_users: Callable[[int], None] = lambda users: None,
    workers: int | None = None,
) -> Densities:
    """Measure how likely every user's examples are under the public model, or return what is frozen of this snapshot.

    `on_users` is told how many users are done. On a private population, users whose content is bad are left out.
    Raises DataError where the examples do not fit the model, or a shard cannot be read.
    """
    require_public_fit(dataset, public)
    population = dataset.population
    if population is not None:
        folder, snapshot = _snapshot(dataset.paths, population, dataset.record, public.digest)
        snapshot |= {"text": asdict(dataset.text)} if dataset.kind == "text" else {}
        frozen = _find(folder, snapshot, Densities)
        if frozen is not None:
            on_users(len(dataset))
            return frozen
    sound = sound_users(dataset, workers=workers) if is_private(dataset) else np.ones(len(dataset), bool)
    values, offsets = log_densities(dataset, public.density, sound, on_users, workers)
    densities = Densities(secrets.token_hex(8), values, offsets)
    if population is not None:
        _freeze(folder, snapshot, densities)
    return densities


def freeze_attributes(dataset: FederatedDataset) -> Snapshot:
    """The attributes of all users, or what is frozen of them about this very snapshot of the shards.

    Frozen, so that nobody is in two cohorts that exclude each other though the shards change unnoticed: other
    attributes of the same size leave a file's size as it is, and its time may be set back.
    """
    if dataset.population is None:
        return Snapshot(secrets.token_hex(8), attribute_lines(dataset))
    folder, snapshot = _snapshot(dataset.paths, dataset.population, dataset.record, "attributes")
    found = _find(folder, snapshot, Snapshot)
    if found is None:
        found = Snapshot(secrets.token_hex(8), attribute_lines(dataset))
        _freeze(folder, snapshot, found)
    return found


def frozen_measurement(
    paths: Sequence[Path], population: Population, record: Path | None, primary_id: str
) -> Measurement | None:
    """What was frozen about this very snapshot of the shards at `paths`, which are not opened; None if nothing was."""
    return _find(*_snapshot(paths, population, record, primary_id), Measurement)


def frozen_attributes(paths: Sequence[Path], population: Population, record: Path | None) -> Snapshot | None:
    """The attributes that were frozen of this very snapshot of the shards at `paths`; None, and unopened, as above."""
    return _find(*_snapshot(paths, population, record, "attributes"), Snapshot)


def _require_readable(dataset: FederatedDataset, user: int) -> None:
    """Raise DataError if a user's data cannot be read at all; not if it is only her content that cannot be used."""
    if dataset.kind == "images":
        dataset.read([user])
        return
    try:
        dataset.sentences(user)
    except TextError:
        pass


def _remembered(kept: Path, state: dict) -> list[int] | None:
    """The users with bad content that `kept` lists for this very `state` of the shards; None if it does not."""
    try:
        value = json.loads(kept.read_text())
        return value["bad"] if value["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _snapshot(paths: Sequence[Path], population: Population, record: Path | None, primary_id: str) -> tuple[Path, dict]:
    """Where measurements of a population are frozen, and what tells the one by this model of shards as they are now."""
    shards = [[name_of(path, record), *stamp(path)] for path in paths]
    return folder_of(population, paths[0], record) / "measurements", {"primary": primary_id, "shards": shards}


def _find(folder: Path, snapshot: dict, kind: type) -> Measurement | Densities | Snapshot | None:
    names = [field.name for field in fields(kind) if field.name != "id"]
    for description in sorted(folder.glob("*.json")):
        try:
            if json.loads(description.read_text()) == snapshot:
                with np.load(description.with_suffix(".npz"), allow_pickle=False) as kept:
                    return kind(description.stem, *(kept[name] for name in names))
        except (OSError, ValueError, KeyError, BadZipFile):
            # Damaged by a crash: measured again, under another id.
            continue
    return None


def _freeze(folder: Path, snapshot: dict, measurement: Measurement | Densities | Snapshot) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{measurement.id}.{os.getpid()}.npz"
    np.savez(temporary, **{name: values for name, values in vars(measurement).items() if name != "id"})
    os.replace(temporary, folder / f"{measurement.id}.npz")
    # The description last: a measurement is found only when it is whole.
    description = folder / f"{measurement.id}.json"
    temporary.with_suffix(".temporary").write_text(json.dumps(snapshot))
    os.replace(temporary.with_suffix(".temporary"), description)
