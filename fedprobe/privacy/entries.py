"""What a ledger holds and what it adds up to: entries, the cells of users they touch, the parts of studies."""

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.predicates import parse
from fedprobe.privacy.rules import CohortRule

# So many kinds of users are told apart; were there more, their attributes are not looked at.
_MOST_KINDS = 10_000
# A value of an attribute that no cell asks for.
_ANOTHER = object()


@dataclass(frozen=True)
class Cell:
    """Users whose frozen accuracy is strictly `below` or strictly `above` a threshold, and whose attributes match.

    `measurement` is the random id of what was frozen: two cells exclude each other only under the same one. `where` is
    a predicate on attributes, of which what it asks of single ones counts.
    """

    measurement: str
    below: float | None = None
    above: float | None = None
    where: str | None = None

    def __post_init__(self) -> None:
        if not all(0 <= limit <= 1 for limit in (self.below, self.above) if limit is not None):
            raise ValueError("the threshold of a cell is an accuracy: between 0 and 1")

    @classmethod
    def of(cls, rule: CohortRule, measurement: str | None) -> "Cell | None":
        """The users that `rule` can select under the frozen `measurement`, where that excludes others."""
        if measurement is None:
            return None
        cell = cls(measurement, rule.below, rule.above, rule.where)
        return cell if cell.below is not None or cell.above is not None or cell.asked else None

    @property
    def asked(self) -> Mapping[str, frozenset]:
        """Which values its users have of the attributes that it asks for."""
        return {} if self.where is None else parse(self.where).equalities

    def holds(self, accuracy: float, values: Mapping[str, Hashable] = {}) -> bool:
        """Whether a user of that accuracy, and of these `values` of attributes, can be in the cell.

        Attributes that have no value here are not looked at.
        """
        if any(name in values and values[name] not in asked for name, asked in self.asked.items()):
            return False
        return (self.below is None or accuracy < self.below) and (self.above is None or accuracy > self.above)


@dataclass(frozen=True)
class Part:
    """One of a study's plans: `command` on the cohort of `rule` (JSON), with these `events`."""

    name: str
    command: str
    rule: Mapping
    events: tuple[SampledGaussian, ...]

    def to_json(self) -> dict:
        """The part as a JSON object, for the ledger."""
        events = [event.to_json() for event in self.events]
        return {"name": self.name, "command": self.command, "rule": dict(self.rule), "events": events}

    @classmethod
    def from_json(cls, value: Mapping) -> "Part":
        """The part that `to_json` wrote."""
        events = tuple(SampledGaussian.from_json(event) for event in value["events"])
        return cls(value["name"], value["command"], value["rule"], events)

    @property
    def cell(self) -> Cell | None:
        """The users of the part, if its rule tells them apart by one measurement, which the whole study shares."""
        return Cell.of(CohortRule(**self.rule), "study") if self.rule else None


@dataclass(frozen=True)
class Entry:
    """One declared plan: what it costs at its `delta`, who declared it and when.

    `epsilon` is computed from `events` (and, of a study, its `parts`). `opened` counts the rounds of its `run`.
    """

    id: str
    what: str
    events: tuple[SampledGaussian, ...]
    epsilon: float
    delta: float
    cell: Cell | None = None
    parts: tuple[Part, ...] = ()
    about: Mapping = field(default_factory=dict)
    run: str | None = None
    who: str = ""
    declared_at: str = ""
    settled_at: str | None = None
    opened: int = 0

    def to_json(self) -> dict:
        """One entry of `ledger --json`."""
        return {
            "id": self.id,
            "what": self.what,
            **_epsilon_json(self.epsilon),
            "delta": self.delta,
            "events": [event.to_json() for event in self.events],
            "cohort_cell": None if self.cell is None else asdict(self.cell),
            "parts": [part.name for part in self.parts],
            "about": dict(self.about),
            "run": self.run,
            "rounds_opened": self.opened,
            "who": self.who,
            "declared_at": self.declared_at,
            "settled_at": self.settled_at,
        }


@dataclass(frozen=True)
class Spent:
    """Sums of epsilon and delta over a ledger's entries."""

    epsilon: float
    delta: float

    def to_json(self) -> dict:
        return {**_epsilon_json(self.epsilon), "delta": self.delta}


def together(entries: Sequence[Entry]) -> Spent:
    """What entries cost the user they cost most: entries whose cells no user can share count only the larger sum.

    Everything without a cell adds up. Of one measurement, the users of each accuracy and of each value of attributes
    are charged the cells that hold them, and the dearest count; measurements add up, since a user is in each.
    """
    measurements = {entry.cell.measurement for entry in entries if entry.cell is not None}
    groups = [[entry for entry in entries if entry.cell is None]]
    total_epsilon, total_delta = _sums(groups[0])
    for measurement in sorted(measurements):
        cells = [entry for entry in entries if entry.cell is not None and entry.cell.measurement == measurement]
        sums = [_sums([entry for entry in cells if entry.cell.holds(*point)]) for point in _points(cells)]
        total_epsilon += max(value for value, _ in sums)
        total_delta += max(value for _, value in sums)
    return Spent(total_epsilon, total_delta)


def _sums(entries: Sequence[Entry]) -> tuple[float, float]:
    return math.fsum(entry.epsilon for entry in entries), math.fsum(entry.delta for entry in entries)


def _points(entries: Sequence[Entry]) -> list[tuple[float, dict[str, Hashable]]]:
    """Accuracies and values of attributes, such that every set of cells that some user lies in is that of one of them.

    Of too many, the accuracies alone, which charge nobody less.
    """
    accuracies = _accuracies(entries)
    values: dict[str, set[Hashable]] = {}
    for entry in entries:
        for name, asked in entry.cell.asked.items():
            values.setdefault(name, {_ANOTHER}).update(asked)
    if len(accuracies) * math.prod(map(len, values.values())) > _MOST_KINDS:
        values = {}
    kinds = [dict(zip(values, kind, strict=True)) for kind in itertools.product(*values.values())]
    return list(itertools.product(accuracies, kinds))


def _accuracies(entries: Sequence[Entry]) -> list[float]:
    limits = sorted({limit for entry in entries for limit in (entry.cell.below, entry.cell.above) if limit is not None})
    between = [(one + other) / 2 for one, other in zip(limits[:-1], limits[1:], strict=True)]
    return [-1.0, *limits, *between, 2.0]


def events_of_one_user(events: Sequence[SampledGaussian], parts: Sequence[Part]) -> list[list[SampledGaussian]]:
    """The sets of events that one user can be in: one, or of a study one for each kind of users that it tells apart."""
    if not parts:
        return [list(events)]
    placed = [Entry("", "", part.events, 0.0, 0.0, part.cell) for part in parts]
    points = _points([entry for entry in placed if entry.cell is not None])
    return [
        [event for entry in placed if entry.cell is None or entry.cell.holds(*point) for event in entry.events]
        for point in points
    ]


def _epsilon_json(epsilon: float) -> dict:
    return {"epsilon": None, "epsilon_is": "infinite"} if math.isinf(epsilon) else {"epsilon": epsilon}
