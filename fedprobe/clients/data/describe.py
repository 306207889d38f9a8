"""What the data steward may be told of shards: schema, counts and faults; never contents, never ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedprobe.clients.data.shards import FederatedDataset


@dataclass(frozen=True)
class Description:
    """The schema and the counts of a federated data set."""

    shards: Sequence[Path]
    users: int
    examples: int
    examples_per_user: tuple[int, int, int]
    height: int
    width: int
    channels: int
    dtype: str
    labelled: bool
    columns: tuple[str, ...]
    kind: str


def describe(dataset: FederatedDataset) -> Description:
    """Describe `dataset` from its index alone; `examples_per_user` is least, median, most."""
    counts = dataset.examples
    channels, height, width = dataset.shape
    return Description(
        dataset.paths,
        len(dataset),
        int(counts.sum()),
        (int(counts.min()), int(np.median(counts)), int(counts.max())),
        height,
        width,
        channels,
        dataset.dtype,
        dataset.labelled,
        dataset.columns,
        "unregistered" if dataset.population is None else dataset.population.kind,
    )
