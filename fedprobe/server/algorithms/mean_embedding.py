"""A generator from one release: every user's mean embedding, summed and noised once, and moments fitted to it.

Harder, Adamczewski, Park, "DP-MERF: Differentially Private Mean Embeddings with Random Features for Practical
Privacy-Preserving Data Generation", AISTATS 2021, lifted from examples to users. They fit a network by gradient
descent to random features; the features here are moments (`models/embedding.py`), which are fitted in closed form
once the noise, whose size is public, has been taken out of them. All of that is post-processing.

What the noise hides is taken from a public prior (`EmbeddingConfig.prior`), the same for every cohort: it never makes
two generators differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedprobe.models.embedding import WEIGHTS, EmbeddingConfig
from fedprobe.models.moment_generator import Moments

# Shapes: P the released vector's length, K cells, D coordinates.

# How surely the users' normalisation is known beforehand, as a share of it.
_NORMALISATION_ERROR = 0.25
# The least share of a class, of what it would have were all alike.
_LEAST_SHARE = 0.02
# A share of polarity that noise alone would exceed in one of a hundred releases is none.
_SIGNIFICANT = 2.33
# How far the noise's largest eigenvalue may lie beyond where it lies on average.
_CLEARLY_OUT = 1.15
# How much larger than the prior's own variance what noise hides may be.
_LARGEST_PRIOR = 2.0
_TINY = 1e-12


@dataclass(frozen=True)
class MomentState:
    """The released sum [P], kept so that fitting again is free, and the moments fitted to it."""

    released: Tensor
    moments: Moments

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors, for a checkpoint."""
        return {"released": self.released, **self.moments.tensors()}


@dataclass(frozen=True)
class MeanEmbedding:
    """The one-round method. A value: `init` makes a state, `broadcast` what devices get, `apply` the fitted state.

    `noise` is the standard deviation of the noise on each entry of the released sum.
    """

    config: EmbeddingConfig
    noise: float

    def init(self) -> MomentState:
        """Nothing released yet: white images."""
        return MomentState(torch.zeros(self.config.length), Moments.none(self.config))

    def restore(self, tensors: Mapping[str, Tensor]) -> MomentState:
        """The state that `tensors` was made from. Raises ValueError where it is none of this embedding's."""
        fresh = self.init().tensors()
        if any(name not in tensors or tensors[name].shape != value.shape for name, value in fresh.items()):
            raise ValueError("the tensors are none of this embedding's")
        return MomentState(tensors["released"], Moments.of(tensors))

    def broadcast(self, state: MomentState, round: int) -> dict[str, Tensor]:
        """What every device gets: nothing but the public feature map, which it knows."""
        return {}

    def apply(self, state: MomentState, released_P: Tensor, round: int) -> tuple[MomentState, dict[str, float]]:
        """The moments fitted to the noised sum of users' vectors, and figures to log, all made from it."""
        moments = self.fit(released_P.double())
        figures = {"released_norm": float(released_P.norm()), "dark_share": float(moments.dark_share)}
        return MomentState(released_P.float(), moments), figures

    def fit(self, released_P: Tensor) -> Moments:
        """The moments of the images behind a released sum [P] (float64)."""
        config = self.config
        polarities, counts, sums, products, *details = released_P.split(config.sizes)
        noise_count, noise_sum, noise_product = (self.noise / scale for scale in config.scales)
        counts, sums, products = (
            block / scale for block, scale in zip((counts, sums, products), config.scales, strict=True)
        )
        users, dark_share = self._polarity(polarities)
        counts = self._counts(counts, noise_count, users)
        total = counts.sum()
        means = sums.unflatten(0, (config.cells, config.coordinates)) / counts[:, None]
        errors = noise_sum / counts
        shrunk = self._means(means, counts / total, errors, noise_sum / float(total))
        # Second moments within cells: those of the noise in the means are known, but for products with the means.
        between = (shrunk.T * (counts / total)) @ shrunk
        covariance = self._covariance(config.unpacked(products) / total - between, noise_product / float(total))
        return Moments(*(part.float() for part in (dark_share, counts / total, shrunk, covariance)))

    def _polarity(self, polarities: Tensor) -> tuple[float, Tensor]:
        """How many users there are, about, and the share of light strokes on dark: none unless it clearly shows."""
        dark, light = polarities / self.config.polarity_norm
        users = max(1.0, float(dark + light))
        share = (dark / users).clamp(0, 1)
        nearest = share.round()
        # Where only one of them is there, the noise of the other one's count is all that its share consists of.
        error = self.noise / self.config.polarity_norm / users
        return users, torch.where((share - nearest).abs() < _SIGNIFICANT * error, nearest, share)

    def _counts(self, counts: Tensor, noise: float, users: float) -> Tensor:
        """Weights of the cells [K], positive; their sum and their differences shrunk toward what is expected."""
        cells = len(counts)
        # A user whose blocks have their usual norms is normalised by that of the weights.
        expected = users * self.config.rest_norm / sum(weight**2 for weight in WEIGHTS) ** 0.5
        known, measured = (_NORMALISATION_ERROR * expected) ** 2, cells * noise**2
        total = (counts.sum() * known + expected * measured) / (known + measured)
        apart = counts - counts.mean()
        signal = (apart.square().mean() - noise**2).clamp(min=0)
        shares = total / cells + apart * signal / (signal + noise**2 + _TINY)
        return shares.clamp(min=float(_LEAST_SHARE * total / cells))

    def _means(self, means: Tensor, shares: Tensor, errors: Tensor, noise: float) -> Tensor:
        """The means [K, D] by a Wiener filter: their common one about the prior's, each about the common one."""
        prior = self.config.prior
        common = shares @ means
        apart = means - common
        common_error = torch.tensor([len(shares) ** 0.5 * noise], dtype=means.dtype)
        common = prior.mean + _filtered((common - prior.mean)[None], common_error, prior.spread)
        return common + _filtered(apart, errors, prior.covariance) if len(shares) > 1 else common

    def _covariance(self, covariance: Tensor, noise: float) -> Tensor:
        """A covariance [D, D] that carries noise of that standard deviation in its packed form, made whole again.

        Directions whose eigenvalue clearly stands out of the noise's semicircle are kept, shrunk (Gavish and Donoho
        2017); the others get the prior's shape, with the size that their trace has as far as that can be told.
        """
        prior = self.config.prior.covariance
        values, vectors = torch.linalg.eigh(covariance)
        edge = _CLEARLY_OUT * noise * (2 * len(covariance)) ** 0.5
        out = values > max(edge, _TINY)
        kept = torch.where(out, (values.square() - edge**2).clamp(min=0).sqrt(), 0.0)
        whole = (vectors * kept) @ vectors.T
        hidden = torch.eye(len(covariance), dtype=covariance.dtype) - vectors[:, out] @ vectors[:, out].T
        shape = hidden @ prior @ hidden
        size = (covariance.trace() - whole.trace()).clamp(min=0) / shape.trace().clamp(min=_TINY)
        known, measured = prior.trace() ** 2, noise**2 * len(covariance)
        size = ((size * known + measured) / (known + measured)).clamp(max=_LARGEST_PRIOR)
        return whole + size * shape


def _filtered(rows: Tensor, errors: Tensor, covariance: Tensor) -> Tensor:
    """What is signal in `rows` [n, D] with noise of standard deviations `errors` [n]: Wiener's filter.

    The signal is taken for Gaussian with the shape of `covariance` and the size that the rows themselves show, beyond
    what noise may amount to (two standard deviations above its mean).
    """
    noise = errors.square()
    explained = rows.shape[1] * noise.mean() * (1 + 2 * (2 / rows.numel()) ** 0.5)
    size = (rows.square().sum(1).mean() - explained).clamp(min=0) / covariance.trace()
    values, vectors = torch.linalg.eigh(covariance * size)
    values = values.clamp(min=0)
    return ((rows @ vectors) * (values / (values + noise[:, None] + _TINY))) @ vectors.T
