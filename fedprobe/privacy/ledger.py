"""The ledger of a population: every plan on its users, what it costs, every round that was opened.

One SQLite file beside the data, whatever run directories come and go. It is a filter: a plan is declared with all of
its events before it starts and costs its own (epsilon, delta); these add up (sequential composition of mechanisms
chosen one after another, Dwork and Roth 2014, Theorem 3.16, holds for adaptive choices of fixed costs), and a plan
that would take a sum over the budget is refused. A plan stays spent though it stops early. A study declares several
plans together and is one entry, whose parts compose by their privacy loss distributions.
"""

import getpass
import json
import math
import os
import re
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.entries import Cell, Entry, Part, Spent, events_of_one_user, together
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.population import Population, PopulationError, PrivacyRefusal, folder_of

FILE = "ledger.sqlite"
RULE = "plans declared one after another: each at its own delta, added up"
# A plan's share of the ledger's delta, where it does not ask for another.
PLAN_SHARE_OF_DELTA = 0.1
# Beginnings of the names of file systems, those in user space without their "fuse.".
_NETWORK_DRIVES = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "davfs", "gcsfuse", "glusterfs", "gpfs", "lustre", "nfs", "rclone"),
    *("s3fs", "smb", "sshfs"),
)
_MOUNTS = Path("/proc/self/mounts")
_SECONDS_TO_WAIT = 60.0
# Sums of floating-point epsilons may exceed a budget that they meet exactly by their rounding errors.
_ROUNDING = 1 + 1e-9

_TABLES = """
begin immediate;
create table if not exists entries (
    id text primary key, what text not null, events text not null, delta real not null, cell text, parts text,
    about text not null, run text, who text not null, declared_at text not null, settled_at text
);
create table if not exists rounds (run text, number integer, opened_at text not null, primary key (run, number));
create table if not exists parts (study text, part integer, run text not null, cell text, settled_at text,
    primary key (study, part)
);
create table if not exists costs (plan text primary key, epsilon real);
commit;
"""


class BudgetRefusal(PrivacyRefusal):
    """A plan that does not fit into what is left, or that no budget admits."""


@dataclass(frozen=True)
class Ledger:
    """The ledger at `folder`, of one population; `budget_epsilon` may tighten the record's. Use `ledger_of`."""

    folder: Path
    population: Population
    budget_epsilon: float | None = None

    @property
    def budget(self) -> float | None:
        """The epsilon that all plans together may cost: the smaller of the record's and the one given.

        A private population whose record has none has none, whatever is given: that only tightens.
        """
        fixed = self.population.budget_epsilon
        if fixed is None and self.population.kind == "private":
            return None
        return min((value for value in (fixed, self.budget_epsilon) if value is not None), default=None)

    @property
    def delta(self) -> float | None:
        """The delta of that budget; None where none is fixed."""
        return self.population.delta

    def plan_delta(self, asked: float | None, otherwise: float) -> float:
        """A plan's delta: what was `asked`, a tenth of the ledger's, or `otherwise` where the ledger has none."""
        if asked is not None:
            return self.population.delta_at_most(asked)
        return otherwise if self.delta is None else self.delta * PLAN_SHARE_OF_DELTA

    def reserve(
        self,
        what: str,
        events: Sequence[SampledGaussian],
        *,
        delta: float | None = None,
        cell: Cell | None = None,
        about: Mapping | None = None,
        run: str | None = None,
        study: str | None = None,
        rule: Mapping | None = None,
    ) -> Entry:
        """Write a plan down, durably, before anything of it happens; return its entry.

        `run` names the run whose rounds it covers (by default the entry itself); a plan that is a part of `study`
        (the same `what`, `events` and cohort `rule`) is covered by the study's entry and costs nothing more.
        Raises BudgetRefusal where it does not fit, or the run was settled; then nothing may be read or released.
        """
        with self._writing() as ledger:
            if _settled(ledger, run):
                raise BudgetRefusal(
                    "this run was closed by fedprobe ledger settle: it opens no more rounds; train anew"
                )
            if study is not None:
                return self._take_part(ledger, study, what, tuple(events), rule or {}, cell, run)
            entry = self._planned(ledger, what, events, delta, cell, about, run)
            self._require_room(ledger, entry)
            _insert(ledger, entry)
        return entry

    def require_budget(self) -> None:
        """Raise BudgetRefusal for a private population without a budget, from which nothing is released."""
        if self.population.kind == "private" and (self.budget is None or self.delta is None):
            raise BudgetRefusal(
                "this private population has no budget; the steward sets one with: fedprobe init SHARDS "
                "--budget-epsilon E"
            )

    def require_room(
        self, what: str, events: Sequence[SampledGaussian], *, delta: float | None = None, cell: Cell | None = None
    ) -> Entry:
        """The entry that `reserve` would write, without writing it. Raises BudgetRefusal where it does not fit."""
        with self._writing() as ledger:
            entry = self._planned(ledger, what, events, delta, cell, None, None)
            self._require_room(ledger, entry)
        return entry

    def declare(self, name: str, parts: Sequence[Part], *, delta: float | None = None) -> Entry:
        """Reserve a study: all of its `parts` as one entry. Raises BudgetRefusal where they do not fit.

        Parts whose cohorts exclude each other compose in parallel, as far as one measurement decides all of them,
        which `reserve` sees to; everything else composes by privacy loss distributions.
        """
        events = tuple(event for part in parts for event in part.events)
        with self._writing() as ledger:
            if any(entry.what == "study" and entry.about.get("study") == name for entry in self._entries(ledger)):
                raise PopulationError(f"the study {name} is declared already; give it another name")
            entry = self._planned(ledger, "study", events, delta, None, {"study": name}, None, tuple(parts))
            self._require_room(ledger, entry)
            _insert(ledger, entry)
        return entry

    def require_study(self, study: str) -> None:
        """Raise BudgetRefusal where no study of this name is declared."""
        with self._writing() as ledger:
            self._study(ledger, study)

    def require_part(self, study: str, what: str, events: Sequence[SampledGaussian], rule: Mapping) -> None:
        """Raise BudgetRefusal where `reserve` would find no such plan of the `study` left."""
        with self._writing() as ledger:
            self._part_left(ledger, study, what, tuple(events), rule)
            self._require_kept(ledger)

    def plans_of(self, run: str) -> int:
        """How many plans were declared for `run`: its own, and the part of a study that it took, closed ones too."""
        with self._connected() as ledger:
            counted = (
                "select count(*) from entries where run = ? and what <> 'study'",
                "select count(*) from parts where run = ?",
            )
            return sum(ledger.execute(count, (run,)).fetchone()[0] for count in counted)

    def study_of(self, run: str) -> str | None:
        """The study that `run` is a part of, if it is one."""
        named = "select entries.about from parts join entries on entries.id = parts.study where parts.run = ?"
        with self._connected() as ledger:
            row = ledger.execute(named, (run,)).fetchone()
        with self._intact():
            return None if row is None else json.loads(row[0])["study"]

    def rounds_left(self, run: str, event: SampledGaussian, cell: Cell | None = None) -> int:
        """How many rounds like those of `event`, on the users of `cell`, are reserved for `run` and not opened yet.

        Raises BudgetRefusal where what is reserved for it is something else.
        """
        with self._connected() as ledger:
            return max(0, self._reserved(ledger, run, event, cell) - _opened(ledger, run))

    def opened(self, run: str) -> int:
        """How many rounds of `run` were opened; 0 for a run that is not of this population."""
        with self._connected() as ledger:
            return _opened(ledger, run)

    def spent_with(self, epsilon: float, delta: float, cell: Cell | None = None) -> Spent:
        """What all entries and one of this cost, which is not reserved, would cost together."""
        return together([*self.entries(), Entry("", "", (), epsilon, delta, cell)])

    @contextmanager
    def rounds_of(self, run: str, event: SampledGaussian, cell: Cell | None = None) -> Iterator["Rounds"]:
        """Open rounds of `run` over one connection; the process must not fork while it is open.

        Each is one like those of `event`, on the users of `cell`, as it was reserved.
        """
        with self._connected() as ledger:
            yield Rounds(self, ledger, run, event, cell)

    def settle(self, run: str) -> int:
        """Close the entries of a run that died: it opens no more rounds, and gives nothing back; return how many.

        Of a run that is a part of a study, that part is closed; of a study's own id, the study.
        """
        with self._writing() as ledger:
            closed = ledger.execute(
                "update entries set settled_at = ? where (run = ? or id = ?) and settled_at is null", (_now(), run, run)
            ).rowcount
            closed += ledger.execute(
                "update parts set settled_at = ? where run = ? and settled_at is null", (_now(), run)
            ).rowcount
        return closed

    def entries(self) -> list[Entry]:
        """All entries, oldest first."""
        with self._writing() as ledger:
            return self._entries(ledger)

    def spent(self) -> Spent:
        """What all entries together cost the user they cost most."""
        return together(self.entries())

    def to_json(self) -> dict:
        """The object of `ledger --json`."""
        entries = self.entries()
        return {
            "schema": "fedprobe.ledger/1",
            "kind": self.population.kind,
            **self.totals(entries),
            "rule": RULE,
            "entries": [entry.to_json() for entry in entries],
        }

    def totals(self, entries: Sequence[Entry] | None = None) -> dict:
        """`spent`, `budget` and `left` as JSON; the last two None without a budget."""
        spent = together(self.entries() if entries is None else entries)
        budget, left = None, None
        if self.budget is not None:
            budget = {"epsilon": self.budget, "delta": self.delta}
            left_delta = None if self.delta is None else max(0.0, self.delta - spent.delta)
            left = {"epsilon": max(0.0, self.budget - spent.epsilon), "delta": left_delta}
        return {"spent": spent.to_json(), "budget": budget, "left": left}

    def _planned(self, ledger, what, events, delta, cell, about, run, parts=()) -> Entry:
        events = tuple(events)
        self.require_budget()
        if self.population.kind == "private" and any(event.noise_multiplier == 0 for event in events):
            raise BudgetRefusal("noise multiplier 0 on private data protects nobody; give --noise-multiplier")
        if delta is None:
            if self.delta is None:
                raise PopulationError("this population has no delta; give --delta")
            delta = self.delta * PLAN_SHARE_OF_DELTA
        self.population.delta_at_most(delta)
        cost = self._cost(ledger, events, delta, parts)
        id = secrets.token_hex(8)
        return Entry(id, what, events, cost, delta, cell, parts, about or {}, run or id, _who(), _now())

    def _require_room(self, ledger: sqlite3.Connection, entry: Entry) -> None:
        if self.budget is None:
            return
        entries = self._entries(ledger)
        spent, after = together(entries), together([*entries, entry])
        if after.epsilon > self.budget * _ROUNDING:
            left = max(0.0, self.budget - spent.epsilon)
            needed = entry.epsilon if math.isinf(spent.epsilon) else after.epsilon - spent.epsilon
            raise BudgetRefusal(
                f"this plan needs epsilon {needed:.2f} and the ledger has {_down(left)} left of "
                f"{self.budget:g}. Ask for less, with --target-epsilon {_down(left)} for example, or see what was "
                "spent: fedprobe ledger"
            )
        if self.delta is not None and after.delta > self.delta * _ROUNDING:
            raise BudgetRefusal(
                f"this plan needs delta {entry.delta:g} and the ledger has {max(0.0, self.delta - spent.delta):.3g} "
                f"left of {self.delta:g}. Ask for less with --delta, or see what was spent: fedprobe ledger"
            )

    def _require_kept(self, ledger: sqlite3.Connection) -> None:
        """Raise BudgetRefusal where what was reserved is more than what the record allows, tightened since, does."""
        self.require_budget()
        if self.budget is None:
            return
        spent = together(self._entries(ledger))
        within_delta = self.delta is None or spent.delta <= self.delta * _ROUNDING
        if spent.epsilon > self.budget * _ROUNDING or not within_delta:
            raise BudgetRefusal(
                "the budget was tightened since and is less than what is reserved, so nothing more is opened; see: "
                "fedprobe ledger"
            )

    def _study(self, ledger: sqlite3.Connection, study: str) -> Entry:
        studies = {entry.about.get("study"): entry for entry in self._entries(ledger) if entry.what == "study"}
        if study not in studies:
            raise BudgetRefusal(f"no study {study} is declared; declare it with: fedprobe ledger declare STUDY.toml")
        return studies[study]

    def _part_left(self, ledger, study, what, events, rule) -> tuple[Entry, dict, int]:
        """The study's entry, the cell of each part that was taken, and the number of one like this that was not."""
        entry = self._study(ledger, study)
        taken = dict(ledger.execute("select part, cell from parts where study = ?", (entry.id,)))
        free = [
            number
            for number, part in enumerate(entry.parts)
            if number not in taken and (part.command, part.events, dict(part.rule)) == (what, events, dict(rule))
        ]
        if not free or entry.settled_at is not None:
            raise BudgetRefusal(
                f"the study {study} has no such plan left: command, cohort, rounds, users and noise must be those it "
                "declares; see: fedprobe ledger"
            )
        return entry, taken, free[0]

    def _take_part(self, ledger, study, what, events, rule, cell, run) -> Entry:
        entry, taken, number = self._part_left(ledger, study, what, events, rule)
        self._require_kept(ledger)
        part = entry.parts[number]
        measured = {json.loads(other)["measurement"] for other in taken.values() if other is not None}
        if part.cell is not None and (cell is None or measured - {cell.measurement}):
            raise BudgetRefusal(
                f"the study {study} counts on cohorts of one frozen measurement, and the data or the primary model "
                "changed since; declare another study"
            )
        run = run or secrets.token_hex(8)
        ledger.execute("insert into parts values (?, ?, ?, ?, null)", (entry.id, number, run, _cell_json(cell)))
        return Entry(
            entry.id, what, part.events, entry.epsilon, entry.delta, cell, (), {"study": study}, run, entry.who,
            entry.declared_at,
        )  # fmt: skip

    def _entries(self, ledger: sqlite3.Connection) -> list[Entry]:
        rows = ledger.execute(
            "select id, what, events, delta, cell, parts, about, run, who, declared_at, settled_at from entries "
            "order by rowid"
        ).fetchall()
        return [self._read(ledger, *row) for row in rows]

    def _read(self, ledger, id, what, events, delta, cell, parts, about, run, who, declared_at, settled_at) -> Entry:
        runs = [run, *(row[0] for row in ledger.execute("select run from parts where study = ?", (id,)))]
        opened = sum(_opened(ledger, one) for one in runs)
        with self._intact():
            planned = tuple(SampledGaussian.from_json(event) for event in json.loads(events))
            declared_with = tuple(Part.from_json(part) for part in json.loads(parts))
            cost = self._cost(ledger, planned, delta, declared_with)
            cell = None if cell is None else Cell(**json.loads(cell))
            about = dict(json.loads(about))
        return Entry(
            id, what, planned, cost, delta, cell, declared_with, about, run, who, declared_at, settled_at, opened
        )

    @contextmanager
    def _intact(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise PopulationError(f"the ledger {self.folder / FILE} is damaged; restore it from a copy") from error

    def _cost(self, ledger, events: tuple[SampledGaussian, ...], delta: float, parts: tuple[Part, ...]) -> float:
        """The epsilon of a plan; computed once and kept beside the entries, which hold events only."""
        described = [[event.to_json() for event in events], delta, [part.to_json() for part in parts]]
        plan = json.dumps(described, sort_keys=True)
        known = ledger.execute("select epsilon from costs where plan = ?", (plan,)).fetchone()
        if known is None:
            value = max((epsilon(group, delta).value for group in events_of_one_user(events, parts)), default=0.0)
            ledger.execute("insert or replace into costs values (?, ?)", (plan, value))
            return value
        return known[0]

    def _reserved(self, ledger: sqlite3.Connection, run: str, event: SampledGaussian, cell: Cell | None) -> int:
        """How many rounds are reserved for `run`, all of them like those of `event` and on the users of `cell`.

        A run directory says what its plan was, and whoever has it may change that: what was charged stands here alone.
        """
        # A study's rounds are opened by its parts, never under its own id.
        own = ledger.execute(
            "select events, cell from entries where run = ? and what <> 'study' and settled_at is null", (run,)
        ).fetchall()
        shared = ledger.execute(
            "select entries.parts, parts.part, parts.cell from parts join entries on entries.id = parts.study "
            "where parts.run = ? and parts.settled_at is null and entries.settled_at is null",
            (run,),
        ).fetchall()
        with self._intact():
            planned = [(one, users) for events, users in own for one in json.loads(events)]
            planned += [(one, users) for parts, part, users in shared for one in json.loads(parts)[part]["events"]]
            charged = [
                (SampledGaussian.from_json(one), None if users is None else Cell(**json.loads(users)))
                for one, users in planned
            ]
        if any((replace(one, rounds=event.rounds), users) != (event, cell) for one, users in charged):
            raise BudgetRefusal(
                "the ledger holds another plan for this run: other noise, other users or another cohort; nothing is "
                "opened. Give --resume the options that it was declared with, or train anew"
            )
        return sum(one.rounds for one, _ in charged)

    @contextmanager
    def _connected(self, mode: str = "rw") -> Iterator[sqlite3.Connection]:
        """A connection; `mode` rwc makes the ledger. One that is missing or empty is an error, not a new ledger."""
        path = f"{(self.folder / FILE).absolute().as_uri()}?mode={mode}"
        try:
            connection = sqlite3.connect(path, timeout=_SECONDS_TO_WAIT, isolation_level=None, uri=True)
        except sqlite3.Error as error:
            raise PopulationError(
                f"the ledger {self.folder / FILE} cannot be opened ({error}); restore it from a copy"
            ) from error
        try:
            # Read back: a file system that cannot do either says so here.
            journal = connection.execute("pragma journal_mode = wal").fetchone()[0]
            connection.execute("pragma synchronous = full")
            if journal != "wal" or connection.execute("pragma synchronous").fetchone()[0] != 2:
                raise PopulationError("the ledger cannot be kept durably on this file system; use a local disk")
            yield connection
        except sqlite3.Error as error:
            # Where it has one: the lowest byte is the primary code.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise PopulationError(f"another process holds the ledger {self.folder / FILE}; try again") from error
            raise PopulationError(
                f"the ledger {self.folder / FILE} cannot be used ({error}); restore it from a copy, or make room"
            ) from error
        finally:
            connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that excludes every other process; undone where it raises."""
        with self._connected() as connection, _transaction(connection):
            yield connection


@dataclass(frozen=True)
class Rounds:
    """Opens the rounds of one run; see `Ledger.rounds_of`."""

    ledger: Ledger
    connection: sqlite3.Connection
    run: str
    event: SampledGaussian
    cell: Cell | None

    def open(self) -> int:
        """Mark one more round as opened, durably, before its users are drawn; return its number (from 1).

        A number is given out once. Raises BudgetRefusal where no round is left in what was reserved, or that was
        something else.
        """
        connection = self.connection
        with _transaction(connection):
            opened = _opened(connection, self.run)
            self.ledger._require_kept(connection)
            if opened >= self.ledger._reserved(connection, self.run, self.event, self.cell):
                raise BudgetRefusal("no round of this plan is left; resume with a plan of more rounds")
            connection.execute("insert into rounds values (?, ?, ?)", (self.run, opened + 1, _now()))
        return opened + 1


def ledger_of(
    population: Population, files: Sequence[Path], record: Path | None = None, budget_epsilon: float | None = None
) -> Ledger:
    """The ledger of the population that `files` belong to.

    It lies where the population was registered first, whichever of its shards, or copies that fedprobe made of them,
    are at hand; where that folder is gone, beside the files at hand (they were moved). Made if it was never there;
    raises PrivacyRefusal where a private population's is missing, PopulationError on a network drive.
    """
    home, here = _places(population, files, record)
    folder = _found(home, here)
    if folder is None:
        if population.kind == "private":
            raise PrivacyRefusal(
                f"the ledger of this private population is missing ({home / FILE}): without it nobody knows what was "
                "spent; restore it from a copy"
            )
        return create(population, files, record, budget_epsilon)
    _require_local(folder)
    return Ledger(folder, population, budget_epsilon)


def create(
    population: Population, files: Sequence[Path], record: Path | None = None, budget_epsilon: float | None = None
) -> Ledger:
    """Make an empty ledger for a population, or find the one it has. Raises PopulationError on a network drive."""
    home, here = _places(population, files, record)
    found = _found(home, here)
    folder = found or (home if home.is_dir() else here)
    _require_local(folder)
    ledger = Ledger(folder, population, budget_epsilon)
    if found is None:
        with ledger._connected("rwc") as connection:
            connection.executescript(_TABLES)
    return ledger


def _places(population: Population, files: Sequence[Path], record: Path | None) -> tuple[Path, Path]:
    """Where a population's ledger lies, and where it does if it was moved."""
    here = folder_of(population, Path(files[0]), record)
    return here if population.ledger is None else Path(population.ledger), here


def _found(*folders: Path) -> Path | None:
    """The first of `folders` that has a ledger. Raises PopulationError for one that may not be looked into."""
    for folder in folders:
        try:
            (folder / FILE).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise PopulationError(f"the ledger {folder / FILE} cannot be reached; ask whoever keeps it") from error
        return folder
    return None


def _insert(ledger: sqlite3.Connection, entry: Entry) -> None:
    events = json.dumps([event.to_json() for event in entry.events])
    parts = json.dumps([part.to_json() for part in entry.parts])
    about = json.dumps(dict(entry.about))
    ledger.execute(
        "insert into entries values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, null)",
        (entry.id, entry.what, events, entry.delta, _cell_json(entry.cell), parts, about, entry.run, entry.who,
         entry.declared_at),
    )  # fmt: skip


def _cell_json(cell: Cell | None) -> str | None:
    return None if cell is None else json.dumps(asdict(cell))


def _opened(ledger: sqlite3.Connection, run: str) -> int:
    return ledger.execute("select count(*) from rounds where run = ?", (run,)).fetchone()[0]


def _settled(ledger: sqlite3.Connection, run: str | None) -> bool:
    closed = "select run from {} where run = ? and settled_at is not null"
    return any(ledger.execute(closed.format(table), (run,)).fetchone() for table in ("entries", "parts"))


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("begin immediate")
    # Commits at the end, rolls back where it raises.
    with connection:
        yield


def _require_local(folder: Path) -> None:
    kind = _file_system(folder)
    if kind is not None and kind.removeprefix("fuse.").startswith(_NETWORK_DRIVES):
        raise PopulationError(
            f"{folder} is on a network drive ({kind}), where a ledger cannot be kept safely; give --record a folder on "
            "a local disk"
        )


def _file_system(folder: Path) -> str | None:
    """The type of the file system that holds `folder`; None where the system does not tell."""
    if not _MOUNTS.exists():
        return None
    path, found = str(folder.resolve()), ("", None)
    for line in _MOUNTS.read_text(errors="surrogateescape").splitlines():
        _, place, kind, *_ = line.split()
        # Blanks and the like stand there as three octal digits.
        place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), place)
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(found[0]):
            found = place, kind
    return found[1]


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _down(value: float) -> str:
    """An epsilon rounded down to two digits, to ask for."""
    return f"{math.floor(value * 100) / 100:g}"
