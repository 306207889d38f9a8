"""Drawing synthetic examples from a run's generator: post-processing, at no cost in privacy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fedprobe.models.gan import GanConfig, attach_generator
from fedprobe.models.stored import StoredError
from fedprobe.privacy.randomness import key
from fedprobe.runs import Run, find


@dataclass(frozen=True)
class ImageSampler:
    """The generator of one checkpoint of a run; `sample_images` draws from it."""

    run: Run
    round: int
    generator: nn.Module

    @property
    def latent_size(self) -> int:
        return self.generator.latent_size


def open_sampler(path: Path) -> ImageSampler:
    """The sampler of a run (its latest checkpoint) or of one checkpoint's folder.

    Raises RunError where `path` is neither, StoredError where the checkpoint is cut short, altered, or not a GAN's.
    """
    run, checkpoint = find(path)
    config = run.config.get("architecture")
    if not isinstance(config, dict):
        raise StoredError(f"{run.path} holds no generator; give a run of train-gan")
    tensors, round = run.load(checkpoint)
    group = "average_buffers/"
    buffers = {name.removeprefix(group): value for name, value in tensors.items() if name.startswith(group)}
    try:
        return ImageSampler(run, round, generator_of(GanConfig(**config), tensors["average"], buffers))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StoredError(f"{run.path} does not hold the generator that it describes; train again") from error


def generator_of(config: GanConfig, average: torch.Tensor, buffers: dict[str, torch.Tensor]) -> nn.Module:
    """The generator to draw samples from: averaged parameters [P], moving statistics, evaluation mode."""
    return attach_generator(config.generator(), average.cpu(), buffers).eval()


def sample_images(generator: nn.Module, count: int, seed: int, purpose: str = "sample") -> np.ndarray:
    """Draw `count` images [n, C, H, W] float32 in [0, 1], 1.0 white.

    Generators of one latent size get the same latents for the same `seed` and `purpose`.
    """
    stream = torch.Generator().manual_seed(key(seed, purpose))
    latents = torch.randn(count, generator.latent_size, generator=stream)
    with torch.inference_mode():
        images = torch.cat([generator(batch) for batch in latents.split(256)])
    return images.add(1).div(2).clamp(0, 1).numpy()
