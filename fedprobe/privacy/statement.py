"""An epsilon with everything that must be said beside it, as JSON and in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedprobe.privacy.accountants import Epsilon, epsilon
from fedprobe.privacy.events import SampledGaussian

# Above this, the bound alone is no meaningful protection: odds may change by a factor of e^10 = 22,000.
MEANINGFUL_EPSILON = 10.0
TRUST = (
    "towards whoever receives the run directory; un-noised sums exist only where the shards can be read, and "
    "towards a party that sees those there is no epsilon"
)


def default_delta(population: int) -> float:
    """min(1e-6, 1 / (100 N)): well below the chance of publishing one random user whole."""
    return min(1e-6, 1 / (100 * population))


@dataclass(frozen=True)
class PrivacyStatement:
    """What one run, or several composed, may reveal about a user; built by `state`.

    `conditional_on` names what was made of these very users and decided who or what was trained on: the figure covers
    only what is learned beyond it. None where there is no such thing.
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

    @property
    def valid(self) -> bool:
        """Whether the figure bounds what these rounds may reveal; the paper's arithmetic does not."""
        return self.bound.accountant != "paper"

    def to_json(self) -> dict:
        """The object of `privacy --json`; an infinite epsilon is null with `"epsilon_is": "infinite"`."""
        infinite = math.isinf(self.bound.value)
        multipliers = {event.noise_multiplier for event in self.events}
        return {
            "schema": "fedprobe.privacy/1",
            "epsilon": None if infinite else self.bound.value,
            **({"epsilon_is": "infinite"} if infinite else {}),
            "delta": self.delta,
            "unit": "user",
            "adjacency": "add-or-remove-one",
            "participation": "poisson",
            "accountant": self.bound.accountant,
            "valid": self.valid,
            "noise_multiplier": multipliers.pop() if len(multipliers) == 1 else None,
            "rounds": self.rounds_planned,
            "rounds_opened": self.rounds_opened,
            "users_per_round": self.users_per_round,
            "population": self.population,
            "towards": TRUST,
            "conditional": self.conditional_on is not None,
            "conditional_on": self.conditional_on,
            "simulation": self.simulation,
            "composition": self.composition,
            "ledger": None,
            "runs": list(self.runs),
        }

    def lines(self) -> list[str]:
        """The statement for a person, one thought a line; the first line holds the figure."""
        said = [f"{figure(self.bound.value)}   (delta {self.delta:.3g})   {self._method()}"]
        said += [f"{' '.join(part.runs)}: {part._plan()}" for part in self.parts] or [self._plan()]
        if self.composition:
            said.append(self.composition)
        population = max(part.population or 0 for part in self.parts or [self])
        if population and self.delta > default_delta(population):
            said.append(
                f"delta x population = {self.delta * population:.2g}: at 1, publishing one random user whole "
                "would be within the bound"
            )
        if not self.valid:
            return [
                *said,
                "This is what the paper would print, for comparison with its tables only. It is no bound: its rounds "
                "of a fixed size do not earn the figure, and these Poisson rounds are counted by --accountant auto.",
            ]
        said.append(self.sentence())
        said.append(f"It holds {TRUST}.")
        if self.conditional_on:
            said.append(f"Conditional on the {self.conditional_on}: covers only what is learned beyond it.")
        if self.simulation:
            said.append("The population is a simulation: public proxy data, so nobody's privacy was spent.")
        said.append(
            "Not covered: timing, file sizes, and how far the noise sampler is from an ideal Gaussian (no bound on it "
            "is in delta yet). No ledger: other runs on these users are not counted."
        )
        return said

    def sentence(self) -> str:
        """What the bound means, in words."""
        if math.isinf(self.bound.value):
            return "Without noise there is no guarantee: what is published may reveal anything about anyone in it."
        chance = _chance(self.delta)
        if self.bound.value == 0:
            return f"The odds that a given person took part do not change, but for a chance of {chance}."
        if self.bound.value > MEANINGFUL_EPSILON:
            return (
                f"Epsilon above {MEANINGFUL_EPSILON:g} is not a meaningful protection by itself: the bound allows "
                f"the odds that a given person took part to change by a factor of {_factor(self.bound.value)} "
                f"(but for a chance of {chance})."
            )
        what = "these runs publish" if len(self.runs) > 1 else "this run publishes"
        return (
            f"An observer of everything {what} can raise the odds that a given person took part by a "
            f"factor of at most {_factor(self.bound.value)}, but for a chance of {chance}."
        )

    def _plan(self) -> str:
        event = self.events[0]
        opened = "" if self.rounds_opened is None else f", {self.rounds_opened} opened"
        return (
            f"each user takes part in a round with probability {event.sampling_probability:.3g}; "
            f"{self.rounds_planned} rounds planned{opened}; noise multiplier {event.noise_multiplier:g}"
        )

    def _method(self) -> str:
        if not self.valid:
            return "the paper's arithmetic"
        names = {"pld": "PLD", "rdp": "Renyi DP", "prv": "PRV"}
        return f"add/remove one user, Poisson, {names[self.bound.accountant]}"


def state(
    event: SampledGaussian,
    *,
    users_per_round: int | None,
    population: int | None,
    delta: float | None = None,
    accountant: str = "auto",
    rounds_opened: int | None = None,
    conditional_on: str | None = None,
    simulation: bool = False,
    runs: Sequence[str] = (),
) -> PrivacyStatement:
    """Account for one run or plan: `event` as planned, or the rounds opened where those are more.

    `delta` None takes `default_delta(population)`. Raises ValueError as `accountants.epsilon` does.
    """
    if delta is None:
        if population is None:
            raise ValueError("delta needs --delta or --population")
        delta = default_delta(population)
    charged = SampledGaussian(event.noise_multiplier, event.sampling_probability, max(event.rounds, rounds_opened or 0))
    return PrivacyStatement(
        epsilon([charged], delta, accountant),
        delta,
        [charged],
        users_per_round,
        population,
        event.rounds,
        rounds_opened,
        conditional_on,
        simulation,
        runs=runs,
    )


def compose(statements: Sequence[PrivacyStatement], *, exclusive: bool, accountant: str = "auto") -> PrivacyStatement:
    """Account for several runs together, at the largest of their deltas.

    `exclusive`: no user can be in two of the cohorts (rules.exclusive, one frozen measurement), so the larger
    total counts (parallel composition); otherwise all of their events compose.
    """
    if len(statements) == 1:
        return statements[0]
    delta = max(statement.delta for statement in statements)
    events = [event for statement in statements for event in statement.events]
    runs = [run for statement in statements for run in statement.runs]
    if exclusive:
        bound = max((epsilon(s.events, delta, accountant) for s in statements), key=lambda bound: bound.value)
        how = f"for all {len(runs)} runs together: their cohorts exclude each other, so the larger total counts"
    else:
        bound = epsilon(events, delta, accountant)
        how = f"for all {len(runs)} runs together: one person may be in each of their cohorts, so they add up"
    return PrivacyStatement(
        bound,
        delta,
        events,
        None,
        None,
        sum(statement.rounds_planned for statement in statements),
        sum(statement.rounds_opened or 0 for statement in statements),
        " and the ".join(sorted({statement.conditional_on for statement in statements} - {None})) or None,
        all(statement.simulation for statement in statements),
        how,
        runs,
        statements,
    )


def figure(value: float) -> str:
    """An epsilon as a person reads it."""
    if math.isinf(value):
        return "infinite"
    if value >= 1e5:
        return f"{value:.3g}"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _factor(value: float) -> str:
    if value > 200:
        return f"e^{figure(value)}"
    factor = math.exp(value)
    return f"{factor:.2g}" if factor < 10 else f"{factor:,.0f}"


def _chance(delta: float) -> str:
    """4e-8 as "4 in 100 million"."""
    exponent = -math.floor(math.log10(delta) + 1e-9)
    for digits, word in ((12, " trillion"), (9, " billion"), (6, " million"), (3, ",000")):
        if digits <= exponent < digits + 3:
            return f"{delta * 10**exponent:.3g} in {10 ** (exponent - digits)}{word}"
    return f"{delta:.2g}"
