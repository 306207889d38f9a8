"""What is known of a side's images as one vector of means, and how surely."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedprobe.models.embedding import EmbeddingConfig, Features

# Shapes: P the length of an embedding, Q of that part of it that is looked at.

# Products of the first coordinates only: those of the others are as many as faint.
_PRODUCTS_OF = 24
# Two sides are never known better than that, as parts of a vector of norm 1: causes are tried on samples, which are
# not quite the data.
_FLOOR = 0.0005


@dataclass(frozen=True)
class Profile:
    """The mean vector [Q] of a side, and the variance of each entry [Q].

    `scale` is the relative variance of what all of it was divided by.
    """

    mean: Tensor
    variance: Tensor
    scale: float


@dataclass(frozen=True)
class Looked:
    """The part of an embedding that is looked at for causes: `places` [Q] in it."""

    config: EmbeddingConfig
    places: Tensor

    @classmethod
    def at(cls, config: EmbeddingConfig) -> "Looked":
        size, polarities, fixed = config.coordinates, 2, config.cells * (1 + config.coordinates)
        row, column = torch.triu_indices(size, size)
        products = ((row < _PRODUCTS_OF) & (column < _PRODUCTS_OF)).nonzero().squeeze(1)
        details = torch.arange(sum(config.sizes[:4]), config.length)
        # Both polarities add up to one: the first says all.
        places = torch.cat(
            [torch.tensor([0]), polarities + torch.arange(fixed), polarities + fixed + products, details]
        )
        return cls(config, places)

    def released(self, vector_P: Tensor, noise: float) -> Profile:
        """The profile behind a released sum with noise of that standard deviation on each entry."""
        users = max(1.0, float(vector_P[:2].sum()) / self.config.polarity_norm)
        mean = vector_P.double()[self.places] / users
        error = (noise / users) ** 2
        return Profile(mean, torch.full_like(mean, error + _FLOOR**2), 2 * error / self.config.polarity_norm**2)

    def vector(self, features: Features, labels_n: Tensor | None) -> Tensor:
        """The vector [Q] of proxies with these features."""
        return self.config.vector(features, labels_n)[self.places]

    def pixels(self, vector_Q: Tensor) -> Tensor:
        """The block of pixels [H * W] of a vector."""
        start = len(vector_Q) - self.config.detailed.length
        return vector_Q[start : start + self.config.detailed.sizes[0]]

    def tones(self, vector_Q: Tensor) -> Tensor:
        """The block of grey values [TONES] of a vector."""
        pixels, tones, _ = self.config.detailed.sizes
        start = len(vector_Q) - self.config.detailed.length + pixels
        return vector_Q[start : start + tones]


@dataclass(frozen=True)
class Difference:
    """B's profile less A's, [Q], and the metric in which its error is white."""

    value: Tensor
    variance: Tensor
    scaled: Tensor
    scale: float

    @classmethod
    def of(cls, a: Profile, b: Profile) -> "Difference":
        variance = a.variance + b.variance
        # Weighted so that its noise and that of the difference are uncorrelated: what one side's noise moves in both of
        # them would pass for an unknown scale.
        scaled = (a.mean * b.variance + b.mean * a.variance) / variance
        return cls(b.mean - a.mean, variance, scaled, a.scale + b.scale)

    def inner(self, one: Tensor, other: Tensor) -> float:
        """The product of two vectors by the inverse covariance: diagonal, and a scale that is not quite known."""
        plain = float((one * other / self.variance).sum())
        size = self.scale * float((self.scaled.square() / self.variance).sum())
        along = float((one * self.scaled / self.variance).sum()) * float((other * self.scaled / self.variance).sum())
        return plain - self.scale * along / (1 + size)

    def less(self, explained: Tensor) -> "Difference":
        """What is left after something has been explained."""
        return replace(self, value=self.value - explained)

    @property
    def excess(self) -> float:
        """How much more there is than chance would make: of chance alone its mean is 0."""
        return self.inner(self.value, self.value) - len(self.value)

    @property
    def excess_error(self) -> float:
        """The standard deviation of `excess` where there is chance alone: that of a chi-squared variable."""
        return math.sqrt(2 * len(self.value))
