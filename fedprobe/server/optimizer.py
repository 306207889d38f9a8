"""The server's optimisers, on flat vectors: what it does with a noised mean update is post-processing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

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
        """Change `vector_P` in place by one step and return the optimiser's new state (`state` {} at first).

        Raises ValueError for a gradient of another shape or type.
        """
        if (vector_P.shape, vector_P.dtype) != (gradient_P.shape, gradient_P.dtype):
            raise ValueError("a gradient has the shape and the type of the vector that it is of")
        if self.weight_decay:
            vector_P.mul_(1 - self.learning_rate * self.weight_decay)
        state = {name: value.clone() for name, value in state.items()}
        with torch.no_grad():
            return (self._adam if self.name == "adam" else self._sgd)(vector_P, gradient_P, state)

    # By torch's functions and not its classes, the first of which loads torch's compiler: two seconds of every command.

    def _adam(self, vector_P: Tensor, gradient_P: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if not state:
            state = {name: torch.zeros_like(vector_P) for name in ("exp_avg", "exp_avg_sq")}
            state["step"] = torch.tensor(0.0)
        moments = [state["exp_avg"]], [state["exp_avg_sq"]]
        adam(
            *([vector_P], [gradient_P], *moments, [], [state["step"]]),
            **{"lr": self.learning_rate, "beta1": self.betas[0], "beta2": self.betas[1], "eps": 1e-8},
            **{"weight_decay": 0.0, "amsgrad": False, "maximize": False},
        )
        return state

    def _sgd(self, vector_P: Tensor, gradient_P: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
        momentum = self.momentum if self.name == "momentum" else 0.0
        buffers = [state.get("momentum_buffer")]
        sgd(
            *([vector_P], [gradient_P], buffers),
            **{"lr": self.learning_rate, "momentum": momentum, "dampening": 0.0, "nesterov": momentum > 0},
            **{"weight_decay": 0.0, "maximize": False},
        )
        return {"momentum_buffer": buffers[0]} if momentum else {}


def optimizer_of(training: object) -> Optimizer:
    """The server's optimiser that a language model's or a classifier's hyperparameters name. Raises ValueError.

    `server_momentum` is Nesterov's momentum, or Adam's first beta.
    """
    momentum = training.server_momentum
    return Optimizer(training.server_optimizer, training.server_learning_rate, momentum, (momentum, 0.99))
