"""An epsilon with everything that must be said beside it, as JSON and in words."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedprobe.privacy.accountants import Epsilon, epsilon
from fedprobe.privacy.events import SampledGaussian, counted_multiplier
from fedprobe.privacy.wording import (
    MEANINGFUL_EPSILON,
    figure,
    ledger_line,
    ledger_total,
    meaning,
    meaning_in_short,
    rounds_of_kind,
    takes_part,
    threshold_share,
)

__all__ = ["MEANINGFUL_EPSILON", "TRUST", "PrivacyStatement", "compose", "default_delta", "figure", "state"]

TRUST = (
    "towards whoever receives the run directory; un-noised sums exist only where the shards can be read, and "
    "towards a party that sees those there is no epsilon"
)
_NO_LEDGER = "No ledger: other runs on these users are not counted."
_NOT_COVERED = "Not covered: timing, traffic, file sizes, drop-out patterns."
_INDICATIVE = "; indicative: composed as if planned together, where the ledger adds up plans chosen one after another"
_IF_TOGETHER = "If all had been planned together: "
_EXTENDED = "rounds were added to the plan after it had started"
_NO_BOUND = (
    "This is what the paper would print, for comparison with its tables only. It is no bound: its rounds "
    "of a fixed size do not earn the figure, and these rounds are counted by --accountant auto."
)


def default_delta(population: int) -> float:
    """min(1e-6, 1 / (100 N)): well below the chance of publishing one random user whole."""
    return min(1e-6, 1 / (100 * population))


@dataclass(frozen=True)
class PrivacyStatement:
    """What one run, or several composed, may reveal about a user; built by `state`.

    `events` are those that are accounted for: of `fixed` rounds their noise multiplier is half of `noise_multiplier`,
    the one that was asked for. `conditional_on` names what was made of these very users and decided who or what was
    trained on: the figure covers only what is learned beyond it. None where there is no such thing. `ledger` holds
    the population's totals: `spent`, `budget` and `left` (None without one), `rule`, and `before` where known.
    `indicative`: composed as if planned together what may have been chosen one after another; the ledger adds up.
    """

    bound: Epsilon
    delta: float
    events: Sequence[SampledGaussian]
    users_per_round: int | None
    population: int | None
    rounds_planned: int
    rounds_opened: int | None = None
    conditional_on: str | None = None
    simulation: bool = False
    composition: str | None = None
    runs: Sequence[str] = ()
    parts: Sequence["PrivacyStatement"] = ()
    participation: str = "poisson"
    noise_multiplier: float | None = None
    ledger: dict | None = None
    indicative: bool = False

    @property
    def threshold_delta(self) -> float:
        """What thresholds take of delta: the chance, at most, that a word is shown that one user alone has."""
        return math.fsum(event.rounds * event.threshold_delta for event in self.events)

    @property
    def valid(self) -> bool:
        """Whether the figure bounds what these rounds may reveal; the paper's arithmetic does not."""
        return self.bound.accountant != "paper"

    def to_json(self) -> dict:
        """The object of `privacy --json`; an infinite epsilon is null with `"epsilon_is": "infinite"`."""
        infinite = math.isinf(self.bound.value)
        return {
            "schema": "fedprobe.privacy/1",
            "epsilon": None if infinite else self.bound.value,
            **({"epsilon_is": "infinite"} if infinite else {}),
            "delta": self.delta,
            "threshold_delta": self.threshold_delta,
            "unit": "user",
            "adjacency": "add-or-remove-one",
            "participation": self.participation,
            "accountant": self.bound.accountant,
            "valid": self.valid,
            "noise_multiplier": self.noise_multiplier,
            "rounds": self.rounds_planned,
            "rounds_opened": self.rounds_opened,
            "users_per_round": self.users_per_round,
            "population": self.population,
            "towards": TRUST,
            "conditional": self.conditional_on is not None,
            "conditional_on": self.conditional_on,
            "simulation": self.simulation,
            "composition": self.composition,
            "indicative": self.indicative,
            "ledger": self.ledger,
            "runs": list(self.runs),
        }

    def lines(self) -> list[str]:
        """The statement for a person, one thought a line; the first line holds the figure."""
        said = [f"{figure(self.bound.value)}   (delta {self.delta:.3g})   {self._method()}"]
        said += [f"{' '.join(part.runs)}: {part._plan()}" for part in self.parts] or [self._plan()]
        if self.composition:
            said.append(self.composition)
        said += [*self._large_delta(), *self._conditional()]
        if not self.valid:
            return [*said, _NO_BOUND]
        said.append(self.sentence())
        said.append(f"It holds {TRUST}.")
        if self.simulation:
            said.append("The population is a simulation: public proxy data, so nobody's privacy was spent.")
        if self.ledger is not None:
            said.append(ledger_line(self.ledger))
        others = f"All plans on {'this' if not self.parts else 'each'} population are in its ledger."
        said.append(f"{_NOT_COVERED} {others if self._has_ledger else _NO_LEDGER}")
        return said

    def brief(self) -> list[str]:
        """The statement beside a result, in some ten lines of 80 columns: all that bounds, nothing that explains.

        `lines` holds the whole; runs have it in their cards.
        """
        said = [self.lines()[0]]
        plans = dict.fromkeys(part._plan() for part in self.parts or [self])
        said += plans if len(plans) == 1 else [f"{' '.join(part.runs)}: {part._plan()}" for part in self.parts]
        if self.composition:
            said.append(self.composition.replace(_INDICATIVE, "; indicative"))
        said += [*self._large_delta(), *self._conditional()]
        if not self.valid:
            return [*said, _NO_BOUND]
        said.append(self._if_together(meaning_in_short(self.bound.value, self.delta)))
        said.append(f"{_NOT_COVERED[:-1]}; who sees un-noised sums, where the shards can be read.")
        rest = ["a simulation"] * self.simulation
        if self.ledger is not None:
            rest.append(f"{ledger_total(self.ledger)}, {self.ledger['rule']}")
        elif not self._has_ledger:
            rest.append(_NO_LEDGER[:-1])
        rest += [f"in full: fedprobe privacy {shlex.join(self.runs)}"] if self.runs else []
        return [*said, *(["; ".join(rest)] if rest else [])]

    def line(self) -> str:
        """The figure alone, in one line with what must never be left out beside it."""
        said = [f"{figure(self.bound.value)}   (delta {self.delta:.3g})"]
        if not self.valid:
            said.append("no bound: the paper's arithmetic")
        elif self.bound.value > MEANINGFUL_EPSILON:
            infinite = math.isinf(self.bound.value)
            said.append("no guarantee: no noise" if infinite else "not a meaningful protection by itself")
        if self.indicative:
            said.append("indicative")
        if self._large_delta():
            said.append(self._large_delta()[0])
        if self.conditional_on:
            said.append(f"conditional on the {self.conditional_on}")
        return "   ".join(said)

    def sentence(self) -> str:
        """What the bound means, in words."""
        what = "these runs publish" if len(self.runs) > 1 else "this run publishes"
        return self._if_together(meaning(self.bound.value, self.delta, what))

    def _if_together(self, sentence: str) -> str:
        return f"{_IF_TOGETHER}{sentence[0].lower()}{sentence[1:]}" if self.indicative else sentence

    def _plan(self) -> str:
        return (
            f"{takes_part(self.participation, self.events[0], self.users_per_round)}; "
            f"{self._rounds()}; noise multiplier {self.noise_multiplier:.4g}"
            f"{threshold_share(self.threshold_delta)}"
        )

    @property
    def _has_ledger(self) -> bool:
        return self.ledger is not None or all(part.ledger is not None for part in self.parts or [self])

    def _conditional(self) -> list[str]:
        if not self.conditional_on:
            return []
        return [f"Conditional on the {self.conditional_on}: covers only what is learned beyond it."]

    def _rounds(self) -> str:
        opened = "" if self.rounds_opened is None else f", {self.rounds_opened} opened"
        return f"{'1 round' if self.rounds_planned == 1 else f'{self.rounds_planned} rounds'} planned{opened}"

    def _large_delta(self) -> list[str]:
        """What to say of a delta that is large for its population, if it is."""
        population = max(part.population or 0 for part in self.parts or [self])
        if not population or self.delta <= default_delta(population):
            return []
        within = "at 1, publishing one random user whole would be within the bound"
        return [f"delta x population = {self.delta * population:.2g}: {within}"]

    def _method(self) -> str:
        if not self.valid:
            return "the paper's arithmetic"
        names = {"pld": "PLD", "rdp": "Renyi DP", "prv": "PRV"}
        return f"add/remove one user, {rounds_of_kind(self.participation)}, {names[self.bound.accountant]}"


def state(
    event: SampledGaussian,
    *,
    users_per_round: int | None,
    population: int | None,
    participation: str = "poisson",
    noise_multiplier: float | None = None,
    delta: float | None = None,
    accountant: str = "auto",
    rounds_opened: int | None = None,
    conditional_on: str | None = None,
    simulation: bool = False,
    ledger: dict | None = None,
    extended: bool = False,
    runs: Sequence[str] = (),
) -> PrivacyStatement:
    """Account for one run or plan: `event` as planned, or the rounds opened where those are more.

    `extended`: rounds were added after it had started, so that the figure is indicative. `event` is that of
    `participation`; `noise_multiplier` is z as it was asked for, by default the one behind the event. `delta` None
    takes `default_delta(population)`. Raises ValueError as `accountants.epsilon` does.
    """
    if delta is None:
        if population is None:
            raise ValueError("delta needs --delta or --population")
        delta = default_delta(population)
    charged = replace(event, rounds=max(event.rounds, rounds_opened or 0))
    if noise_multiplier is None:
        noise_multiplier = event.noise_multiplier / counted_multiplier(participation, 1.0)
    return PrivacyStatement(
        epsilon([_compared(charged, participation, accountant)], delta, accountant),
        delta,
        [charged],
        users_per_round,
        population,
        event.rounds,
        rounds_opened,
        conditional_on,
        simulation,
        runs=runs,
        participation=participation,
        noise_multiplier=noise_multiplier,
        ledger=ledger,
        composition=_EXTENDED + _INDICATIVE if extended else None,
        indicative=extended,
    )


def compose(
    statements: Sequence[PrivacyStatement],
    *,
    exclusive: bool,
    planned_together: bool = False,
    accountant: str = "auto",
    ledger: dict | None = None,
    delta: float | None = None,
) -> PrivacyStatement:
    """Account for several runs together at `delta`: by default the largest of theirs, and what thresholds take of it.

    `exclusive`: no user can be in two of the cohorts (rules.exclusive, one frozen measurement), so the larger
    total counts (parallel composition); otherwise all of their events compose. That is a bound only if they were
    `planned_together`, as the parts of one study are: of runs chosen one after another it is indicative, as it is where
    that of a run is.
    """
    if len(statements) == 1:
        return statements[0] if ledger is None else replace(statements[0], ledger=ledger)
    if delta is None:
        delta = _delta_together(statements, exclusive)
    compared = [[_compared(event, one.participation, accountant) for event in one.events] for one in statements]
    runs = [run for statement in statements for run in statement.runs]
    if exclusive:
        bound = max((epsilon(events, delta, accountant) for events in compared), key=lambda bound: bound.value)
        how = f"for all {len(runs)} runs together: their cohorts exclude each other, so the larger total counts"
    else:
        bound = epsilon([event for events in compared for event in events], delta, accountant)
        how = f"for all {len(runs)} runs together: one person may be in each of their cohorts, so they add up"
    indicative = not exclusive and not planned_together or any(one.indicative for one in statements)
    if indicative:
        how += _INDICATIVE
        if not exclusive and not any(one.indicative or not one.valid for one in statements):
            added = math.fsum(one.bound.value for one in statements), math.fsum(one.delta for one in statements)
            how += f"; each at its own delta they add up to epsilon {figure(added[0])} at delta {added[1]:.3g}"
    participations = {statement.participation for statement in statements}
    multipliers = {statement.noise_multiplier for statement in statements}
    return PrivacyStatement(
        bound,
        delta,
        [event for statement in statements for event in statement.events],
        None,
        None,
        sum(statement.rounds_planned for statement in statements),
        sum(statement.rounds_opened or 0 for statement in statements),
        " and the ".join(sorted({statement.conditional_on for statement in statements} - {None})) or None,
        all(statement.simulation for statement in statements),
        how,
        runs,
        statements,
        participations.pop() if len(participations) == 1 else "mixed",
        multipliers.pop() if len(multipliers) == 1 else None,
        ledger,
        indicative,
    )


def _delta_together(statements: Sequence[PrivacyStatement], exclusive: bool) -> float:
    """The largest delta of the runs; where they add up it leaves as much for the noise, whatever thresholds take."""
    if exclusive:
        return max(statement.delta for statement in statements)
    for_noise = max(statement.delta - statement.threshold_delta for statement in statements)
    return for_noise + math.fsum(statement.threshold_delta for statement in statements)


def _compared(event: SampledGaussian, participation: str, accountant: str) -> SampledGaussian:
    """What `accountant` is asked: the event; but the paper's arithmetic takes the whole noise multiplier of any round.

    That rounds of a fixed size do not earn that is why its figure is no bound.
    """
    if accountant != "paper":
        return event
    return replace(event, noise_multiplier=event.noise_multiplier / counted_multiplier(participation, 1.0))
