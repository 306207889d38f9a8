"""One vector of a user's images, for generators that need a single release."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fedprobe.clients.data.shards import FederatedDataset, UserBatch
from fedprobe.clients.selection import Members
from fedprobe.clients.updates import Public
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.privacy.mechanism import Mechanism


@dataclass(frozen=True)
class MeanEmbeddingUpdate:
    """Each user's mean embedding, normalised over all her selected images together. Nothing is trained.

    A user who holds a label or a pixel that cannot be (labels are 0 to `config.classes` - 1, pixels in [0, 1])
    contributes zeros: nobody learns that she does.
    *Guarantee:* what is returned is a sum of `Mechanism.contribution`s, one a user.
    Source: Harder et al. 2021, Equation 3, lifted from examples to users.
    """

    dataset: FederatedDataset
    members: Members
    config: EmbeddingConfig
    mechanism: Mechanism
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.config.classes is not None:
            self.dataset.require_labels()

    def __call__(self, public: Public, members: Iterable[int], round: int) -> np.ndarray:
        """The int64 sum [P] over `members` (positions in the cohort) of their vectors."""
        return self.mechanism.sum_of(self.config.length, self._vectors(members))

    def _vectors(self, members: Iterable[int]) -> Iterator[np.ndarray]:
        """One vector [P] a member whose images can be measured."""
        for member in members:
            examples = self.members.read(self.dataset, [member])
            if self._can_be(examples):
                images = torch.from_numpy(examples.pixels).to(self.device)
                labels = None if self.config.classes is None else torch.from_numpy(examples.labels).to(self.device)
                yield self.config.embed(images, labels).cpu().numpy()

    def _can_be(self, examples: UserBatch) -> bool:
        """Whether there are images, and all of them have pixels, and labels where those count, that make sense."""
        pixels, labels = examples.pixels, examples.labels
        if not len(pixels):
            return False
        # Written so that a NaN, which no comparison holds for, fails.
        seen = pixels.min() >= 0 and pixels.max() <= 1
        return bool(seen and (self.config.classes is None or 0 <= labels.min() <= labels.max() < self.config.classes))
