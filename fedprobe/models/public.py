"""A folder with the density of public examples: what `train-density` leaves behind and `--public` takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedprobe.models.density import ImageDensity, Mixture, TextDensity
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.flat import attach, flatten
from fedprobe.models.language import LanguageConfig
from fedprobe.models.stored import StoredError, load_stored, store
from fedprobe.models.vocabulary import Vocabulary, VocabularyError

_KINDS = ("images", "text")
# The quantiles of held-out public examples that are kept.
_STEPS = 1000
LEAST_SHARE = 1 / _STEPS


@dataclass(frozen=True)
class PublicModel:
    """The density of public examples, and which density held-out ones of them have.

    `quantiles` [1001] of them, ascending; `digest` names the model and them; `description` says what it was made of.
    """

    density: ImageDensity | TextDensity
    quantiles: Sequence[float]
    digest: str
    description: Mapping

    @property
    def kind(self) -> str:
        """`images` or `text`."""
        return "images" if isinstance(self.density, ImageDensity) else "text"

    def threshold(self, share: float) -> float:
        """The log density that only this share of public examples lies below."""
        return float(np.interp(share, np.linspace(0, 1, len(self.quantiles)), self.quantiles))

    def share_of(self, threshold: float) -> float:
        """The share that has this `threshold`, in as few digits as say it."""
        share = float(np.interp(threshold, self.quantiles, np.linspace(0, 1, len(self.quantiles))))
        rounded = (round(share, digits) for digits in range(1, 17))
        return next((one for one in rounded if self.threshold(one) == threshold), share)


def quantiles_of(log_densities: np.ndarray) -> list[float]:
    """What a `PublicModel` keeps of the log densities of held-out public examples."""
    return np.quantile(log_densities, np.linspace(0, 1, _STEPS + 1)).tolist()


def save_public(
    folder: Path, density: ImageDensity | TextDensity, quantiles: Sequence[float], description: Mapping
) -> None:
    """Write the density, and the `quantiles` of held-out public examples, to `folder`."""
    if isinstance(density, ImageDensity):
        kind, tensors, sizes = "images", density.mixture.tensors(), density.config.to_json()
        words = {}
    else:
        kind, tensors, sizes = "text", {"model": flatten(density.model)}, density.model.config.to_json()
        words = {"vocabulary": list(density.vocabulary.words), "longest": density.longest}
    tensors = {**tensors, "quantiles": torch.tensor(quantiles, dtype=torch.float64)}
    store(folder, tensors, {**description, "kind": f"density of {kind}", "config": sizes, **words})


def load_public(folder: Path) -> PublicModel:
    """The density in `folder`. Raises StoredError where it is missing, altered, or another kind of model."""
    tensors, description = load_stored(folder)
    kind = str(description.get("kind")).removeprefix("density of ")
    if kind not in _KINDS:
        raise StoredError(f"{folder} is no density of public examples; --public takes what train-density wrote")
    try:
        density = _images(tensors, description) if kind == "images" else _text(tensors, description)
        quantiles = tensors["quantiles"].tolist()
        if len(quantiles) != _STEPS + 1:
            raise ValueError("another number of quantiles")
    except (KeyError, TypeError, ValueError, RuntimeError, VocabularyError) as error:
        raise StoredError(f"{folder} does not hold the density that it describes; train it again") from error
    return PublicModel(density, quantiles, description["tensors_sha256"], description)


def _images(tensors: Mapping[str, Tensor], description: Mapping) -> ImageDensity:
    return ImageDensity(EmbeddingConfig(**description["config"]), Mixture.of(tensors))


def _text(tensors: Mapping[str, Tensor], description: Mapping) -> TextDensity:
    model = LanguageConfig(**description["config"]).build()
    attach(model, tensors["model"].clone())
    return TextDensity(model.eval(), Vocabulary(tuple(description["vocabulary"])), int(description["longest"]))
