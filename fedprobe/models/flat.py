"""A module's trainable parameters as one vector [P], the form in which updates are clipped, summed and applied."""

import torch
from torch import Tensor, nn


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes, in the module's order: the order of the flat vector."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def flatten(module: nn.Module) -> Tensor:
    """A copy of the trainable parameters as one vector [P]."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in trainable(module)])


def attach(module: nn.Module, vector_P: Tensor) -> None:
    """Let the trainable parameters be views of `vector_P`: what changes the one changes the other.

    Raises ValueError for a vector of another length.
    """
    parameters = trainable(module)
    if vector_P.numel() != sum(parameter.numel() for parameter in parameters):
        raise ValueError("the vector's length is not the module's number of parameters")
    start = 0
    for parameter in parameters:
        parameter.data = vector_P[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
