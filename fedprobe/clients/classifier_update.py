"""Local training of a classifier beside the data: from public parameters and one user's images to her clipped update.

A user's update is a function of (public parameters, her examples, key(seed, round, user)) and of nothing else.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedprobe.clients.data.shards import FederatedDataset, UserBatch
from fedprobe.clients.selection import Members
from fedprobe.clients.stacked import Batch, stacks, train_together
from fedprobe.clients.updates import Public, dropping_from, seed_from
from fedprobe.models.classifier import ClassifierConfig, merge_case
from fedprobe.models.devices import computing_in
from fedprobe.models.flat import attach, trainable
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.privacy.randomness import key

# One user's images [n, C, H, W] in [-1, 1], their labels [n], and her stream of random numbers.
Examples = tuple[Tensor, Tensor, torch.Generator]
# A label that is none: it pads a batch.
_NO_LABEL = -100


@dataclass(frozen=True)
class ClassifierUpdate:
    """UserUpdate of Algorithm 2 on labelled images: local epochs of plain SGD on the cross-entropy.

    A round takes `examples_per_user` of a user's images at random. `public` holds `model` [P]. What is random in the
    network itself is drawn from the user's own key. A user who holds a label or a pixel that cannot be (labels are 0 to
    `config.labels` - 1, pixels in [0, 1]) contributes zeros: nobody learns that she does.
    *Guarantee:* what is returned is a sum of `Mechanism.contribution`s, one a user; every array that leaves a user
    is inside it, because the model has no buffers.
    Source: Augenstein et al. 2020, Algorithm 2. (Which they use for language models; the cap is not in it.)
    """

    dataset: FederatedDataset
    members: Members
    config: ClassifierConfig
    mechanism: Mechanism
    local_batch_size: int
    local_epochs: int
    examples_per_user: int
    learning_rate: float
    seed: int
    device: str = "cpu"
    precision: str = "float32"

    def __post_init__(self) -> None:
        computing_in(self.precision, self.device)
        self.dataset.require_labels()
        if any(True for _ in self._model.buffers()):
            raise ValueError("a model with buffers is refused: they would leave the device unclipped")

    def __call__(self, public: Public, members: Iterable[int], round: int) -> np.ndarray:
        """The int64 sum [P] over `members` (positions in the cohort) of their clipped updates."""
        start = public["model"].to(self.device)
        users = filter(None, (self._examples(member, round) for member in members))
        train = self._together if stacks(start.device) and not self._draws else self._alone
        return self.mechanism.sum_of(start.numel(), (delta.cpu().numpy() for delta in train(start, users)))

    def _examples(self, member: int, round: int) -> Examples | None:
        """One user's images and labels of this round, on the CPU, and her stream; None where they cannot be."""
        examples = self.members.read(self.dataset, [member])
        if not self._can_be(examples):
            return None
        user = int(self.members.users[member])
        stream = torch.Generator().manual_seed(key(self.seed, round, self.dataset.user_id(user)))
        return *self._chosen(examples, stream), stream

    def _can_be(self, examples: UserBatch) -> bool:
        """Whether there are examples, and all of them have pixels and labels that one can train on."""
        pixels, labels = examples.pixels, examples.labels
        if not len(labels):
            return False
        # Written so that a NaN, which no comparison holds for, fails.
        seen = pixels.min() >= 0 and pixels.max() <= 1
        return bool(seen and labels.min() >= 0 and labels.max() < self.config.labels)

    def _chosen(self, examples: UserBatch, stream: torch.Generator) -> tuple[Tensor, Tensor]:
        """At most so many of her examples: images [n, C, H, W] in [-1, 1], and labels [n]."""
        chosen = torch.randperm(len(examples.labels), generator=stream)[: self.examples_per_user]
        labels = torch.from_numpy(examples.labels)[chosen]
        images = torch.from_numpy(examples.pixels)[chosen].mul_(2).sub_(1)
        return images, merge_case(labels) if self.config.merge_case else labels

    @cached_property
    def _model(self) -> nn.Module:
        """A module to compute with; its parameters are replaced before each use."""
        with torch.random.fork_rng(devices=[]):
            return self.config.build().to(self.device)

    @property
    def _draws(self) -> bool:
        """Whether the network draws at random itself: what it draws is each user's own only where she is alone."""
        return any(isinstance(layer, nn.modules.dropout._DropoutNd) for layer in self._model.modules())

    def _batches(self, images: Tensor, labels: Tensor, stream: torch.Generator) -> Iterator[Batch]:
        """One user's batches of all local epochs."""
        for _ in range(self.local_epochs):
            order = torch.randperm(len(labels), generator=stream)
            yield from ((images[batch], labels[batch]) for batch in order.split(self.local_batch_size))

    def _together(self, start: Tensor, users: Iterable[Examples]) -> Iterator[Tensor]:
        """What `_alone` makes of each of many users, at once."""

        def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            with computing_in(self.precision, self.device):
                return functional.cross_entropy(model(images), labels, ignore_index=_NO_LABEL)

        def batches(images: Tensor, labels: Tensor, stream: torch.Generator) -> list[Batch]:
            # As where users are alone, before her batches.
            seed_from(stream)
            return list(self._batches(images, labels, stream))

        size = self.local_batch_size
        shapes = [(size, *self.dataset.shape), (size,)]
        ready = (batches(*examples) for examples in users)
        return train_together(self._model, loss, start, ready, self.learning_rate, shapes, [0.0, _NO_LABEL])

    def _alone(self, start: Tensor, users: Iterable[Examples]) -> Iterator[Tensor]:
        """Each user's update [P]: the model after her steps minus the model before them."""
        model = self._model
        for images, labels, stream in users:
            vector = start.clone()
            attach(model, vector)
            parameters = trainable(model)
            with dropping_from(stream, start.device):
                for some, named in self._batches(images, labels, stream):
                    with computing_in(self.precision, self.device):
                        loss = functional.cross_entropy(model(some.to(start)), named.to(start.device))
                    gradients = torch.autograd.grad(loss, parameters)
                    with torch.no_grad():
                        torch._foreach_add_(parameters, gradients, alpha=-self.learning_rate)
            yield vector.sub_(start)
