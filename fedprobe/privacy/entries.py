"""What a ledger holds and what it adds up to: entries, the cells of users they touch, the parts of studies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.rules import CohortRule


@dataclass(frozen=True)
class Cell:
    """Users whose frozen accuracy is strictly `below` or strictly `above` a threshold.

    `measurement` is the random id of the frozen measurement: two cells exclude each other only under the same one.
    """

    measurement: str
    below: float | None = None
    above: float | None = None

    def __post_init__(self) -> None:
        if not all(0 <= limit <= 1 for limit in (self.below, self.above) if limit is not None):
            raise ValueError("the threshold of a cell is an accuracy: between 0 and 1")

    @classmethod
    def of(cls, rule: CohortRule, measurement: str | None) -> "Cell | None":
        """The users that `rule` can select under the frozen `measurement`, where that excludes others."""
        if measurement is None or (rule.below is None and rule.above is None):
            return None
        return cls(measurement, rule.below, rule.above)

    def holds(self, accuracy: float) -> bool:
        """Whether a user of that accuracy is in the cell."""
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
        """The users of the part, if its rule is a threshold on one measurement, which the whole study shares."""
        if "below" not in self.rule and "above" not in self.rule:
            return None
        return Cell("study", self.rule.get("below"), self.rule.get("above"))


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

    Everything without a cell adds up. Of one measurement, the users of each accuracy are charged the cells that hold
    it, and the dearest accuracy counts; measurements add up, since a user has an accuracy in each.
    """
    measurements = {entry.cell.measurement for entry in entries if entry.cell is not None}
    groups = [[entry for entry in entries if entry.cell is None]]
    total_epsilon, total_delta = _sums(groups[0])
    for measurement in sorted(measurements):
        cells = [entry for entry in entries if entry.cell is not None and entry.cell.measurement == measurement]
        sums = [_sums([entry for entry in cells if entry.cell.holds(point)]) for point in _points(cells)]
        total_epsilon += max(value for value, _ in sums)
        total_delta += max(value for _, value in sums)
    return Spent(total_epsilon, total_delta)


def _sums(entries: Sequence[Entry]) -> tuple[float, float]:
    return math.fsum(entry.epsilon for entry in entries), math.fsum(entry.delta for entry in entries)


def _points(entries: Sequence[Entry]) -> list[float]:
    """Accuracies such that every set of cells that some accuracy lies in is that of one of them."""
    limits = sorted({limit for entry in entries for limit in (entry.cell.below, entry.cell.above) if limit is not None})
    between = [(one + other) / 2 for one, other in zip(limits[:-1], limits[1:], strict=True)]
    return [-1.0, *limits, *between, 2.0]


def events_of_one_user(events: Sequence[SampledGaussian], parts: Sequence[Part]) -> list[list[SampledGaussian]]:
    """The sets of events that one user can be in: one, or of a study one for each accuracy that tells users apart."""
    if not parts:
        return [list(events)]
    placed = [Entry("", "", part.events, 0.0, 0.0, part.cell) for part in parts]
    points = _points([entry for entry in placed if entry.cell is not None])
    return [
        [event for entry in placed if entry.cell is None or entry.cell.holds(point) for event in entry.events]
        for point in points
    ]


def _epsilon_json(epsilon: float) -> dict:
    return {"epsilon": None, "epsilon_is": "infinite"} if math.isinf(epsilon) else {"epsilon": epsilon}
