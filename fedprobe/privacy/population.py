"""The record of a population, kept beside its data: which population the shards are, and what kind.

`.fedprobe/populations.json` maps file names to population ids; `.fedprobe/ID/record.json` holds the record. No
record means private without a budget: nothing may be trained on or counted. A copy of the shards without their
record cannot be detected.
"""

import json
import os
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fedprobe.errors import FedprobeError

KINDS = ("private", "simulation")
# From the loosest to the tightest: where a primary model or a vocabulary comes from.
PROVENANCES = ("public", "dp", "conditional")
# What all releases from a private population may cost together, where its steward says no other delta.
DEFAULT_DELTA = 1e-6
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
    `budget_epsilon`, `delta`: what the ledger holds all releases to; None where not fixed (a private population has a
    delta always, and nothing is released from it without a budget). `provenance`: the best that may be said of a
    primary model, None for whatever its folder says. `ledger`: the folder of its one ledger.
    """

    id: str
    kind: str
    budget_epsilon: float | None = None
    delta: float | None = None
    provenance: str | None = None
    ledger: str | None = None

    def delta_at_most(self, asked: float | None) -> float | None:
        """The delta `asked` for, by default the record's. Raises PrivacyRefusal for a larger one than the record's."""
        if asked is not None and self.delta is not None and asked > self.delta:
            raise PrivacyRefusal(f"the delta of this population is fixed at {self.delta:g}; ask for at most that")
        return self.delta if asked is None else asked

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PopulationError(f"the kind of a population is one of {', '.join(KINDS)}")
        if self.budget_epsilon is not None and not 0 < self.budget_epsilon < float("inf"):
            raise PopulationError("the budget must be a positive finite epsilon")
        if self.delta is not None and not 0 < self.delta < 1:
            raise PopulationError("delta must lie between 0 and 1")
        if self.provenance not in (None, *PROVENANCES):
            raise PopulationError(f"the provenance is one of {', '.join(PROVENANCES)}")


def require_simulation(population: Population | None, what: str) -> Population:
    """The population if it is registered as a simulation; PrivacyRefusal, with the way out, if it is not."""
    population = require_registered(population, what)
    if population.kind != "simulation":
        raise PrivacyRefusal(
            f"{what} on a private population is refused: it would show exact figures; rehearse it on a simulation"
        )
    return population


def require_registered(population: Population | None, what: str) -> Population:
    """The population if there is one; PrivacyRefusal, with the way out, if the shards have no record."""
    if population is None:
        raise PrivacyRefusal(
            f"{what}: these shards are not registered, so they count as private without a budget. Register them once "
            "with: fedprobe init SHARDS --budget-epsilon E, or --kind simulation if they are public proxy data"
        )
    return population


def register(
    files: list[Path],
    kind: str | None = None,
    budget_epsilon: float | None = None,
    delta: float | None = None,
    record: Path | None = None,
    provenance: str | None = None,
) -> tuple[Population, bool]:
    """Register `files` as one population, or tighten the record they have; return it and whether it is new.

    A new record is private unless `kind` says otherwise. An existing one only tightens: simulation may become private,
    a budget or delta may shrink, a provenance may become a tighter one. Raises PopulationError for anything that
    loosens, and for files of two populations.
    """
    known = _load(files, record)
    if known is None:
        population = Population(secrets.token_hex(8), kind or "private", budget_epsilon, delta, provenance)
    else:
        population = _tightened(known, kind, budget_epsilon, delta, provenance)
    if population.kind == "private" and population.delta is None:
        population = replace(population, delta=DEFAULT_DELTA)
    if population.ledger is None:
        population = replace(population, ledger=str(folder_of(population, files[0], record).resolve()))
    carry(population, files, record)
    return population, known is None


def lookup(files: list[Path], record: Path | None = None) -> Population | None:
    """The population of `files`, or None if none of them is registered.

    Records beside the data are always read, `record` or not, and of several the tightest counts. Raises
    PopulationError where the files belong to two populations, or only some of them to one.
    """
    registered = [file for file in files if _ids(file, record)]
    if registered and len(registered) < len(files):
        raise PopulationError(
            "some of these shards are registered and some are not; register them together with: fedprobe init"
        )
    return _load(files, record)


def carry(population: Population, files: list[Path], record: Path | None = None) -> None:
    """Write `population` down as that of `files`: in the folder `record` if given, else beside each of them.

    A record that lies beside a file already is written, too.
    """
    for file in files:
        for folder, name in _places(file, record):
            names = _read_map(folder)
            if record is None or folder == record or name in names:
                (folder / population.id).mkdir(parents=True, exist_ok=True)
                write_json(folder / population.id / "record.json", asdict(population))
                write_json(folder / "populations.json", names | {name: population.id})


def folder_of(population: Population, file: Path, record: Path | None = None) -> Path:
    """The folder, beside `file` or in `record`, for what fedprobe keeps about its population."""
    return (record or _beside(file)) / population.id


def name_of(file: Path, record: Path | None = None) -> str:
    """What `file` is called in its record: its name, or its whole path where one record serves several folders."""
    return file.resolve().name if record is None else str(file.resolve())


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON to a temporary name, then rename: readers see the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.temporary")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(temporary, path)


def _beside(file: Path) -> Path:
    # The file itself, not a link to it: a link in another folder does not make other data of it.
    return file.resolve().parent / FOLDER


def _places(file: Path, record: Path | None) -> list[tuple[Path, str]]:
    """Where a record of `file` may lie, and the name it has there: one record may serve files of several folders."""
    beside = (_beside(file), name_of(file))
    return [beside] if record is None else [beside, (record, name_of(file, record))]


def _ids(file: Path, record: Path | None) -> set[str]:
    names = ((_read_map(folder), name) for folder, name in _places(file, record))
    return {known[name] for known, name in names if name in known}


def _load(files: list[Path], record: Path | None) -> Population | None:
    """The tightest of all records of `files`, None if there is none."""
    ids = {id for file in files for id in _ids(file, record)}
    if len(ids) > 1:
        raise PopulationError("these shards belong to two populations; give the shards of one at a time")
    if not ids:
        return None
    id = ids.pop()
    places = {folder for file in files for folder, name in _places(file, record) if name in _read_map(folder)}
    tightest, *others = (_read_record(folder / id / "record.json") for folder in sorted(places))
    for other in others:
        tightest = replace(
            tightest,
            kind=max(tightest.kind, other.kind, key=lambda kind: kind == "private"),
            budget_epsilon=_smaller(tightest.budget_epsilon, other.budget_epsilon),
            delta=_smaller(tightest.delta, other.delta),
            provenance=tighter(tightest.provenance, other.provenance),
            ledger=tightest.ledger or other.ledger,
        )
    return tightest


def tighter(*provenances: str | None) -> str | None:
    """The tightest of what is said about where a model comes from; None where nothing is."""
    said = [PROVENANCES.index(provenance) for provenance in provenances if provenance is not None]
    return PROVENANCES[max(said)] if said else None


def _smaller(one: float | None, other: float | None) -> float | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _read_record(path: Path) -> Population:
    try:
        return Population(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise PopulationError(f"the population's record {path} cannot be read; restore it from a copy") from error


def _tightened(
    known: Population, kind: str | None, budget: float | None, delta: float | None, provenance: str | None
) -> Population:
    if kind == "simulation" and known.kind == "private":
        raise PopulationError("these shards are registered as private, and private data never becomes a simulation")
    for name, old, new in (("budget", known.budget_epsilon, budget), ("delta", known.delta, delta)):
        if old is not None and new is not None and new > old:
            raise PopulationError(f"the {name} of these shards is fixed at {old:g}; it can only be tightened")
    if provenance is not None and tighter(known.provenance, provenance) != provenance:
        raise PopulationError(
            f"the provenance of these shards is fixed at {known.provenance}; it can only be tightened"
        )
    return replace(
        known,
        kind=kind or known.kind,
        budget_epsilon=known.budget_epsilon if budget is None else budget,
        delta=known.delta if delta is None else delta,
        provenance=provenance or known.provenance,
    )


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
