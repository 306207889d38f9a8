"""Users' public attributes (those of their groups in the shards), and who matches a predicate on them."""

from dataclasses import dataclass

import numpy as np

from fedprobe.clients.data.index import DataError
from fedprobe.clients.data.shards import FederatedDataset
from fedprobe.privacy.predicates import Predicate


@dataclass(frozen=True)
class Snapshot:
    """That users were looked at: as long as the random `id` is found again, no attribute changed."""

    id: str


def matching(dataset: FederatedDataset, predicate: Predicate, private: bool) -> np.ndarray:
    """Which users match [users] (bool): each by her own attributes alone.

    Raises DataError where no user has an attribute that is named, or nobody matches, unless the population is private:
    that would tell.
    """
    matches, known = np.zeros(len(dataset), bool), set()
    for user in range(len(dataset)):
        attributes = dataset.attributes(user)
        known |= attributes.keys()
        matches[user] = predicate.holds(attributes)
    missing = sorted(predicate.names - known)
    if missing and not private:
        there = f"there are {', '.join(sorted(known))}" if known else "they have none"
        raise DataError(f"--where: no user of these shards has an attribute {missing[0]}; {there}")
    if not matches.any() and not private:
        raise DataError(f"nobody matches --where {predicate.text}; loosen it")
    return matches
