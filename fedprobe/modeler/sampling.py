"""Drawing synthetic examples from a run's generator: post-processing, at no cost in privacy."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fedprobe.errors import RequestError
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.gan import GanConfig, attach_generator
from fedprobe.models.moment_generator import MomentGenerator, Moments
from fedprobe.models.stored import StoredError
from fedprobe.privacy.randomness import key
from fedprobe.runs import Run, find

# The truncation at which people, and a primary model, can read what is drawn by label.
TYPICAL = 0.5


@dataclass(frozen=True)
class Release:
    """What a one-round run released [P], and the standard deviation of the noise on each entry."""

    vector: torch.Tensor
    noise: float


@dataclass(frozen=True)
class ImageSampler:
    """The generator of one checkpoint of a run; `sample_images` draws from it. `release`: what one round released."""

    run: Run
    round: int
    generator: nn.Module
    release: Release | None = None

    @property
    def latent_size(self) -> int:
        return self.generator.latent_size

    @property
    def caution(self) -> str | None:
        """What a person who looks at the samples must know; None where they are no more than samples."""
        if isinstance(self.generator, MomentGenerator) and self.generator.classes is None:
            return (
                "what is dark or light, sizes, slants and amounts of ink come from the release; the shapes of single "
                "glyphs are a public prior's, the same for every cohort"
            )
        return None

    def require_label(self, label: int | None) -> None:
        """Raise RequestError where images of `label` are asked for and the run does not make them by label."""
        classes = getattr(self.generator, "classes", None)
        if label is None or label < (classes or 0):
            return
        what = "makes images without labels" if classes is None else f"has labels from 0 to {classes - 1}"
        raise RequestError(f"{self.run.path} {what}; train with: fedprobe train-gan --method one-round --classes K")


def open_sampler(path: Path) -> ImageSampler:
    """The sampler of a run (its latest checkpoint) or of one checkpoint's folder.

    Raises RunError where `path` is neither, StoredError where the checkpoint is cut short, altered, or not a GAN's.
    """
    run, checkpoint = find(path)
    config, method = run.config.get("architecture"), run.config.get("method")
    if not isinstance(config, dict):
        raise StoredError(f"{run.path} holds no generator; give a run of train-gan")
    tensors, round = run.load(checkpoint)
    try:
        networks = (EmbeddingConfig if method == "one-round" else GanConfig)(**config)
        release = None
        if isinstance(networks, EmbeddingConfig):
            release = Release(tensors["released"], float(run.config["training"]["noise_multiplier"]))
        return ImageSampler(run, round, generator_of(networks, tensors), release)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StoredError(f"{run.path} does not hold the generator that it describes; train again") from error


def generator_of(config: GanConfig | EmbeddingConfig, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """The generator to draw samples from, of a training's state as named tensors, in evaluation mode.

    Of a GAN the averaged parameters and moving statistics. Raises KeyError, ValueError or RuntimeError for tensors of
    something else.
    """
    if isinstance(config, EmbeddingConfig):
        return MomentGenerator(config, Moments.of(tensors)).eval()
    group = "average_buffers/"
    buffers = {name.removeprefix(group): value for name, value in tensors.items() if name.startswith(group)}
    return attach_generator(config.generator(), tensors["average"].cpu(), buffers).eval()


def sample_images(
    generator: nn.Module,
    count: int,
    seed: int,
    purpose: str = "sample",
    label: int | None = None,
    truncation: float = 1.0,
) -> np.ndarray:
    """Draw `count` images [n, C, H, W] float32 in [0, 1], 1.0 white.

    Generators of one latent size get the same latents for the same `seed` and `purpose`. `label` asks a generator
    with classes for images of one; it raises ValueError for one that it does not have. `truncation` below 1 draws
    nearer to the middle of the class: more typical images, less variety (after Brock et al. 2019, "BigGAN"). It raises
    ValueError where the generator makes images without labels.
    """
    given = {} if label is None else {"label": label}
    stream = torch.Generator().manual_seed(key(seed, purpose))
    latents = torch.randn(count, generator.latent_size, generator=stream)
    if truncation != 1:
        if getattr(generator, "classes", None) is None:
            raise ValueError("--truncation is for runs with labels: train-gan --method one-round --classes K")
        # The first numbers of a latent pick the polarity and the class.
        latents[:, MomentGenerator.choices :] *= truncation
    with torch.inference_mode():
        images = torch.cat([generator(batch, **given) for batch in latents.split(256)])
    return images.add(1).div(2).clamp(0, 1).numpy()
