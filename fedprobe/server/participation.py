"""Who takes part in a round, and what an accountant must be told about it: one object, so that they agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.randomness import key, uniform_bits


@dataclass(frozen=True)
class PoissonParticipation:
    """Every member of the cohort independently with probability q = min(1, `users_per_round` / `population`).

    `population` is N_hat: public, or a DP release; fixed before the run. The sum of a round's updates is divided by
    `users_per_round`, never by the number of users drawn.
    *Guarantee:* with `draw` from the operating system's entropy, a round is a Poisson sample of the true members
    at this very q, whatever their number; `event` states it.
    """

    users_per_round: int
    population: int

    def __post_init__(self) -> None:
        if self.users_per_round < 1 or self.population < 1:
            raise ValueError("users per round and population must be at least 1")

    @property
    def sampling_probability(self) -> float:
        """q."""
        return min(1.0, self.users_per_round / self.population)

    def event(self, noise_multiplier: float, rounds: int) -> SampledGaussian:
        """What `rounds` rounds of this participation with Gaussian noise release."""
        return SampledGaussian(noise_multiplier, self.sampling_probability, rounds)

    def draw(self, members: int) -> np.ndarray:
        """The positions below `members` that take part in one round; secret, never to be repeated or kept."""
        if self.sampling_probability == 1:
            return np.arange(members)
        # Rounded down: nobody takes part with more than probability q.
        threshold = np.uint64(int(self.sampling_probability * 2**64))
        return np.flatnonzero(uniform_bits(members) < threshold)

    def draw_reproducibly(self, member_keys: Sequence[int], seed: int, round: int) -> np.ndarray:
        """The same for a simulation without noise: member u takes part iff uniform(key(seed, round, u)) < q.

        `member_keys` stands for the members' ids; the draw is the same however they are dealt to processes.
        """
        threshold = int(self.sampling_probability * 2**63)
        return np.flatnonzero([key(seed, "participation", round, member) < threshold for member in member_keys])
