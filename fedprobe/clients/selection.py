"""Which users, and which of their examples, a cohort's rule selects: what each device would decide alone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedprobe.clients.data.corrupt import truth_of
from fedprobe.clients.data.index import DataError
from fedprobe.clients.data.shards import FederatedDataset, UserBatch
from fedprobe.clients.density import Densities
from fedprobe.clients.measuring import Measurement, OovCounts, is_private
from fedprobe.models.vocabulary import Vocabulary
from fedprobe.privacy.histogram import GaussianHistogram
from fedprobe.privacy.randomness import key
from fedprobe.privacy.rules import CohortRule


@dataclass(frozen=True)
class Rows(Sequence[np.ndarray]):
    """Rows of many users in one array (`flat`, user by user; `offsets`): an array a user takes ten times as much."""

    flat: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, wanted: np.ndarray, offsets: np.ndarray) -> "Rows":
        """Which of each user's examples are `wanted` [examples] (bool), user by user as `offsets` say."""
        counts = np.diff(np.concatenate([[0], np.cumsum(wanted)])[offsets])
        flat = np.flatnonzero(wanted) - np.repeat(offsets[:-1], counts)
        return cls(flat, np.concatenate([[0], np.cumsum(counts)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> np.ndarray:
        return self.flat[self.offsets[user] : self.offsets[user + 1]]


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


def rehearsed_users(dataset: FederatedDataset) -> np.ndarray | None:
    """The users (positions) that a rehearsed bug struck, from the truth beside the data; None if none is known."""
    if dataset.population is None:
        return None
    truths = [truth_of(dataset.population, path) for path in dataset.paths]
    # A bug may strike sentences rather than users; then there are no such users.
    known = [json.loads(truth.read_text()).get("users") for truth in truths if truth.exists()]
    known = [users for users in known if users is not None]
    struck = {user for users in known for user in users}
    positions = (position for position, user in enumerate(dataset.ids()) if user in struck)
    return np.fromiter(positions, np.int64) if known else None


def _random_share(rule: CohortRule, dataset: FederatedDataset) -> np.ndarray:
    if rule.share is None:
        return np.ones(len(dataset), bool)
    threshold = int(rule.share * 2**63)
    drawn = (key(rule.seed, "share", user) < threshold for user in dataset.ids())
    return np.fromiter(drawn, bool, len(dataset))


def _by_example(wanted: np.ndarray, offsets: np.ndarray, least: int) -> Members:
    """The users with at least so many `wanted` [examples] (bool) examples, and which of hers those are."""
    counts = np.diff(np.concatenate([[0], np.cumsum(wanted)])[offsets])
    users = counts >= least
    rows = Rows.of(wanted & np.repeat(users, np.diff(offsets)), offsets)
    return Members(np.flatnonzero(users), Rows(rows.flat, np.concatenate([[0], np.cumsum(counts[users])])))
