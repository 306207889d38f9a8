"""Cohort files: what the modeler may hold of a cohort, written and read back.

A file carries the rule, its public thresholds, and counts where they are exact (a simulation) or were released by a
histogram that the ledger was charged for; never a user id. Who is in it is decided again from the measurement that is
frozen beside the data, which the file names by a random id.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from fedprobe.clients.cohorts import SCHEMA, THRESHOLDS_ARE, Cohort, decide_cohort
from fedprobe.clients.data.shards import DataError, FederatedDataset
from fedprobe.models.vocabulary import read_vocabulary
from fedprobe.privacy.entries import Cell
from fedprobe.privacy.population import Population, write_json
from fedprobe.privacy.rules import CohortRule

_FILES = ("primary", "vocabulary", "public")
# What a cohort file holds of a release, the histogram aside.
_RELEASED = (
    *("count", "count_is", "count_standard_error", "users", "users_standard_error"),
    *("noise_multiplier", "epsilon", "delta", "ledger_entry", "accuracy_percentiles", "accuracy_percentiles_are"),
    "accuracy_percentile_intervals",
)


def read_cohort(
    path: Path,
    dataset: FederatedDataset,
    device: str = "cpu",
    on_users: Callable[[int], None] = lambda users: None,
    workers: int | None = None,
) -> Cohort:
    """Decide again the cohort that the file `path` describes, on the data set it was made for.

    What was released about it is the file's; nothing is released again.

    Raises DataError if the file is not a cohort's, was made for another data set, or the data changed since.
    """
    value = _read(path)
    try:
        rule = CohortRule(**value["rule"])
        measured = value["measurement"]
        primary, vocabulary, public = (None if value.get(name) is None else Path(value[name]) for name in _FILES)
        if rule.needs_public and public is None:
            raise ValueError("no public model")
        if rule.needs_vocabulary and vocabulary is None:
            raise ValueError("no vocabulary")
        thresholds_are = value.get("thresholds_are", "public")
        if thresholds_are not in THRESHOLDS_ARE:
            raise ValueError("thresholds of another kind")
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable(path) from error
    released = _released(path, value)
    require_made_for(path, dataset.population)
    if rule.needs_vocabulary and read_vocabulary(vocabulary).digest != rule.vocabulary:
        raise DataError(f"the vocabulary changed since {path} was made; select the cohort again")
    cohort = decide_cohort(dataset, rule, primary, device, on_users, vocabulary, public, workers=workers)
    if cohort.measurement is not None and cohort.measurement.id != measured:
        raise DataError(f"the shards or the model changed since {path} was made; select the cohort again")
    return replace(cohort, thresholds_are=thresholds_are, released=released)


def require_made_for(path: Path, population: Population | None) -> None:
    """Raise DataError unless the cohort file `path` was made for `population`."""
    made_for = _read(path).get("population")
    if made_for is None:
        raise _unreadable(path)
    if population is None or made_for != population.id:
        raise DataError(f"{path} was made for another data set; select the cohort on these shards")


def released_count(path: Path) -> int | None:
    """The DP count in the cohort file `path`, which is public, or None. Raises DataError if it is no cohort's file."""
    released = _released(path, _read(path))
    return None if released is None else released["count"]


def read_rule(path: Path) -> CohortRule:
    """The rule in the cohort file `path`. Raises DataError if it is no cohort's file."""
    value = _read(path)
    try:
        return CohortRule(**value["rule"])
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable(path) from error


def cell_of(path: Path) -> Cell | None:
    """The users that the cohort file `path` says it can hold, if a threshold on a frozen measurement tells them.

    For a look ahead only: what is reserved is the cell of the cohort as it is decided again.
    Raises DataError if it is no cohort's file.
    """
    value = _read(path)
    try:
        return Cell.of(CohortRule(**value["rule"]), value["measurement"])
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable(path) from error


def _read(path: Path) -> dict:
    try:
        value = json.loads(path.read_text())
        if value["schema"] != SCHEMA:
            raise ValueError("another schema")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _unreadable(path) from error
    return value


def _released(path: Path, value: dict) -> dict | None:
    """The figures that a cohort file says were released; None if it says that none were."""
    if value.get("count_is") != "dp":
        return None
    released = {name: value.get(name) for name in _RELEASED if name in value}
    if type(released.get("count")) is not int or released["count"] < 1:
        raise _unreadable(path)
    return released


def _unreadable(path: Path) -> DataError:
    if path.exists():
        return DataError(f"{path} is not a readable cohort file; make it with: fedprobe select")
    near = get_close_matches(path.name, [other.name for other in path.parent.glob("*.json")], n=1)
    meant = f"did you mean {near[0]}? Or " if near else ""
    return DataError(f"{path} is not there; {meant}make it with: fedprobe select")


def write_cohort(path: Path, value: dict) -> None:
    """Write a cohort file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, value)
