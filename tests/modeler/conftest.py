"""Synthetic strokes, and runs of generators that nobody trained."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedprobe.modeler.sampling import ImageSampler
from fedprobe.models.flat import flatten
from fedprobe.models.gan import GanConfig
from fedprobe.runs import Run

SIDE = 12


def draw_strokes(count: int, seed: int, width: float = 1.0, ink: float = 1.0) -> np.ndarray:
    """Two straight strokes an image, dark on white: [n, 1, 12, 12] float32 in [0, 1]."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images = np.ones((count, 1, SIDE, SIDE), np.float32)
    for image in images[:, 0]:
        for start, stop in random.uniform(1, SIDE - 2, (2, 2, 2)):
            along = start + (stop - start) * np.linspace(0, 1, 20)[:, None]
            distance = np.hypot(rows[..., None] - along[:, 0], columns[..., None] - along[:, 1]).min(axis=-1)
            np.minimum(image, 1 - ink * np.clip(width + 0.5 - distance, 0, 1), out=image)
    return images


@pytest.fixture(scope="session")
def strokes() -> Callable[..., np.ndarray]:
    return draw_strokes


def untrained(config: GanConfig, seed: int) -> dict[str, Tensor]:
    """The tensors of a checkpoint that sampling needs, from a generator as it was built."""
    torch.manual_seed(seed)
    generator = config.generator()
    buffers = {f"average_buffers/{name}": value for name, value in generator.named_buffers()}
    return {"average": flatten(generator), **buffers}


@pytest.fixture
def make_run(tmp_path) -> Callable[..., Run]:
    """A function that makes a run of an untrained generator, with a checkpoint for each of `rounds`."""

    def make(name: str, seed: int = 0, rounds: tuple[int, ...] = (1,), config: GanConfig | None = None) -> Run:
        config = config or GanConfig("small", SIDE, SIDE)
        run = Run.create(tmp_path / name, {"architecture": config.to_json()}, {})
        for round in rounds:
            run.checkpoint(round, untrained(config, seed + round))
        return run

    return make


class Dots(nn.Module):
    """A generator whose images show its latents: white, with a dark pixel where a latent is high; or inverted."""

    def __init__(self, latent_size: int = 64, inverted: bool = False) -> None:
        super().__init__()
        self.latent_size, self.inverted = latent_size, inverted

    def forward(self, latents: Tensor) -> Tensor:
        images = torch.where(latents > 1, -1.0, 1.0).unflatten(1, (1, -1, 8))
        return -images if self.inverted else images


@pytest.fixture
def dots() -> Callable[..., ImageSampler]:
    """A function that makes a sampler of `Dots`."""

    def make(name: str, latent_size: int = 64, inverted: bool = False, round: int = 1) -> ImageSampler:
        return ImageSampler(Run(Path(name)), round, Dots(latent_size, inverted))

    return make
