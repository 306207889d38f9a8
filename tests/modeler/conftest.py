"""Synthetic strokes, intervals by the book, and runs of models that nobody trained."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from torch import Tensor, nn

from fedprobe.modeler.sampling import ImageSampler
from fedprobe.models.flat import flatten
from fedprobe.models.gan import GanConfig
from fedprobe.models.language import LanguageConfig, LanguageModel
from fedprobe.models.vocabulary import Bytes, Vocabulary
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


def wilson_interval(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson 1927: the two roots p of (p - hits/count)^2 = z^2 p (1 - p) / count."""
    z, share = float(ndtri((1 + confidence) / 2)), hits / count
    a, b, c = 1 + z**2 / count, -(2 * share + z**2 / count), share**2
    root = math.sqrt(b**2 - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def newcombe_interval(
    hits: int, count: int, base_hits: int, base_count: int, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Newcombe 1998, method 10: the difference of two shares and its interval."""
    p, q = hits / count, base_hits / base_count
    low, high = wilson_interval(hits, count, confidence)
    base_low, base_high = wilson_interval(base_hits, base_count, confidence)
    return (
        p - q,
        p - q - math.sqrt((p - low) ** 2 + (base_high - q) ** 2),
        p - q + math.sqrt((high - p) ** 2 + (q - base_low) ** 2),
    )


@pytest.fixture(scope="session")
def wilson() -> Callable[..., tuple[float, float]]:
    return wilson_interval


@pytest.fixture(scope="session")
def newcombe() -> Callable[..., tuple[float, float, float]]:
    return newcombe_interval


def unigrams(config: LanguageConfig, chances: Mapping[int, float]) -> LanguageModel:
    """A model that draws every symbol from `chances`, whatever came before; no other symbol ever comes."""
    model = config.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.output_bias.fill_(-200)
        for symbol, chance in chances.items():
            model.output_bias[symbol] = math.log(chance)
    return model.eval()


def sizes(symbols: int) -> LanguageConfig:
    return LanguageConfig(symbols, 3, 4, 3, 1, peepholes=False, tied=False)


@pytest.fixture
def speaks(tmp_path) -> Callable[..., Run]:
    """A function that makes a run which draws symbols from `chances`: of bytes, or of words of a `vocabulary`."""

    def make(name: str, chances: Mapping[int, float], vocabulary: Vocabulary | None = None, longest: int = 20) -> Run:
        codec = vocabulary or Bytes()
        config = {
            "command": "train-charlm" if vocabulary is None else "train-wordlm",
            "architecture": sizes(codec.symbols).to_json(),
            "training": {"sequence_length": longest},
            "vocabulary": vocabulary and vocabulary.digest,
        }
        run = Run.create(tmp_path / name, config, {}, vocabulary)
        run.checkpoint(1, {"average": flatten(unigrams(sizes(codec.symbols), chances))})
        return run

    return make
