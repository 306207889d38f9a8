"""Local training beside the data: from public parameters and one user's examples to her clipped update.

A user's update is a function of (public parameters, her examples, key(seed, round, user)) and of nothing else: it
is the same whoever is trained beside her.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fedprobe.clients.data.shards import DataError, FederatedDataset
from fedprobe.clients.selection import Members
from fedprobe.clients.stacked import Batch, stacks, train_together
from fedprobe.models.flat import attach
from fedprobe.models.gan import GanConfig, critic_loss, descend
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.privacy.randomness import key

__all__ = ["ClientUpdate", "CriticUpdate", "DataError", "Public", "dropping_from", "seed_from"]

Public = dict[str, Tensor]


class ClientUpdate(Protocol):
    """What an engine runs beside the data: `(public parameters, members, round) -> the int64 sum over them`.

    Of words the sum is sparse, integers by word. Members are taken as they come, once: an engine deals them meanwhile.
    Raises DataError where a shard can no longer be read.
    """

    def __call__(self, public: Public, members: Iterable[int], round: int) -> np.ndarray | Counter[str]: ...


def seed_from(stream: torch.Generator) -> int:
    """The next seed for torch's own generator that a user's stream has."""
    return int(torch.randint(2**63 - 1, (1,), generator=stream))


@contextmanager
def dropping_from(stream: torch.Generator, device: torch.device) -> Iterator[None]:
    """Dropout, which draws from torch's own generator and takes no other, draws from a user's stream."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_from(stream))
        yield


@dataclass(frozen=True)
class CriticUpdate:
    """UserDiscUpdate of Algorithm 1: each user's critic steps on her real and the round's shared fake images.

    One pass over her shuffled examples in batches of `local_batch_size`, at most `local_steps` of them, plain SGD;
    the fake batch is cut to the real one's size. `public` holds `critic` [P] and `fakes` [steps, B, C, H, W] in
    [-1, 1].
    *Guarantee:* what is returned is a sum of `Mechanism.contribution`s, one a user; every array that leaves a user
    is inside it, because the critic has no buffers.
    Source: Augenstein et al. 2020, Algorithm 1. (The authors draw fakes on each device; here all users of a round
    share the server's public draw, so that an update is the user's alone and the generator runs once a round.)
    """

    dataset: FederatedDataset
    members: Members
    config: GanConfig
    mechanism: Mechanism
    local_batch_size: int
    local_steps: int
    learning_rate: float
    gradient_penalty: float
    seed: int
    device: str = "cpu"

    def __post_init__(self) -> None:
        if any(True for _ in self._critic.buffers()):
            raise ValueError("a critic with buffers is refused: they would leave the device unclipped")

    def __call__(self, public: Public, members: Iterable[int], round: int) -> np.ndarray:
        """The int64 sum [P] over `members` (positions in the cohort) of their clipped updates."""
        start = public["critic"].to(self.device)
        fakes = public["fakes"].to(self.device)
        users = (self._batches(member, fakes, round) for member in members)
        train = self._together if stacks(start.device) else self._alone
        return self.mechanism.sum_of(start.numel(), (delta.cpu().numpy() for delta in train(start, users)))

    @cached_property
    def _critic(self) -> nn.Module:
        """A module to compute with; its parameters are replaced before each use."""
        return self.config.critic().to(self.device)

    def _batches(self, member: int, fakes: Tensor, round: int) -> list[Batch]:
        """One user's batches: real images, fake ones, and where between them the gradient is taken.

        What is hers is on the CPU.
        """
        user = int(self.members.users[member])
        pixels = torch.from_numpy(self.members.read(self.dataset, [member]).pixels)
        generator = torch.Generator().manual_seed(key(self.seed, round, self.dataset.user_id(user)))
        order = torch.randperm(len(pixels), generator=generator)
        batches = pixels[order].mul(2).sub_(1).split(self.local_batch_size)[: self.local_steps]
        return [
            (real, fake[: len(real)], torch.rand(len(real), 1, 1, 1, generator=generator))
            for real, fake in zip(batches, fakes, strict=False)
            if len(real)
        ]

    def _alone(self, start: Tensor, users: Iterable[list[Batch]]) -> Iterator[Tensor]:
        """Each user's update [P]: the critic after her steps minus the critic before them."""
        critic = self._critic
        for batches in users:
            vector = start.clone()
            attach(critic, vector)
            for batch in batches:
                real, fake, mix = (part.to(start) for part in batch)
                descend(critic, real, fake, mix, self.gradient_penalty, self.learning_rate)
            yield vector.sub_(start)

    def _together(self, start: Tensor, users: Iterable[list[Batch]]) -> Iterator[Tensor]:
        """The same of many users at once."""

        def loss(critic: nn.Module, real: Tensor, fake: Tensor, mix: Tensor, counted: Tensor) -> Tensor:
            return critic_loss(critic, real, fake, mix, self.gradient_penalty, counted)

        counted = ([(*batch, batch[2].new_ones(len(batch[2]))) for batch in batches] for batches in users)
        size, image = self.local_batch_size, self.dataset.shape
        shapes = [(size, *image), (size, *image), (size, 1, 1, 1), (size,)]
        return train_together(self._critic, loss, start, counted, self.learning_rate, shapes, [0.0] * 4)
