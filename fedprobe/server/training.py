"""The one round loop: open, draw, map, release, apply, checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fedprobe.privacy.mechanism import Mechanism
from fedprobe.runs import Run
from fedprobe.server.participation import PoissonParticipation


class Algorithm(Protocol):
    """A federated algorithm as a value; states are immutable and may be checkpointed as named tensors."""

    def init(self) -> Any: ...

    def restore(self, tensors: Mapping[str, Tensor]) -> Any: ...

    def broadcast(self, state: Any, round: int) -> dict[str, Tensor]: ...

    def apply(self, state: Any, mean_update_P: Tensor, round: int) -> tuple[Any, dict[str, float]]: ...


class Engine(Protocol):
    """How a round's members are mapped to processors."""

    def sum(self, public: dict[str, Tensor], members: Sequence[int], round: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Plan:
    """What was declared before the first round: participation, mechanism, how many rounds.

    `member_keys` stands for the members of the cohort; `reproducible` (a simulation without noise) lets `seed`
    decide who takes part, otherwise the operating system's entropy does.
    """

    participation: PoissonParticipation
    mechanism: Mechanism
    rounds: int
    member_keys: Sequence[int]
    seed: int
    reproducible: bool = False

    def __post_init__(self) -> None:
        if self.reproducible and self.mechanism.noise_multiplier > 0:
            raise ValueError("participation comes from the seed only where there is no noise")

    def draw(self, round: int) -> np.ndarray:
        """The members of `round`."""
        if self.reproducible:
            return self.participation.draw_reproducibly(self.member_keys, self.seed, round)
        return self.participation.draw(len(self.member_keys))


def train(
    algorithm: Algorithm,
    state: Any,
    plan: Plan,
    engine: Engine,
    run: Run,
    *,
    first_round: int = 1,
    checkpoint_every: int = 50,
    on_round: Callable[[int, Any], None] = lambda round, state: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Any, int]:
    """Train from `first_round` to `plan.rounds`; return the last state and the number of rounds it has seen.

    Ends early, after a whole round, once `stop()` is true; a checkpoint of the last round is always written.
    *Guarantee:* all that the state learns of the users is `plan.mechanism.release` of one sum a round; each round is
    marked opened before its users are drawn. The mean's denominator is `users_per_round`, fixed.
    """
    round = first_round - 1
    ending = round >= plan.rounds
    while not ending:
        round += 1
        run.open_round()
        total = engine.sum(algorithm.broadcast(state, round), plan.draw(round), round)
        mean_update = plan.mechanism.release(total) / plan.participation.users_per_round
        state, figures = algorithm.apply(state, torch.from_numpy(mean_update), round)
        run.log({"round": round, **figures})
        ending = round == plan.rounds or stop()
        if ending or round % checkpoint_every == 0:
            run.checkpoint(round, state.tensors())
        on_round(round, state)
    return state, round
