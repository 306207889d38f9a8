"""The server's optimisers, on flat vectors: what it does with a noised mean update is post-processing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

OPTIMIZERS = ("sgd", "momentum", "adam")


@dataclass(frozen=True)
class Optimizer:
    """A server-side optimiser: `sgd`, `momentum` (Nesterov's with `momentum` 0.99, say) or `adam` (`betas`).

    A step first takes `weight_decay` times the learning rate off every parameter, apart from the gradient (Loshchilov
    and Hutter 2019).
    """

    name: str
    learning_rate: float
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise ValueError(f"the optimiser is one of {', '.join(OPTIMIZERS)}")

    def scaled(self, factor: float) -> "Optimizer":
        """The same optimiser with `factor` of its learning rate."""
        return replace(self, learning_rate=self.learning_rate * factor)

    def step(self, vector_P: Tensor, gradient_P: Tensor, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Change `vector_P` in place by one step and return the optimiser's new state (`state` {} at first)."""
        if self.weight_decay:
            vector_P.mul_(1 - self.learning_rate * self.weight_decay)
        vector = torch.nn.Parameter(vector_P)
        vector.grad = gradient_P
        if self.name == "adam":
            optimizer = torch.optim.Adam([vector], lr=self.learning_rate, betas=self.betas)
        else:
            nesterov = self.name == "momentum" and self.momentum > 0
            momentum = self.momentum if self.name == "momentum" else 0.0
            optimizer = torch.optim.SGD([vector], lr=self.learning_rate, momentum=momentum, nesterov=nesterov)
        if state:
            optimizer.state[vector] = {name: value.clone() for name, value in state.items()}
        optimizer.step()
        return {name: value for name, value in optimizer.state[vector].items() if isinstance(value, Tensor)}


def optimizer_of(training: object) -> Optimizer:
    """The server's optimiser that a language model's or a classifier's hyperparameters name. Raises ValueError.

    `server_momentum` is Nesterov's momentum, or Adam's first beta.
    """
    momentum = training.server_momentum
    return Optimizer(training.server_optimizer, training.server_learning_rate, momentum, (momentum, 0.99))
