"""Heavy hitters: the words that many users have, in one release.

Each user names a few of her words; their sums are noised, and those above a threshold are released (Gopi et al.,
"Differentially Private Set Union", ICML 2020; `privacy/partition_selection.py` has the mechanism and its proof). The
released table is all that is learned, and everything made of it is post-processing.

The alternative is a prefix tree grown round by round, TrieHH (Zhu et al., "Federated Heavy Hitters Discovery with
Differential Privacy", AISTATS 2020, arXiv 1902.08534). It spends the budget on every level of the tree, a character
each, and its guarantee comes from asking few of very many users. One release of whole words puts all of the budget on
what is asked for; and where the aggregator may hold all words that were named, as here, no tree is needed to keep the
domain small.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedprobe.privacy.partition_selection import ReleasedWords


@dataclass(frozen=True)
class OpenDomain:
    """What stands in the place of networks: no model, but words that nobody listed beforehand."""

    def to_json(self) -> dict:
        return {"domain": "words"}


@dataclass(frozen=True)
class HeavyHittersState:
    """The released words, or none yet."""

    released: ReleasedWords

    def tensors(self) -> dict[str, Tensor]:
        """The table as one tensor of bytes (uint8 [B]), for a checkpoint."""
        return {"words": torch.from_numpy(self.released.to_bytes())}


@dataclass(frozen=True)
class HeavyHitters:
    """A value: `init` is an empty table, and `apply` takes the released one for it. Nothing is broadcast."""

    def init(self) -> HeavyHittersState:
        return HeavyHittersState(ReleasedWords((), ()))

    def restore(self, tensors: Mapping[str, Tensor]) -> HeavyHittersState:
        """The state that `tensors` was made from. Raises ValueError where it is none."""
        if "words" not in tensors:
            raise ValueError("the tensors are no table of words")
        return HeavyHittersState(ReleasedWords.from_bytes(tensors["words"].numpy()))

    def broadcast(self, state: HeavyHittersState, round: int) -> dict[str, Tensor]:
        return {}

    def apply(
        self, state: HeavyHittersState, table_B: Tensor, round: int
    ) -> tuple[HeavyHittersState, dict[str, float]]:
        """The state after a release (`table_B`: a `ReleasedWords` as bytes), and how many words it shows."""
        released = ReleasedWords.from_bytes(table_B.numpy())
        return HeavyHittersState(released), {"released_words": len(released.words)}
