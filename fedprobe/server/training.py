"""The one round loop: open, draw, map, release, write, apply, checkpoint."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fedprobe.privacy.mechanism import Mechanism
from fedprobe.privacy.partition_selection import PartitionSelection
from fedprobe.runs import Run
from fedprobe.server.participation import Participation
from fedprobe.server.releases import Releases


class Algorithm(Protocol):
    """A federated algorithm as a value; states are immutable and may be checkpointed as named tensors."""

    def init(self) -> Any: ...

    def restore(self, tensors: Mapping[str, Tensor]) -> Any: ...

    def broadcast(self, state: Any, round: int) -> dict[str, Tensor]: ...

    def apply(self, state: Any, mean_update_P: Tensor, round: int) -> tuple[Any, dict[str, float]]: ...


class Engine(Protocol):
    """How a round's members are mapped to processors."""

    def sum(self, public: dict[str, Tensor], members: Sequence[int], round: int) -> np.ndarray | Counter[str]: ...


class Rounds(Protocol):
    """Who counts the rounds of a run, durably: the ledger."""

    def open(self) -> int: ...


@dataclass(frozen=True)
class Plan:
    """What was declared before the first round: participation, mechanism, how many rounds, of how many members.

    `member_keys` stand for the members in a simulation without noise, where they and `seed` decide who takes part;
    None: the operating system's entropy does.
    """

    participation: Participation
    mechanism: Mechanism | PartitionSelection
    rounds: int
    members: int
    seed: int
    member_keys: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.member_keys is not None and self.mechanism.noise_multiplier > 0:
            raise ValueError("participation comes from the seed only where there is no noise")

    def draw(self, round: int) -> np.ndarray:
        """The members of `round`."""
        if self.member_keys is not None:
            return self.participation.draw_reproducibly(self.member_keys, self.seed, round)
        return self.participation.draw(self.members)


def train(
    algorithm: Algorithm,
    state: Any,
    plan: Plan,
    engine: Engine,
    run: Run,
    rounds: Rounds,
    releases: Releases,
    *,
    first_round: int = 1,
    checkpoint_every: int = 50,
    on_round: Callable[[int, Any], None] = lambda round, state: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Any, int]:
    """Train from `first_round` to `plan.rounds`; return the last state and the number of rounds it has seen.

    A round whose noised sum lies in `releases` already is applied again and not opened. Ends early, after a whole
    round, once `stop()` is true; a checkpoint of the last round is always written.
    *Guarantee:* all that the state learns of the users is `plan.mechanism.release` of one sum a round; each round is
    marked opened before its users are drawn, and its noised sum is written before it is applied, never drawn again.
    The mean's denominator is `users_per_round`, fixed.
    """
    round = first_round - 1
    ending = round >= plan.rounds
    if ending:
        # As a crash after the last checkpoint left them.
        releases.forget()
    while not ending:
        round += 1
        mean_update = releases.read(round)
        if mean_update is None:
            rounds.open()
            run.open_round()
            total = engine.sum(algorithm.broadcast(state, round), plan.draw(round), round)
            released = plan.mechanism.release(total)
            denominator = plan.participation.users_per_round
            # What every user is in once stays a sum: of words it is a table, which nothing divides.
            mean_update = releases.write(round, released if denominator == 1 else released / denominator)
        state, figures = algorithm.apply(state, torch.from_numpy(mean_update), round)
        run.log({"round": round, **figures})
        ending = round == plan.rounds or stop()
        if ending or round % checkpoint_every == 0:
            run.checkpoint(round, state.tensors())
            releases.forget_through(round)
        if round == plan.rounds:
            releases.forget()
        on_round(round, state)
    return state, round
