"""A generator in closed form: pen strokes carried onto released moments, and mapped back to images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from fedprobe.models.embedding import EmbeddingConfig

# Shapes: B images, K cells, D coordinates.
_LEAST_EIGENVALUE = 1e-4


@dataclass(frozen=True)
class Moments:
    """What is known of images, in emphasised coordinates.

    `dark_share`: of light strokes on dark []. `shares` [K] of the classes, their `means` [K, D], and the `covariance`
    [D, D] that all of them have about those.
    """

    dark_share: Tensor
    shares: Tensor
    means: Tensor
    covariance: Tensor

    @classmethod
    def none(cls, config: EmbeddingConfig) -> "Moments":
        """Those of white images."""
        cells, size = config.cells, config.coordinates
        uniform = torch.full((cells,), 1 / cells)
        return cls(torch.zeros(()), uniform, torch.zeros(cells, size), torch.zeros(size, size))

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Moments":
        """Those that `tensors` was made from. Raises KeyError where one is missing."""
        return cls(*(tensors[name] for name in ("dark_share", "shares", "means", "covariance")))

    def tensors(self) -> dict[str, Tensor]:
        """Them as named tensors."""
        return dict(vars(self))


class MomentGenerator(nn.Module):
    """Latents [B, 3 + D] to images [B, C, H, W] in [-1, 1].

    Of a latent's numbers the first picks the polarity and the second the class. Without classes the third picks pen
    strokes, which are carried onto the moments; with classes the others are a place in the class's Gaussian. One
    latent makes images alike in generators that are alike.
    """

    # Of a latent's numbers so many choose, the first ones; with classes the others are a place about a mean.
    choices = 3

    def __init__(self, config: EmbeddingConfig, moments: Moments) -> None:
        super().__init__()
        if any(moments.tensors()[name].shape != value.shape for name, value in Moments.none(config).tensors().items()):
            raise ValueError("these are no moments of such images")
        self.config = config
        self.moments = moments

    @property
    def latent_size(self) -> int:
        return self.choices + self.config.coordinates

    @property
    def classes(self) -> int | None:
        """How many labels it makes images for; None: it knows none."""
        return self.config.classes

    def forward(self, latents: Tensor, label: int | None = None) -> Tensor:
        """Images of the latents, of one class only where `label` is given."""
        moments, config = self.moments, self.config
        uniform = 0.5 * (1 + torch.erf(latents[:, : self.choices].double() / math.sqrt(2)))
        dark = uniform[:, 0] < moments.dark_share
        if label is None:
            bounds = moments.shares.double().cumsum(0)
            cells = torch.searchsorted(bounds, (uniform[:, 1] * bounds[-1]).contiguous()).clamp(max=len(bounds) - 1)
        else:
            cells = torch.full((len(latents),), label)
        if config.classes is None:
            members = self._members[(uniform[:, 2] * len(self._members)).long().clamp(max=len(self._members) - 1)]
        else:
            members = latents[:, self.choices :] @ self._root
        coordinates = (moments.means[cells] + members) / config.emphasis
        return config.images_of(dark, coordinates).mul(2).sub(1)

    @cached_property
    def _members(self) -> Tensor:
        """Pen strokes about their mean [n, D], carried onto the covariance by the map nearest to the identity."""
        prior = self.config.prior
        values, vectors = torch.linalg.eigh(prior.covariance)
        values = values.clamp(min=_LEAST_EIGENVALUE * float(values.max()))
        root, inverse = ((vectors * values**power) @ vectors.T for power in (0.5, -0.5))
        middle = _root(root @ self.moments.covariance.double() @ root)
        return ((prior.members - prior.mean) @ (inverse @ middle @ inverse)).float()

    @cached_property
    def _root(self) -> Tensor:
        return _root(self.moments.covariance.double()).float()


def _root(matrix: Tensor) -> Tensor:
    """The symmetric root of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
