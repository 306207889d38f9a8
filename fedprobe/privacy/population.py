"""The record of a population, kept beside its data: which population the shards are, and what kind.

`.fedprobe/populations.json` maps file names to population ids; `.fedprobe/ID/record.json` holds the record. No
record means private: nothing may be trained on or counted.
"""

import json
import os
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fedprobe.errors import FedprobeError

KINDS = ("private", "simulation")
FOLDER = ".fedprobe"


class PrivacyRefusal(FedprobeError):
    """Refused to protect the users. The message says what to do instead."""

    exit_code = 4


class PopulationError(FedprobeError):
    """The record cannot be used as it was asked to be."""

    exit_code = 2


@dataclass(frozen=True)
class Population:
    """A population of users: a random `id`, its `kind`, and what `init` fixed about it.

    `kind`: `private` (every number shown is a DP release) or `simulation` (public proxy data; exact figures).
    `budget_epsilon`, `delta`: what the ledger will hold all releases to; None where not fixed.
    """

    id: str
    kind: str
    budget_epsilon: float | None = None
    delta: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PopulationError(f"the kind of a population is one of {', '.join(KINDS)}")
        if self.budget_epsilon is not None and not 0 < self.budget_epsilon < float("inf"):
            raise PopulationError("the budget must be a positive finite epsilon")
        if self.delta is not None and not 0 < self.delta < 1:
            raise PopulationError("delta must lie between 0 and 1")


def require_simulation(population: Population | None, what: str) -> Population:
    """The population if it is registered as a simulation; PrivacyRefusal, with the way out, if it is not."""
    if population is None:
        raise PrivacyRefusal(
            f"{what}: these shards are not registered, so they count as private. If they are public "
            "proxy data, say so once with: fedprobe init SHARDS --kind simulation"
        )
    if population.kind != "simulation":
        raise PrivacyRefusal(
            f"{what} on a private population: this version of fedprobe has no ledger yet, so it works "
            "on simulations only"
        )
    return population


def register(
    files: list[Path],
    kind: str | None = None,
    budget_epsilon: float | None = None,
    delta: float | None = None,
    record: Path | None = None,
) -> tuple[Population, bool]:
    """Register `files` as one population, or tighten the record they have; return it and whether it is new.

    A new record is private unless `kind` says otherwise. An existing one only tightens: simulation may become
    private, a budget or delta may shrink. Raises PopulationError for anything that loosens, and for files of two
    populations.
    """
    registered = [file for file in files if _ids([file], record) != {None}]
    known = _load(_ids(registered, record), registered[0], record) if registered else None
    if known is None:
        population = Population(secrets.token_hex(8), kind or "private", budget_epsilon, delta)
    else:
        population = _tightened(known, kind, budget_epsilon, delta)
    carry(population, files, record)
    return population, known is None


def lookup(files: list[Path], record: Path | None = None) -> Population | None:
    """The population of `files`, or None if none of them is registered.

    Raises PopulationError where they belong to two, or only some of them to one.
    """
    ids = _ids(files, record)
    if None in ids and len(ids) > 1:
        raise PopulationError(
            "some of these shards are registered and some are not; register them together with: fedprobe init"
        )
    return _load(ids - {None}, files[0], record)


def carry(population: Population, files: list[Path], record: Path | None = None) -> None:
    """Write `population` down as that of `files`, beside each of them (or in the folder `record`)."""
    for folder in {_folder(file, record) for file in files}:
        (folder / population.id).mkdir(parents=True, exist_ok=True)
        write_json(folder / population.id / "record.json", asdict(population))
        names = _read_map(folder)
        names |= {_name(file, record): population.id for file in files if _folder(file, record) == folder}
        write_json(folder / "populations.json", names)


def folder_of(population: Population, file: Path, record: Path | None = None) -> Path:
    """The folder beside `file` that holds what fedprobe keeps about its population."""
    return _folder(file, record) / population.id


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON to a temporary name, then rename: readers see the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.temporary")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(temporary, path)


def _ids(files: list[Path], record: Path | None) -> set[str | None]:
    return {_read_map(_folder(file, record)).get(_name(file, record)) for file in files}


def _load(ids: set[str], file: Path, record: Path | None) -> Population | None:
    if len(ids) > 1:
        raise PopulationError("these shards belong to two populations; give the shards of one at a time")
    if not ids:
        return None
    path = _folder(file, record) / ids.pop() / "record.json"
    try:
        return Population(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise PopulationError(f"the population's record {path} cannot be read; restore it from a copy") from error


def _tightened(known: Population, kind: str | None, budget: float | None, delta: float | None) -> Population:
    if kind == "simulation" and known.kind == "private":
        raise PopulationError("these shards are registered as private, and private data never becomes a simulation")
    for name, old, new in (("budget", known.budget_epsilon, budget), ("delta", known.delta, delta)):
        if old is not None and new is not None and new > old:
            raise PopulationError(f"the {name} of these shards is fixed at {old:g}; it can only be tightened")
    return replace(
        known,
        kind=kind or known.kind,
        budget_epsilon=known.budget_epsilon if budget is None else budget,
        delta=known.delta if delta is None else delta,
    )


def _folder(file: Path, record: Path | None) -> Path:
    return record if record is not None else file.parent / FOLDER


def _name(file: Path, record: Path | None) -> str:
    # One record folder may serve shards of several folders: there, names are whole paths.
    return file.name if record is None else str(file.resolve())


def _read_map(folder: Path) -> dict[str, str]:
    path = folder / "populations.json"
    if not path.exists():
        return {}
    try:
        names = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PopulationError(f"{path} cannot be read; restore it from a copy") from error
    if not isinstance(names, dict):
        raise PopulationError(f"{path} is not a map from file names to populations; restore it from a copy")
    return names
