"""Language models over a small set of symbols (bytes, or the words of a vocabulary), and exact probabilities."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedprobe.models.cifg import CifgLayer
from fedprobe.models.dropout import dropout
from fedprobe.models.vocabulary import Bytes, Vocabulary

# Shapes: B sequences, T time steps, V symbols, E embedding, P projected.

# A target that is none: it pads a sequence to the length of the longest beside it.
NO_TARGET = -100
# In float64, over all words of a vocabulary.
_SCORED_AT_ONCE = 1024


@dataclass(frozen=True)
class LanguageConfig:
    """The size of a CIFG language model over `symbols` symbols.

    `tied`: the output takes the embedding's weights, so `projection` must be `embedding`. `dropout`: the share of what
    the embedding and each layer give that is left out in training, and nowhere else (Zaremba et al. 2014: what recurs
    is not dropped). Raises ValueError for sizes that make no model.
    """

    symbols: int
    embedding: int
    hidden: int
    projection: int
    layers: int
    peepholes: bool
    tied: bool
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if min(self.symbols, self.embedding, self.hidden, self.projection, self.layers) < 1:
            raise ValueError("every size of a language model must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError("a language model's dropout is at least 0 and below 1")
        if self.tied and self.projection != self.embedding:
            raise ValueError("a tied output needs a projection of the embedding's size")

    def to_json(self) -> dict:
        """The configuration as a JSON object."""
        return asdict(self)

    def build(self) -> "LanguageModel":
        """A new model; without buffers."""
        return LanguageModel(self)


class LanguageModel(nn.Module):
    """Embedding, CIFG layers with projection, softmax: the logits of the next symbol after each symbol."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.symbols, config.embedding)
        sizes = [config.embedding] + [config.projection] * (config.layers - 1)
        self.layers = nn.ModuleList(
            CifgLayer(size, config.hidden, config.projection, config.peepholes) for size in sizes
        )
        self.output = None if config.tied else nn.Parameter(torch.empty(config.symbols, config.projection))
        self.output_bias = nn.Parameter(torch.zeros(config.symbols))
        for weight in (self.embedding.weight, self.output):
            if weight is not None:
                nn.init.uniform_(weight, -0.1, 0.1)

    def forward(self, symbols_BT: Tensor) -> Tensor:
        """Logits [B, T, V] of the symbol that follows each of `symbols_BT`, given those before it."""
        return self._logits(self._outputs(symbols_BT)).transpose(0, 1)

    def loss(self, symbols_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Mean cross-entropy over the targets, NO_TARGET left out."""
        targets = targets_BT.T.flatten()
        # The softmax is most of the work over a vocabulary: none of it for what nobody asks.
        wanted = (targets != NO_TARGET).nonzero().squeeze(1)
        outputs = self._outputs(symbols_BT).flatten(0, 1).index_select(0, wanted)
        return functional.cross_entropy(self._logits(outputs), targets.index_select(0, wanted))

    def start(self, sequences: int) -> list[tuple[Tensor, Tensor]]:
        """The state of `sequences` sequences before their first symbol."""
        return [layer.start(sequences) for layer in self.layers]

    def step(self, symbols_B: Tensor, state: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, list]:
        """The logits [B, V] of what follows one more symbol in each sequence, and the state after it."""
        x_BE, after = self.embedding(symbols_B), []
        for layer, before in zip(self.layers, state, strict=True):
            after.append(layer.step(x_BE, before))
            x_BE = after[-1][0]
        return self._logits(x_BE), after

    def _outputs(self, symbols_BT: Tensor) -> Tensor:
        """What the last layer makes of each symbol [T, B, P]."""
        first, *others = self.layers
        if self.config.dropout and self.training:
            x_TBE = first(self._dropped(self.embedding(symbols_BT.T)))
        else:
            x_TBE = first.of_rows(self.embedding.weight, symbols_BT.T)
        for layer in others:
            x_TBE = layer(self._dropped(x_TBE))
        return self._dropped(x_TBE)

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout) if self.config.dropout and self.training else x

    def _logits(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.embedding.weight if self.output is None else self.output, self.output_bias)


@torch.inference_mode()
def log_probabilities(
    model: LanguageModel, codec: Bytes | Vocabulary, sequences: Sequence[Sequence[int]]
) -> np.ndarray:
    """ln of the joint probability of each sequence of ids as it stands, an end symbol counted where it holds one [n].

    Computed in log space, float64 sums. Source: Augenstein et al. 2020, Equation 1.
    """
    result = np.zeros(len(sequences))
    order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
    for first in range(0, len(order), _SCORED_AT_ONCE):
        numbers = order[first : first + _SCORED_AT_ONCE]
        longest = max(1, *(len(sequences[number]) for number in numbers))
        ids = torch.full((len(numbers), longest), codec.end)
        lengths = torch.tensor([len(sequences[number]) for number in numbers])
        for row, number in enumerate(numbers):
            ids[row, : lengths[row]] = torch.tensor(sequences[number], dtype=torch.long)
        symbols, state = torch.full((len(numbers),), codec.begin), model.start(len(numbers))
        total = torch.zeros(len(numbers), dtype=torch.float64)
        for position in range(longest):
            logits, state = model.step(symbols, state)
            symbols = ids[:, position]
            step = possible(logits, codec).double().log_softmax(1).gather(1, symbols[:, None]).squeeze(1)
            total += torch.where(position < lengths, step, 0.0)
        result[numbers] = total.numpy()
    return result


def possible(logits: Tensor, codec: Bytes | Vocabulary) -> Tensor:
    """The logits [n, V] without those of symbols that no sequence contains."""
    logits[:, list(codec.impossible)] = -torch.inf
    return logits
