"""Users' public attributes (those of their groups in the shards), and who matches a predicate on them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedprobe.clients.data.index import DataError
from fedprobe.clients.data.shards import FederatedDataset
from fedprobe.privacy.predicates import Predicate, Value


@dataclass(frozen=True)
class Snapshot:
    """Users' attributes as they were when they were first asked for: `lines`, a JSON object a user, as bytes (uint8).

    Cohorts that were decided from the snapshot of one random `id` saw the same attributes of every user.
    """

    id: str
    lines: np.ndarray

    def __iter__(self) -> Iterator[dict[str, Value]]:
        return map(json.loads, self.lines.tobytes().splitlines())


def attribute_lines(dataset: FederatedDataset) -> np.ndarray:
    """The attributes of all users, as a `Snapshot` holds them."""
    lines = [json.dumps(dataset.attributes(user)) + "\n" for user in range(len(dataset))]
    return np.frombuffer("".join(lines).encode(), np.uint8)


def matching(snapshot: Snapshot, predicate: Predicate, private: bool) -> np.ndarray:
    """Which users match [users] (bool): each by her own attributes alone.

    Raises DataError where no user has an attribute that is named, or nobody matches, unless the population is private:
    that would tell.
    """
    found, known = [], set()
    for attributes in snapshot:
        known |= attributes.keys()
        found.append(predicate.holds(attributes))
    matches = np.array(found, bool)
    missing = sorted(predicate.names - known)
    if missing and not private:
        there = f"there are {', '.join(sorted(known))}" if known else "they have none"
        raise DataError(f"--where: no user of these shards has an attribute {missing[0]}; {there}")
    if not matches.any() and not private:
        raise DataError(f"nobody matches {predicate.text}; loosen --where, or leave the value out of --where-each")
    return matches
