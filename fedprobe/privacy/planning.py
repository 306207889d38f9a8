"""From an epsilon back to a plan: how much noise, how many users a round, rounds, or users in all it takes.

Each plan is found by asking `accountants.epsilon`, so that what was planned is what will be accounted for. The
neighbour of every answer was asked, too, and costs more than the target: nothing is given away beyond the last digit.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial

from fedprobe.errors import instead_of
from fedprobe.privacy.accountants import CannotAccount, epsilon
from fedprobe.privacy.events import SampledGaussian, rounds_of
from fedprobe.privacy.statement import PrivacyStatement, default_delta, state

UNKNOWNS = ("noise-multiplier", "users-per-round", "rounds", "population")
# Where the search ends. Noise multipliers are numbers of four digits from 0.0001 to 1,000,000, 9,000 to a decade.
_NOISE_DECADES = 10
_MOST_ROUNDS = 10**7
_MOST_USERS = 10**10
_STEPS_TO_HALVE = 3
_SMALLEST_STRIDE, _LARGEST_STRIDE = 0.002, 50.0


@dataclass(frozen=True)
class PlannedRounds:
    """A plan as numbers; `delta` None is `default_delta(population)`."""

    noise_multiplier: float
    users_per_round: int
    population: int
    rounds: int
    delta: float | None = None
    participation: str = "poisson"

    @property
    def event(self) -> SampledGaussian:
        """What these rounds release. Raises ValueError for numbers that no rounds can have."""
        return rounds_of(self.participation, self.users_per_round, self.population, self.noise_multiplier, self.rounds)

    @property
    def noise_on_the_mean(self) -> float:
        """sigma / S: the noise's standard deviation on the mean update, in clip norms."""
        return self.noise_multiplier / self.users_per_round

    def epsilon(self, accountant: str = "auto", *, coarse: bool = False) -> float:
        """What the plan costs at its delta; options, and what is raised, as of `accountants.epsilon`."""
        delta = default_delta(self.population) if self.delta is None else self.delta
        return epsilon([self.event], delta, accountant, coarse=coarse).value

    def statement(self, accountant: str = "auto") -> PrivacyStatement:
        """The same with all that must be said beside it."""
        return state(
            self.event,
            users_per_round=self.users_per_round,
            population=self.population,
            participation=self.participation,
            noise_multiplier=self.noise_multiplier,
            delta=self.delta,
            accountant=accountant,
        )


def solve(
    unknown: str,
    *,
    target_epsilon: float,
    noise_multiplier: float | None = None,
    users_per_round: int | None = None,
    population: int | None = None,
    rounds: int | None = None,
    delta: float | None = None,
    participation: str = "poisson",
    accountant: str = "auto",
) -> PlannedRounds:
    """The plan that just keeps to `target_epsilon`; of the four numbers all but the `unknown` one are given.

    `noise-multiplier`: the smallest of four digits. `users-per-round`, `rounds`: the largest; `population`: the
    smallest, from `users_per_round` on, with `default_delta` of it where `delta` is None.
    *Guarantee:* the plan's epsilon is at most the target; with the noise multiplier less by one in its fourth digit,
    one user a round or one round more, or one user fewer in the population, it is above. Where everybody may take
    part in every round, users per round and population are equal instead. (An accountant's figures wobble in their
    fourth digit, so that there may be several such plans: it is one of them.)
    Raises ValueError where no plan, or every plan, keeps to the target, and says what to change; and as
    `accountants.epsilon` does.
    """
    if unknown not in UNKNOWNS:
        raise ValueError(f"unknown quantity to solve for; {instead_of(unknown, UNKNOWNS)}")
    given = {
        "noise-multiplier": noise_multiplier,
        "users-per-round": users_per_round,
        "rounds": rounds,
        "population": population,
    }
    wrong = [name for name, value in given.items() if (value is None) != (name == unknown)]
    if wrong:
        raise ValueError(f"to solve for {unknown}, give the other three and not itself; look at {', '.join(wrong)}")
    if not 0 < target_epsilon < math.inf:
        raise ValueError("the target epsilon must be above 0 and finite")
    if accountant == "paper":
        raise ValueError("the paper's arithmetic proves nothing to plan with; use --accountant auto")
    if participation == "none" and unknown in ("users-per-round", "population"):
        raise ValueError(
            f"without amplification epsilon does not depend on {unknown}; solve for noise-multiplier or rounds"
        )
    known = PlannedRounds(
        **{name.replace("-", "_"): 1 if value is None else value for name, value in given.items()},
        delta=delta,
        participation=participation,
    )
    # What cannot be a plan at all is said before anything is searched for.
    _ = known.event
    if unknown != "noise-multiplier" and noise_multiplier == 0:
        raise ValueError("without noise epsilon is infinite whatever the rest; give a noise multiplier above 0")
    axis = _axis(unknown, known)
    return axis.plan(_search(axis, target_epsilon, accountant))


def scale(simulated: PlannedRounds, population: int, noise_multiplier: float = 1.0) -> PlannedRounds:
    """The rounds of a deployment on `population` users with the noise on the mean that a simulation stood.

    sigma = z S / m stays what it was, or just below it where m is not a whole number: the users a round grow as the
    noise multiplier does. All else, a delta that was given too, stays. Raises ValueError where the population has not
    so many users. Source: Augenstein et al. 2020, Section 6, *Privacy at Scale*.
    """
    multipliers = (simulated.noise_multiplier, noise_multiplier)
    if simulated.users_per_round < 1 or not all(0 < multiplier < math.inf for multiplier in multipliers):
        raise ValueError("to scale up, a plan needs users, and noise multipliers above 0 before and after")
    # Decimal fractions as they were typed: 10 x 1 / 0.01 is 1,000, not a rounding error more.
    before, after = (Fraction(str(float(multiplier))) for multiplier in multipliers)
    users = math.ceil(simulated.users_per_round * after / before)
    if users > population:
        raise ValueError(
            f"noise multiplier {noise_multiplier:g} takes {users} users a round, and the population has {population}; "
            "take a larger population, or a smaller noise multiplier"
        )
    return replace(simulated, users_per_round=users, population=population, noise_multiplier=noise_multiplier)


@dataclass(frozen=True)
class _Axis:
    """The unknown on a scale of whole numbers, from `least_safe`, which costs most, to `safest`."""

    known: PlannedRounds
    field: str
    least_safe: int
    safest: int
    all_safe: str | None
    none_safe: str

    def value(self, place: int) -> float | int:
        if self.field != "noise_multiplier":
            return place
        return float(f"{1000 + place % 9000}e{place // 9000 - 7}")

    def place(self, value: float) -> int:
        """Where `value` is, nearly, on the scale and between its ends."""
        if self.field == "noise_multiplier":
            decade = math.floor(math.log10(value))
            value = 9000 * (decade + 4) + 1000 * (value / 10.0**decade - 1)
        low, high = sorted((self.least_safe, self.safest))
        return min(high, max(low, round(value)))

    def plan(self, place: int) -> PlannedRounds:
        return replace(self.known, **{self.field: self.value(place)})


def _axis(unknown: str, known: PlannedRounds) -> _Axis:
    match unknown:
        case "noise-multiplier":
            return _Axis(
                known,
                "noise_multiplier",
                least_safe=0,
                safest=9000 * _NOISE_DECADES,
                all_safe="a noise multiplier of 0.0001 costs less already: give a smaller target",
                none_safe="not even a noise multiplier of 1,000,000 keeps to it: give a larger target or delta",
            )
        case "users-per-round":
            return _Axis(
                known,
                "users_per_round",
                least_safe=known.population,
                safest=1,
                all_safe=None,
                none_safe="1 user a round costs more: give more noise, fewer rounds, or a larger target",
            )
        case "rounds":
            return _Axis(
                known,
                "rounds",
                least_safe=_MOST_ROUNDS,
                safest=1,
                all_safe=f"{_MOST_ROUNDS:,} rounds cost less: give a smaller target or less noise",
                none_safe="1 round costs more: give more noise, fewer users a round, or a larger target",
            )
        case _:
            return _Axis(
                known,
                "population",
                least_safe=known.users_per_round,
                safest=max(known.users_per_round, _MOST_USERS),
                all_safe=None,
                none_safe=f"{_MOST_USERS:,} users are too few: give more noise, fewer rounds, or a larger target",
            )


def _search(axis: _Axis, target: float, accountant: str) -> int:
    """The least safe place that keeps to the target. Raises ValueError as `solve` does."""
    refused: dict[int, CannotAccount] = {}

    @cache
    def excess(accountant: str, coarse: bool, place: int) -> float:
        """log(epsilon / target): above 0 where the place does not keep to the target."""
        try:
            cost = axis.plan(place).epsilon(accountant, coarse=coarse)
        except CannotAccount as error:
            refused[place] = error
            return math.inf
        return math.log(cost / target) if cost > 0 else -math.inf

    # What is quick tells the next where to begin; only the last one decides.
    passes = {("rdp", False): None, (accountant, accountant in ("auto", "pld")): None, (accountant, False): None}
    start, found = axis.safest, None
    for how in passes:
        found = _boundary(axis, partial(excess, *how), start)
        start = start if found is None else found[1]
    if found is None:
        if axis.safest in refused:
            raise refused[axis.safest]
        raise ValueError(f"no plan keeps to epsilon {target:g}: {axis.none_safe}")
    unsafe, safe = found
    if unsafe == safe and axis.all_safe is not None:
        raise ValueError(f"every plan keeps to epsilon {target:g}: {axis.all_safe}")
    if unsafe in refused and unsafe != safe:
        raise refused[unsafe]
    return safe


def _boundary(axis: _Axis, excess: Callable[[int], float], start: int) -> tuple[int, int] | None:
    """Neighbouring places, the first above the target and the second not, looked for from `start` outwards.

    Both are the same place where all keep to the target; None where none does.
    """
    started_safe = excess(start) <= 0
    end = axis.least_safe if started_safe else axis.safest
    here, stride = start, 1.0
    while here != end:
        # Epsilon is about proportional to noise, users and population, and to the root of the rounds.
        off = abs(excess(here)) * (2.2 if axis.field == "rounds" else 1.1) * stride
        factor = math.exp(min(_LARGEST_STRIDE, max(_SMALLEST_STRIDE, off)))
        there = axis.place(axis.value(here) * factor if end > here else axis.value(here) / factor)
        if there == here:
            there += 1 if end > here else -1
        if (excess(there) <= 0) != started_safe:
            return _close_in(axis, excess, *((there, here) if started_safe else (here, there)))
        here, stride = there, 2 * stride
    return (here, here) if started_safe else None


def _close_in(axis: _Axis, excess: Callable[[int], float], unsafe: int, safe: int) -> tuple[int, int]:
    """Neighbouring places, the first above the target and the second not, between two that are.

    False position with Illinois' correction on logarithms of both; halving where that gets on too slowly.
    """
    high, low = excess(unsafe), excess(safe)
    width, kept = abs(safe - unsafe), None
    for step in itertools.count(1):
        if abs(safe - unsafe) <= 1:
            return unsafe, safe
        guess = (safe + unsafe) // 2
        slow = step % _STEPS_TO_HALVE == 0 and abs(safe - unsafe) > width / 2
        if not slow and math.isfinite(high) and math.isfinite(low) and high > low:
            share = high / (high - low)
            near = axis.place(axis.value(unsafe) ** (1 - share) * axis.value(safe) ** share)
            least, most = sorted((safe, unsafe))
            guess = min(most - 1, max(least + 1, near))
        if step % _STEPS_TO_HALVE == 0:
            width = abs(safe - unsafe)
        at = excess(guess)
        if at > 0:
            unsafe, high = guess, at
            low = low / 2 if kept == "safe" else low
            kept = "safe"
        else:
            safe, low = guess, at
            high = high / 2 if kept == "unsafe" else high
            kept = "unsafe"
