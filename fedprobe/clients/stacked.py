"""Local training of many users at once, for an accelerator: their parameters stacked, their ragged batches padded.

What a CPU does user after user would be bound by the launches of small kernels there.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

# One user's batch: what the loss takes beside the module.
Batch = tuple[Tensor, ...]

_USERS_AT_ONCE = 32


def stacks(device: torch.device) -> bool:
    """Whether users are trained together there: on a CPU it gains nothing."""
    return device.type != "cpu"


class _Loss(nn.Module):
    def __init__(self, module: nn.Module, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, *batch: Tensor) -> Tensor:
        return self.loss(self.module, *batch)


def train_together(
    module: nn.Module,
    loss: Callable[..., Tensor],
    start: Tensor,
    users: Iterable[Sequence[Batch]],
    learning_rate: float,
    shapes: Sequence[Sequence[int]],
    fills: Sequence[float],
    users_at_once: int = _USERS_AT_ONCE,
) -> Iterator[Tensor]:
    """Each user's update [P] after plain SGD on `loss(module, *batch)` over her batches, from parameters `start` [P].

    Batches may be on the CPU, and should be where they hold what is hers: those of one step at a time go to where
    `start` is. They are padded to the public `shapes` with `fills`, which the loss must leave out, and users to
    `users_at_once` (half as many where the memory does not hold them): so what that device must hold does not tell who
    was drawn, no shape depends on who else is there, nor does the update of anybody, as far as a processor computes the
    same shapes alike. No more than `users_at_once` are asked for ahead.
    Raises torch's OutOfMemoryError where it does not hold one.
    """
    ahead = iter(users)
    here: list[Sequence[Batch]] = []
    while here := here or list(islice(ahead, users_at_once)):
        try:
            deltas = _train(module, loss, start, here[:users_at_once], learning_rate, shapes, fills, users_at_once)
        except torch.OutOfMemoryError:
            if users_at_once == 1:
                raise
            users_at_once //= 2
            continue
        yield from deltas
        here = here[users_at_once:]


def _train(module, loss, start, users, learning_rate, shapes, fills, rows) -> Tensor:
    """The updates [users, P] of some users, computed as `rows` of them."""
    wrapped = _Loss(module, loss)
    names = [name for name, parameter in wrapped.named_parameters() if parameter.requires_grad]
    like = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    initial = [part.view_as(one) for part, one in zip(start.split([one.numel() for one in like]), like, strict=True)]
    stacked = {name: part.expand(rows, *part.shape).clone() for name, part in zip(names, initial, strict=True)}
    step = vmap(grad(lambda parameters, *batch: functional_call(wrapped, parameters, batch)))
    for number in range(max((len(batches) for batches in users), default=0)):
        padded = [
            torch.full((rows, *shape), fill, dtype=dtype, device=start.device)
            for shape, fill, dtype in zip(shapes, fills, _dtypes(users, start), strict=True)
        ]
        active = torch.zeros(rows, dtype=torch.bool)
        for row, batches in enumerate(users):
            if number < len(batches):
                active[row] = True
                for place, value in zip(padded, batches[number], strict=True):
                    place[(row, *map(slice, value.shape))] = value
        active = active.to(start.device)
        for name, gradient in step(stacked, *padded).items():
            one = active.view(-1, *[1] * (gradient.dim() - 1))
            # Chosen, not multiplied: what has no examples may have no gradient that is a number.
            stacked[name] = torch.where(one, stacked[name] - learning_rate * gradient, stacked[name])
    return torch.cat([(stacked[name] - part).flatten(1) for name, part in zip(names, initial, strict=True)], 1)[
        : len(users)
    ]


def _dtypes(users: Sequence[Sequence[Batch]], start: Tensor) -> list[torch.dtype]:
    batch = next(batch for batches in users for batch in batches)
    return [start.dtype if value.is_floating_point() else value.dtype for value in batch]
