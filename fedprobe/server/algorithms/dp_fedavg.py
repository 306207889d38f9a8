"""DP-FedAvg: Algorithm 2 of Augenstein et al., "Generative Models for Effective ML on Private, Decentralized Datasets",
ICLR 2020 (after McMahan et al., "Learning Differentially Private Recurrent Language Models", ICLR 2018).

Users train locally; their clipped updates reach the server as one noised sum a round, which the server's optimiser
takes for a step. Momentum lies at the server and is post-processing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fedprobe.models.flat import flatten
from fedprobe.privacy.randomness import key
from fedprobe.server.optimizer import Optimizer


class Buildable(Protocol):
    """The configuration of any model: `LanguageConfig`, `ClassifierConfig`."""

    def build(self) -> nn.Module: ...


@dataclass(frozen=True)
class FedAvgState:
    """Everything that a round changes: the model's flat parameters [P] and the optimiser's state.

    `average` is the exponential average of the model, from which samples are drawn.
    """

    model: Tensor
    average: Tensor
    optimizer: dict[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors, for a checkpoint."""
        flat = {"model": self.model, "average": self.average}
        return {**flat, **{f"optimizer/{name}": value for name, value in self.optimizer.items()}}


@dataclass(frozen=True)
class DpFedAvg:
    """Algorithm 2. A value: `init` makes a state, `broadcast` what devices get, `apply` the next state.

    The paper's language models: `optimizer` with Nesterov momentum 0.99 and learning rate 1. `model_average` is the
    decay of the exponential average (0: none), and over `decays_over` rounds the learning rate goes down linearly to
    zero (None: it stays); both are post-processing, too, and not in the paper.
    """

    config: Buildable
    optimizer: Optimizer
    model_average: float
    seed: int
    device: str = "cpu"
    decays_over: int | None = None

    def init(self) -> FedAvgState:
        """Initial parameters, from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(self.seed, "initial parameters"))
            model = self.config.build()
        vector = flatten(model).to(self.device)
        return FedAvgState(vector, vector.clone(), {})

    def restore(self, tensors: Mapping[str, Tensor]) -> FedAvgState:
        """The state that `tensors` was made from. Raises ValueError where it is none of this model's."""
        size = self.init().model.numel()
        if any(name not in tensors or tensors[name].numel() != size for name in ("model", "average")):
            raise ValueError("the tensors are none of this model's")
        optimizer = {
            name.removeprefix("optimizer/"): value for name, value in tensors.items() if name.startswith("optimizer/")
        }
        return FedAvgState(tensors["model"], tensors["average"], optimizer)

    def broadcast(self, state: FedAvgState, round: int) -> dict[str, Tensor]:
        """What every device of the round gets: the model [P]."""
        return {"model": state.model}

    def apply(self, state: FedAvgState, mean_update_P: Tensor, round: int) -> tuple[FedAvgState, dict[str, float]]:
        """The state after one noised mean update, and figures to log, all made from released values."""
        update = mean_update_P.to(device=self.device, dtype=state.model.dtype)
        vector = state.model.clone()
        left = 1.0 if self.decays_over is None else max(0.0, 1 - (round - 1) / self.decays_over)
        optimizer = self.optimizer.scaled(left).step(vector, -update, state.optimizer)
        # The average must not remember the untrained model for long.
        decay = min(self.model_average, round / (round + 9))
        average = torch.lerp(vector, state.average, decay)
        return FedAvgState(vector, average, optimizer), {"released_update_norm": float(update.norm())}
