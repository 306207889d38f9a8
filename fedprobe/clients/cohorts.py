"""Cohorts: a rule decided on a data set, and the file of it that the modeler may hold.

A cohort file carries the rule, its public thresholds and counts; never a user id. Who is in it is decided again
from the measurement that is frozen beside the data, which the file names by a random id.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedprobe.clients.data.shards import DataError, FederatedDataset
from fedprobe.clients.data.vocabulary import made_here
from fedprobe.clients.selection import Measurement, Members, OovCounts, count_oov, decide, measure
from fedprobe.errors import RequestError
from fedprobe.models.primary import load_primary
from fedprobe.models.vocabulary import Vocabulary, read_vocabulary
from fedprobe.privacy.population import require_simulation, write_json
from fedprobe.privacy.randomness import key
from fedprobe.privacy.rules import CohortRule

SCHEMA = "fedprobe.cohort/1"
_FILES = ("primary", "vocabulary")


@dataclass(frozen=True)
class Cohort:
    """A rule, its members, and what they were decided with.

    `primary` and `measurement` for a rule that measures users, `vocabulary` (a file) and `counts` for `oov-words`;
    None where the rule needs none.
    """

    rule: CohortRule
    members: Members
    primary: str | None = None
    measurement: Measurement | None = None
    vocabulary: str | None = None
    counts: OovCounts | None = None

    def member_keys(self, dataset: FederatedDataset) -> list[int]:
        """A hash of each member's id, which stands for her where a draw must be reproducible."""
        return [key(dataset.user_id(int(user))) for user in self.members.users]

    def conditional_on(self, dataset: FederatedDataset, provenance: str | None = None) -> str | None:
        """What decided the cohort and may know these users, if anything: an epsilon covers only what is learned beyond.

        A `primary model` does unless it was fixed independently of these users: one that was trained in the clear on
        this very population does, and one that its folder or `provenance` (what the modeler says of it) calls
        `conditional`. For a `vocabulary` see `vocabulary_known`.
        """
        if self.vocabulary is not None:
            return vocabulary_known(dataset, self.members.outside, provenance)
        if self.primary is None:
            return None
        _, description = load_primary(Path(self.primary))
        trained_here = description.get("population") == dataset.population.id
        said = (provenance, description.get("provenance", "conditional"))
        return "primary model" if trained_here or "conditional" in said else None

    def to_json(self, dataset: FederatedDataset) -> dict:
        """The cohort file: no ids. Raises PrivacyRefusal unless the population is a simulation: counts are exact."""
        require_simulation(dataset.population, "counting a cohort")
        value = {
            "schema": SCHEMA,
            "population": dataset.population.id,
            "rule": self.rule.to_json(),
            "primary": self.primary,
            "measurement": None if self.measurement is None else self.measurement.id,
            "vocabulary": self.vocabulary,
            "count": len(self.members),
            "count_is": "exact-simulation",
        }
        if self.measurement is not None:
            percentiles = np.nanpercentile(self.measurement.accuracy(), [25, 50, 75])
            value["accuracy_percentiles"] = dict(zip(("25", "50", "75"), percentiles.tolist(), strict=True))
            value["accuracy_percentiles_are"] = "exact-simulation"
        if self.counts is not None:
            value["oov_rate"] = self.counts.rate
            value["oov_rate_is"] = "exact-simulation"
        return value


def vocabulary_known(dataset: FederatedDataset, vocabulary: Vocabulary, provenance: str | None) -> str | None:
    """`vocabulary` if it may know these users: counted on them, or not said to be `public` or `dp` by `provenance`."""
    return "vocabulary" if made_here(dataset, vocabulary) or provenance not in ("public", "dp") else None


def decide_cohort(
    dataset: FederatedDataset,
    rule: CohortRule,
    primary: Path | None = None,
    device: str = "cpu",
    on_users: Callable[[int], None] = lambda users: None,
    vocabulary: Path | None = None,
) -> Cohort:
    """Measure `dataset` with the model in `primary`, or with `vocabulary`, where `rule` needs it, and decide the rule.

    Raises DataError for an empty cohort or data that does not fit, StoredError for a damaged model, RequestError where
    a rule needs a primary model and none is given.
    """
    if rule.needs_vocabulary:
        if vocabulary is None:
            raise RequestError(f"the cohort {rule.criterion} needs --vocabulary FILE, to know what is outside it")
        words = read_vocabulary(vocabulary)
        counts = count_oov(dataset, words, on_users)
        members = decide(rule, dataset, vocabulary=words, counts=counts)
        return Cohort(rule, members, vocabulary=str(vocabulary), counts=counts)
    if not rule.needs_primary:
        return Cohort(rule, decide(rule, dataset))
    if primary is None:
        raise RequestError(
            f"the cohort {rule.criterion} needs --primary MODEL, the classifier to measure users with "
            "(or [primary] model in fedprobe.toml)"
        )
    model, description = load_primary(primary, device)
    measurement = measure(dataset, model, description["tensors_sha256"], device, on_users)
    return Cohort(rule, decide(rule, dataset, measurement), str(primary), measurement)


def read_cohort(
    path: Path,
    dataset: FederatedDataset,
    device: str = "cpu",
    on_users: Callable[[int], None] = lambda users: None,
) -> Cohort:
    """Decide again the cohort that the file `path` describes, on the data set it was made for.

    Raises DataError if the file is not a cohort's, was made for another data set, or the data changed since.
    """
    try:
        value = json.loads(path.read_text())
        if value["schema"] != SCHEMA:
            raise ValueError("another schema")
        rule = CohortRule(**value["rule"])
        population, measured = value["population"], value["measurement"]
        primary, vocabulary = (None if value.get(name) is None else Path(value[name]) for name in _FILES)
        if rule.needs_vocabulary and vocabulary is None:
            raise ValueError("no vocabulary")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is not a readable cohort file; make it with: fedprobe select") from error
    if dataset.population is None or population != dataset.population.id:
        raise DataError(f"{path} was made for another data set; select the cohort on these shards")
    if rule.needs_vocabulary and read_vocabulary(vocabulary).digest != rule.vocabulary:
        raise DataError(f"the vocabulary changed since {path} was made; select the cohort again")
    cohort = decide_cohort(dataset, rule, primary, device, on_users, vocabulary)
    if cohort.measurement is not None and cohort.measurement.id != measured:
        raise DataError(f"the shards or the primary model changed since {path} was made; select the cohort again")
    return cohort


def write_cohort(path: Path, value: dict) -> None:
    """Write a cohort file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, value)
