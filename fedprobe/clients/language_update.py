"""Local training of a language model beside the data: from public parameters and one user's text to her clipped update.

A user's update is a function of (public parameters, her text, key(seed, round, user)) and of nothing else.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedprobe.clients.data.shards import FederatedDataset, TextError
from fedprobe.clients.selection import Members
from fedprobe.clients.stacked import Batch, stacks, train_together
from fedprobe.clients.updates import Public, dropping_from
from fedprobe.models.devices import computing_in
from fedprobe.models.flat import attach, trainable
from fedprobe.models.language import NO_TARGET, LanguageConfig, LanguageModel
from fedprobe.models.vocabulary import Bytes, Vocabulary
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.privacy.randomness import key

# One user's sequences of ids, and her stream of random numbers.
Drawn = tuple[list[list[int]], torch.Generator]


@dataclass(frozen=True)
class LanguageModelUpdate:
    """UserUpdate of Algorithm 2: local epochs of plain SGD on one user's sentences, or on her words.

    A `Vocabulary` as `codec` makes sequences of words (one a sentence), `Bytes` makes sequences of bytes (one a word).
    A round takes `sequences_per_user` of them at random, and no more than `symbols_per_user` symbols; each is cut
    after `sequence_length` symbols, and only a whole one is followed by the end symbol. `distinct`: what a user has
    many times counts once. `public` holds `model` [P].
    *Guarantee:* what is returned is a sum of `Mechanism.contribution`s, one a user; every array that leaves a user
    is inside it, because the model has no buffers.
    Source: Augenstein et al. 2020, Algorithm 2. (The caps are not in the paper; McMahan et al. 2018 cap tokens.)
    """

    dataset: FederatedDataset
    members: Members
    codec: Vocabulary | Bytes
    config: LanguageConfig
    mechanism: Mechanism
    local_batch_size: int
    local_epochs: int
    sequences_per_user: int
    symbols_per_user: int
    sequence_length: int
    learning_rate: float
    seed: int
    device: str = "cpu"
    precision: str = "float32"
    distinct: bool = False

    def __post_init__(self) -> None:
        computing_in(self.precision, self.device)
        if any(True for _ in self._model.buffers()):
            raise ValueError("a model with buffers is refused: they would leave the device unclipped")

    def __call__(self, public: Public, members: Iterable[int], round: int) -> np.ndarray:
        """The int64 sum [P] over `members` (positions in the cohort) of their clipped updates."""
        start = public["model"].to(self.device)
        users = filter(None, (self._drawn(member, round) for member in members))
        train = self._together if stacks(start.device) and not self.config.dropout else self._alone
        return self.mechanism.sum_of(start.numel(), (delta.cpu().numpy() for delta in train(start, users)))

    def _drawn(self, member: int, round: int) -> Drawn | None:
        """One user's sequences of this round, and her stream; None where she has none, or text that cannot be read."""
        user = int(self.members.users[member])
        stream = torch.Generator().manual_seed(key(self.seed, round, self.dataset.user_id(user)))
        try:
            sequences = self._chosen(self.sequences(member), stream)
        except TextError:
            # Her contribution is zeros, silently: nobody may learn whose text is bad.
            return None
        return (sequences, stream) if sequences else None

    def sequences(self, member: int) -> list[list[int]]:
        """One member's selected sentences or words, as ids."""
        of = self.members.words if isinstance(self.codec, Bytes) else self.members.sentences
        encoded = [self.codec.encode(text) for text in of(self.dataset, member)]
        return [list(one) for one in dict.fromkeys(map(tuple, encoded))] if self.distinct else encoded

    def _chosen(self, sequences: list[list[int]], stream: torch.Generator) -> list[list[int]]:
        """At most so many sequences, so many symbols, each cut and ended, in random order."""
        chosen, symbols = [], 0
        for number in torch.randperm(len(sequences), generator=stream)[: self.sequences_per_user].tolist():
            sequence = sequences[number]
            cut = (
                sequence[: self.sequence_length]
                if len(sequence) > self.sequence_length
                else [*sequence, self.codec.end]
            )
            symbols += len(cut)
            if symbols > self.symbols_per_user:
                break
            chosen.append(cut)
        return chosen

    @cached_property
    def _model(self) -> LanguageModel:
        """A module to compute with; its parameters are replaced before each use."""
        return self.config.build().to(self.device)

    def _alone(self, start: Tensor, users: Iterable[Drawn]) -> Iterator[Tensor]:
        """Each user's update [P]: the model after her steps minus the model before them."""
        model = self._model
        for sequences, stream in users:
            vector = start.clone()
            attach(model, vector)
            parameters = trainable(model)
            with dropping_from(stream, start.device) if self.config.dropout else nullcontext():
                for symbols, targets in self._padded(sequences, stream):
                    with computing_in(self.precision, self.device):
                        loss = model.loss(symbols.to(self.device), targets.to(self.device))
                    gradients = torch.autograd.grad(loss, parameters)
                    with torch.no_grad():
                        torch._foreach_add_(parameters, gradients, alpha=-self.learning_rate)
            yield vector.sub_(start)

    def _padded(self, sequences: list[list[int]], stream: torch.Generator) -> Iterator[Batch]:
        """One user's batches of all local epochs."""
        for _ in range(self.local_epochs):
            yield from (padded(batch, self.codec.begin) for batch in self._batches(sequences, stream))

    def _together(self, start: Tensor, users: Iterable[Drawn]) -> Iterator[Tensor]:
        """What `_alone` makes of each of many users, at once."""

        def loss(model: LanguageModel, symbols: Tensor, targets: Tensor) -> Tensor:
            with computing_in(self.precision, self.device):
                logits = model(symbols).flatten(0, 1)
                return functional.cross_entropy(logits, targets.flatten(), ignore_index=NO_TARGET)

        model = self.config.build().to(self.device)
        for layer in model.layers:
            layer.by_hand = False
        # A whole sequence is followed by the end symbol.
        shape = self.local_batch_size, self.sequence_length + 1
        ready = (list(self._padded(*drawn)) for drawn in users)
        return train_together(model, loss, start, ready, self.learning_rate, [shape, shape], [0, NO_TARGET])

    def _batches(self, sequences: list[list[int]], stream: torch.Generator) -> list[list[list[int]]]:
        """Batches in random order, of sequences of like length, so that little is padded."""
        mixed = [sequences[number] for number in torch.randperm(len(sequences), generator=stream).tolist()]
        mixed.sort(key=len)
        size = self.local_batch_size
        batches = [mixed[first : first + size] for first in range(0, len(mixed), size)]
        return [batches[number] for number in torch.randperm(len(batches), generator=stream).tolist()]


def padded(sequences: Sequence[Sequence[int]], begin: int) -> tuple[Tensor, Tensor]:
    """Input symbols and targets [B, T] of sequences of targets, padded to the longest.

    Every input starts with `begin`; where nothing is to be predicted the target is NO_TARGET.
    """
    longest = max(map(len, sequences))
    targets = torch.tensor([[*sequence, *[NO_TARGET] * (longest - len(sequence))] for sequence in sequences])
    symbols = targets.roll(1, dims=1).clamp_(min=0)
    symbols[:, 0] = begin
    return symbols, targets
