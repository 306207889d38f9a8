"""Who takes part in a round, and what an accountant must be told about it: one object, so that they agree."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedprobe.errors import instead_of
from fedprobe.privacy.events import EVERY_USER, SampledGaussian, rounds_of
from fedprobe.privacy.randomness import key, uniform_bits


@dataclass(frozen=True)
class Participation(ABC):
    """Draws the users of a round, `users_per_round` (m) of `population` (N) or so, and states the event of it.

    Both numbers are public, or DP releases, and fixed before the run. The sum of a round's updates is divided by
    `users_per_round`, never by the number of users drawn. Raises ValueError where one of them is below 1.
    """

    name: ClassVar[str]

    users_per_round: int
    population: int

    def __post_init__(self) -> None:
        if self.users_per_round < 1 or self.population < 1:
            raise ValueError("users per round and population must be at least 1")

    @property
    def sampling_probability(self) -> float:
        """q = min(1, m / N)."""
        return min(1.0, self.users_per_round / self.population)

    def event(self, noise_multiplier: float, rounds: int) -> SampledGaussian:
        """What `rounds` rounds of this participation with Gaussian noise release; `rounds_of` argues why."""
        return rounds_of(self.name, self.users_per_round, self.population, noise_multiplier, rounds)

    @abstractmethod
    def draw(self, members: int) -> np.ndarray:
        """The positions below `members` that take part in one round; secret, never to be repeated or kept."""

    @abstractmethod
    def draw_reproducibly(self, member_keys: Sequence[int], seed: int, round: int) -> np.ndarray:
        """The same for a simulation without noise, decided by `seed`, `round` and the `member_keys` alone.

        `member_keys` stand for the members' ids: the order that they come in decides nothing.
        """


@dataclass(frozen=True)
class PoissonParticipation(Participation):
    """Every member of the cohort independently with probability q.

    *Guarantee:* with `draw` from the operating system's entropy, a round is a Poisson sample of the true members
    at this very q, whatever their number; `event` states it.
    """

    name: ClassVar[str] = "poisson"

    def draw(self, members: int) -> np.ndarray:
        if self.sampling_probability == 1:
            return np.arange(members)
        # Rounded down: nobody takes part with more than probability q.
        threshold = np.uint64(int(self.sampling_probability * 2**64))
        return np.flatnonzero(uniform_bits(members) < threshold)

    def draw_reproducibly(self, member_keys: Sequence[int], seed: int, round: int) -> np.ndarray:
        """Member u takes part iff uniform(key(seed, round, u)) < q, however the members are dealt to processes."""
        threshold = int(self.sampling_probability * 2**63)
        drawn = (key(seed, "participation", round, member) < threshold for member in member_keys)
        return np.flatnonzero(np.fromiter(drawn, bool, len(member_keys)))


@dataclass(frozen=True)
class FixedParticipation(Participation):
    """Exactly `users_per_round` distinct members, every such set as likely; all of them where there are fewer.

    *Guarantee:* with `draw` from the operating system's entropy, `event` bounds what a round reveals of one user
    more or less: she displaces another, so that it counts the noise as half of what it is. `population` is a public
    lower bound of the true membership. Where that is smaller all the same, places without a member are drawn, too,
    and fewer take part: each with probability m / `population`, as accounted for, and who comes displaces nobody.
    """

    name: ClassVar[str] = "fixed"

    def draw(self, members: int) -> np.ndarray:
        places = max(members, self.population)
        if places <= self.users_per_round:
            return np.arange(members)
        # A uniform set of m, or of those who are left out where they are the fewer.
        left_out = places - self.users_per_round
        drawn = _uniform_set(min(self.users_per_round, left_out), places)
        chosen = np.full(members, left_out < self.users_per_round)
        chosen[drawn[drawn < members]] ^= True
        return np.flatnonzero(chosen)

    def draw_reproducibly(self, member_keys: Sequence[int], seed: int, round: int) -> np.ndarray:
        """The members with the `users_per_round` smallest key(seed, round, member); it takes all of them at once."""
        ranked = sorted(
            range(len(member_keys)), key=lambda i: (key(seed, "participation", round, member_keys[i]), member_keys[i])
        )
        return np.sort(np.array(ranked[: self.users_per_round], dtype=np.intp))


def _uniform_set(count: int, places: int) -> np.ndarray:
    """`count` distinct numbers below `places`, ascending, every such set as likely: the first distinct ones of
    independent uniform numbers."""
    # Of 64-bit numbers the last few are left out, so that every place has as many.
    last = 2**64 - 2**64 % places
    drawn: set[int] = set()
    while len(drawn) < count:
        for bits in uniform_bits(count).tolist():
            if bits < last and len(drawn) < count:
                drawn.add(bits % places)
    return np.array(sorted(drawn), dtype=np.intp)


@dataclass(frozen=True)
class NoAmplification(PoissonParticipation):
    """Users are drawn as by `PoissonParticipation`, but who takes part is not counted on being secret.

    *Guarantee:* `event` holds towards somebody who knows the draws of every round, as long as they depend on
    nobody's data; a user costs every round whether she took part in it or not.
    """

    name: ClassVar[str] = "none"


@dataclass(frozen=True)
class EveryUser(Participation):
    """Every member of the cohort, each time: what methods with one release ask for. Nobody is drawn.

    How many there are is no part of it: the sum is divided by 1, and is released as a sum.
    *Guarantee:* `event` counts nothing on who takes part.
    """

    name: ClassVar[str] = EVERY_USER

    users_per_round: int = 1
    population: int = 1

    def draw(self, members: int) -> np.ndarray:
        return np.arange(members)

    def draw_reproducibly(self, member_keys: Sequence[int], seed: int, round: int) -> np.ndarray:
        return np.arange(len(member_keys))


_BY_NAME = {kind.name: kind for kind in (PoissonParticipation, FixedParticipation, NoAmplification)}


def participation(name: str, users_per_round: int | None, population: int | None) -> Participation:
    """The participation that the command line calls `name`: poisson, fixed or none; or `every-user` of either None.

    Raises ValueError for another.
    """
    if name == EVERY_USER:
        return EveryUser()
    if name not in _BY_NAME:
        raise ValueError(f"unknown participation; {instead_of(name, _BY_NAME)}")
    return _BY_NAME[name](users_per_round, population)
