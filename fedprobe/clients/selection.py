"""Which users, and which of their examples, a cohort's rule selects: what each device would decide alone.

How the primary model does on every example is measured once, in batches across users, and frozen beside the data;
every cohort of the same measurement is then decided from it, so that cohorts whose rules exclude each other share
no user.
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
from fedprobe.clients.data.corrupt import truth_of
from fedprobe.clients.data.index import DataError, stamp, write_faults
from fedprobe.clients.data.shards import FederatedDataset, TextError, UserBatch
from fedprobe.clients.density import Densities, log_densities, only
from fedprobe.clients.density import require_fit as require_public_fit
from fedprobe.models.classifier import Classifier, merge_case, predict
from fedprobe.models.public import PublicModel
from fedprobe.models.vocabulary import Vocabulary
from fedprobe.privacy.histogram import GaussianHistogram
from fedprobe.privacy.population import Population, folder_of, name_of, write_json
from fedprobe.privacy.randomness import key
from fedprobe.privacy.rules import CohortRule

_USERS_AT_ONCE = 64


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
class Members:
    """A cohort's users as positions [members], and what of theirs is selected.

    `rows` of each user (images, or sentences), or None for all. Words: those `outside` a vocabulary, or None for all.
    """

    users: np.ndarray
    rows: Sequence[np.ndarray] | None = None
    outside: Vocabulary | None = None

    def __len__(self) -> int:
        return len(self.users)

    def read(self, dataset: FederatedDataset, members: Sequence[int]) -> UserBatch:
        """The selected examples of `members` (positions in the cohort), in that order."""
        batch = dataset.read([int(self.users[member]) for member in members])
        if self.rows is None:
            return batch
        chosen = [self.rows[member] for member in members]
        flat = np.concatenate([np.zeros(0, np.int64), *(batch.offsets[i] + rows for i, rows in enumerate(chosen))])
        labels = None if batch.labels is None else batch.labels[flat]
        return UserBatch(batch.pixels[flat], labels, np.cumsum([0, *map(len, chosen)]))

    def sentences(self, dataset: FederatedDataset, member: int) -> list[list[str]]:
        """The selected sentences of one member (a position in the cohort)."""
        sentences = dataset.sentences(int(self.users[member]))
        return sentences if self.rows is None else [sentences[row] for row in self.rows[member]]

    def words(self, dataset: FederatedDataset, member: int) -> list[str]:
        """The selected tokens of one member (a position in the cohort), in order, repetitions and all (T3)."""
        tokens = [token for sentence in self.sentences(dataset, member) for token in sentence]
        return tokens if self.outside is None else [token for token in tokens if token not in self.outside]


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
    dataset: FederatedDataset, classes: int | None = None, on_users: Callable[[int], None] = lambda users: None
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
        faults = check(dataset, classes, on_users)
        bad = [user for user in range(len(dataset)) if dataset.user_id(user) in faults] if faults else []
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
) -> OovCounts:
    """Count every user's tokens and those outside `vocabulary`; none of users who are not `sound` [users] (None: all).

    Raises DataError where text cannot be read.
    """
    dataset.require_text()
    counts = np.zeros((len(dataset), 2), np.int64)
    for user in range(len(dataset)):
        for sentence in dataset.sentences(user) if sound is None or sound[user] else ():
            counts[user] += sum(token not in vocabulary for token in sentence), len(sentence)
        on_users(user + 1)
    return OovCounts(counts[:, 0], counts[:, 1])


def accuracy_histogram(measurement: Measurement, bins: GaussianHistogram) -> np.ndarray:
    """How many users have an accuracy in each of `bins` (int64 [bins]): each in one, unmeasured users in none.

    Stays beside the data until `bins.release` has noised it.
    """
    return bins.count(measurement.accuracy())


def membership_histogram(members: Members, counted: np.ndarray, bins: GaussianHistogram) -> np.ndarray:
    """How many of the users who are `counted` [users] (bool) are outside the cohort (0) and in it (1) (int64 [bins]).

    Stays beside the data until `bins.release` has noised it.
    """
    member = np.zeros(len(counted))
    member[members.users] = 1
    return bins.count(np.where(counted, member, np.nan))


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
) -> Measurement:
    """Measure every user with the primary model, or return the frozen measurement of this very snapshot.

    `primary_id` names the model's weights; `on_users` is told how many users are done. On a private population, users
    whose content is bad are left out (`sound_users`).
    Raises DataError where images or labels do not fit the primary model, or a shard cannot be read.
    """
    require_fit(dataset, primary)
    config = primary.config
    population = dataset.population
    frozen = None if population is None else frozen_measurement(dataset.paths, population, dataset.record, primary_id)
    if frozen is not None:
        on_users(len(dataset))
        return frozen
    sound = sound_users(dataset, config.labels) if is_private(dataset) else np.ones(len(dataset), bool)
    correct = [np.zeros(0, bool)]
    for start in range(0, len(dataset), _USERS_AT_ONCE):
        users = range(start, min(start + _USERS_AT_ONCE, len(dataset)))
        batch = dataset.read([user for user in users if sound[user]])
        images = torch.from_numpy(batch.pixels).mul(2).sub_(1).to(device)
        labels = torch.from_numpy(batch.labels)
        guesses = predict(primary, images).argmax(1).cpu()
        correct.append((guesses == (merge_case(labels) if config.merge_case else labels)).numpy())
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
    sound = sound_users(dataset) if is_private(dataset) else np.ones(len(dataset), bool)
    values = log_densities(dataset, public.density, np.flatnonzero(sound).tolist(), on_users)
    counts = np.zeros(len(dataset), np.int64)
    counts[sound] = [len(one) for one in values]
    flat = np.concatenate([np.zeros(0), *values])
    densities = Densities(secrets.token_hex(8), flat, np.concatenate([[0], np.cumsum(counts)]))
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


def decide(
    rule: CohortRule,
    dataset: FederatedDataset,
    measurement: Measurement | None = None,
    vocabulary: Vocabulary | None = None,
    counts: OovCounts | None = None,
    sound: np.ndarray | None = None,
    densities: Densities | None = None,
) -> Members:
    """The users, and the examples of each, that `rule` selects.

    `measurement` is for rules with a primary model, `densities` for `unlike-public`, `vocabulary` and its `counts` are
    for `oov-words`; users who are not `sound` [users] (None: all) belong nowhere. Raises DataError if it selects
    nobody, but on a private population: that would tell.
    """
    match rule.criterion:
        case "oov-words":
            members = Members(np.flatnonzero(counts.oov >= rule.min_examples), outside=vocabulary)
        case "random":
            share = _random_share(rule, dataset)
            members = Members(np.flatnonzero(share if sound is None else share & sound))
        case "low-accuracy":
            members = Members(np.flatnonzero(measurement.accuracy() < rule.below))
        case "high-accuracy":
            members = Members(np.flatnonzero(measurement.accuracy() > rule.above))
        case "unlike-public":
            members = _by_example(densities.log_density <= rule.at_most, densities.offsets, rule.min_examples)
        case _:
            wanted = measurement.correct == (rule.criterion == "correct")
            members = _by_example(wanted, measurement.offsets, rule.min_examples)
    if not len(members) and not (dataset is not None and is_private(dataset)):
        raise DataError(f"the cohort {rule.criterion} is empty: nobody matches {rule.says()}; loosen its thresholds")
    return members


def rehearsed_users(dataset: FederatedDataset) -> set[int] | None:
    """The positions of the users that a rehearsed bug struck, from the truth beside the data; None if none is known."""
    if dataset.population is None:
        return None
    truths = [truth_of(dataset.population, path) for path in dataset.paths]
    # A bug may strike sentences rather than users; then there are no such users.
    known = [json.loads(truth.read_text()).get("users") for truth in truths if truth.exists()]
    known = [users for users in known if users is not None]
    struck = {user for users in known for user in users}
    return {position for position, user in enumerate(dataset.users) if user in struck} if known else None


def _random_share(rule: CohortRule, dataset: FederatedDataset) -> np.ndarray:
    if rule.share is None:
        return np.ones(len(dataset), bool)
    threshold = int(rule.share * 2**63)
    drawn = (key(rule.seed, "share", user) < threshold for shard in dataset.shards for user in shard.users)
    return np.fromiter(drawn, bool, len(dataset))


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


def _by_example(wanted: np.ndarray, offsets: np.ndarray, least: int) -> Members:
    """The users with at least so many `wanted` [examples] (bool) examples, and which of hers those are."""
    users, rows = [], []
    for user, (start, stop) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        chosen = np.flatnonzero(wanted[start:stop])
        if len(chosen) >= least:
            users.append(user)
            rows.append(chosen)
    return Members(np.array(users, np.int64), rows)


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
