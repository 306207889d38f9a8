"""The density of public examples: explicit likelihoods, by which a device tells what is unlike them.

Images: a Gaussian mixture of their coordinates (`models/embedding.py`). Sentences: a language model. Augenstein et al.
2020, Section 4 (T6): x ~ P_private(x | P_public(x) <= epsilon), where a family of models provides a likelihood.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.language import LanguageModel, log_probabilities
from fedprobe.models.vocabulary import OOV, Vocabulary

# Shapes: n examples, K components, D coordinates.

# Chosen by the likelihood of held-out public digits, not by what they select.
COMPONENTS = 20
COEFFICIENTS = 64
# How far a component's covariance is drawn to the common one, in examples; and its least variance, as a share of the
# mean variance.
_SHRUNK_BY = 20.0
_LEAST_VARIANCE = 0.001
_ROUNDS = 20
# Light strokes on dark differ from dark ones on light by so much, in one more coordinate.
_POLARITY = 4.0


@dataclass(frozen=True)
class Mixture:
    """Gaussians with `log_weights` [K], `means` [K, D] and lower Cholesky `factors` [K, D, D] of their covariances."""

    log_weights: Tensor
    means: Tensor
    factors: Tensor

    def log_densities(self, points_nD: Tensor) -> Tensor:
        """ln of each component's weight times its density, at each point [n, K]."""
        columns = []
        for log_weight, mean, factor in zip(self.log_weights, self.means, self.factors, strict=True):
            whitened = torch.linalg.solve_triangular(factor, (points_nD - mean).T, upper=False)
            scale = factor.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
            columns.append(log_weight - scale - 0.5 * whitened.square().sum(0))
        return torch.stack(columns, dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """It as named tensors."""
        return dict(vars(self))

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Mixture":
        """The one that `tensors` was made from. Raises KeyError where one is missing, ValueError where they misfit."""
        mixture = cls(*(tensors[name] for name in ("log_weights", "means", "factors")))
        components, size = mixture.means.shape
        if mixture.log_weights.shape != (components,) or mixture.factors.shape != (components, size, size):
            raise ValueError("these are no tensors of one mixture")
        return mixture


def fit_mixture(points_nD: Tensor, components: int, stream: torch.Generator) -> Mixture:
    """A mixture fitted to points (float64): cells around means (Lloyd's algorithm), with shrunken covariances.

    `stream` picks the points that it starts from. Raises ValueError where there are fewer points than components.
    """
    if len(points_nD) < components:
        raise ValueError("there are fewer examples than --components")
    means = points_nD[torch.randperm(len(points_nD), generator=stream)[:components]]
    for _ in range(_ROUNDS):
        cells = functional.one_hot(torch.cdist(points_nD, means).argmin(1), components).double()
        sizes = cells.sum(0)
        means = torch.where(sizes[:, None] > 0, cells.T @ points_nD / sizes.clamp(min=1)[:, None], means)
    apart = points_nD - cells @ means
    common = apart.T @ apart / len(points_nD)
    variance = float((points_nD - points_nD.mean(0)).square().mean())
    least = (_LEAST_VARIANCE * variance + 1e-6) * torch.eye(points_nD.shape[1], dtype=points_nD.dtype)
    factors = []
    for cell in range(components):
        own = apart[cells[:, cell] > 0]
        covariance = (own.T @ own + _SHRUNK_BY * common) / (len(own) + _SHRUNK_BY)
        factors.append(torch.linalg.cholesky(covariance + least))
    return Mixture((sizes.clamp(min=0.5) / len(points_nD)).log(), means, torch.stack(factors))


@dataclass(frozen=True)
class ImageDensity:
    """The density of images [n, C, H, W] in [0, 1], in the coordinates of `config` and their polarity."""

    config: EmbeddingConfig
    mixture: Mixture

    @classmethod
    def fit(
        cls, config: EmbeddingConfig, images_nCHW: Tensor, components: int, stream: torch.Generator
    ) -> "ImageDensity":
        """Fitted to public images. Raises ValueError where they are fewer than `components`."""
        return cls(config, fit_mixture(_points(config, images_nCHW), components, stream))

    def log_density(self, images_nCHW: Tensor) -> Tensor:
        """ln of each image's density [n] (float64)."""
        return self.mixture.log_densities(_points(self.config, images_nCHW)).logsumexp(1)


def _points(config: EmbeddingConfig, images_nCHW: Tensor) -> Tensor:
    dark, coordinates = config.coordinates_of(images_nCHW)
    return torch.cat([_POLARITY * dark[:, None].double(), (coordinates * config.emphasis).double()], dim=1)


@dataclass(frozen=True)
class TextDensity:
    """The likelihood of sentences under a language model of words, a token; of their first `longest` tokens.

    A word out of vocabulary is UNK, one of as many unknown words as the vocabulary has known ones: else text in
    another language would be most likely of all (the adjusted perplexity of Ueberla 1994).
    """

    model: LanguageModel
    vocabulary: Vocabulary
    longest: int

    def log_density(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """ln of each sentence's probability, divided by its tokens, the end counted as one [n] (float64)."""
        ids = [[*self.vocabulary.encode(tokens), self.vocabulary.end][: self.longest] for tokens in sentences]
        whole = torch.from_numpy(log_probabilities(self.model, self.vocabulary, ids))
        unknown = torch.tensor([sentence.count(OOV) for sentence in ids], dtype=torch.float64)
        lengths = torch.tensor([len(sentence) for sentence in ids], dtype=torch.float64)
        return (whole - unknown * math.log(len(self.vocabulary))) / lengths
