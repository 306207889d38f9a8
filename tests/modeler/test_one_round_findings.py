"""Findings between one-round runs: what their samples say is held against the noise that they were released with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedprobe.modeler import image_causes
from fedprobe.modeler.comparison import can_be_found, unasked
from fedprobe.modeler.findings.inversion import inversion
from fedprobe.modeler.sampling import ImageSampler, Release, generator_of, sample_images
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.moment_generator import Moments
from fedprobe.models.pen_strokes import pen_strokes
from fedprobe.runs import Run
from fedprobe.server.one_round_presets import PRESETS, OneRoundTraining

CONFIG = EmbeddingConfig(28, 28, details=True)
STROKES = pen_strokes(100, 28, 28)
NAMES = ("a", "b")
# That of epsilon 1.
NOISE = 4.2


@pytest.fixture(autouse=True)
def few_proxies(monkeypatch):
    """Causes are tried on fewer samples than usual, in less time."""
    monkeypatch.setattr(image_causes, "_PROXIES", 60)


def sampler(name: str, images: torch.Tensor, users: int, seed: int) -> ImageSampler:
    """The run of so many users who all hold these images."""
    noise = torch.randn(CONFIG.length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    released = users * CONFIG.embed(images, None) + NOISE * noise
    algorithm = OneRoundTraining(NOISE, None, PRESETS["quick"].coefficients).algorithm(CONFIG, 0, "cpu")
    generator = generator_of(CONFIG, algorithm.apply(algorithm.init(), released, 1)[0].tensors())
    return ImageSampler(Run(Path(name)), 1, generator, Release(released, NOISE))


def drawn(a: ImageSampler, b: ImageSampler) -> list:
    return [sample_images(one.generator, 100, 0, side) for one, side in ((a, "left"), (b, "right"))]


@pytest.mark.parametrize("struck", NAMES)
def test_noise_that_turns_a_side_dark_is_no_inversion(monkeypatch, struck):
    """Whichever side the samples say was struck: of one that is all dark and one that is all light they cannot tell."""
    few, many = sampler("a", STROKES, 3, 4), sampler("b", STROKES, 300, 0)
    samples = drawn(few, many)
    seen = inversion(*samples, *NAMES)
    assert seen is not None and seen.strength == 1, "this noise makes few users' strokes light on dark"
    monkeypatch.setattr(image_causes, "inversion", lambda *_: replace(seen, says=f"{struck} looks like the other"))
    assert image_causes.findings(few, many, samples, NAMES, 0) == []


def test_how_strong_an_inversion_is_is_as_unsure_as_the_noise_makes_it():
    a, b = sampler("a", STROKES, 80, 0), sampler("b", 1 - STROKES, 150, 1)
    samples = drawn(a, b)
    seen = inversion(*samples, *NAMES)
    (found,) = image_causes.findings(a, b, samples, NAMES, 0)
    assert (found.name, found.strength, found.says) == (seen.name, seen.strength, seen.says)
    # A share of dark users of 80, to the noise of epsilon 1.
    assert found.low < min(seen.low, found.strength - NOISE / 80)
    assert found.low > 0.5


def test_a_primary_model_is_not_asked_about_glyphs_that_are_not_the_cohorts():
    """Classes can be found where the release has labels, whether one is given or not; elsewhere never."""
    named = []
    for config in (CONFIG, replace(CONFIG, classes=3)):
        generator = generator_of(config, Moments.none(config).tensors())
        release = Release(torch.zeros(config.length), NOISE)
        both = [ImageSampler(Run(Path(name)), 1, generator, release) for name in NAMES]
        assert (unasked(both) is None) == (config.classes is not None)
        assert can_be_found(both, primary=True) == can_be_found(both, primary=False)
        named.append(can_be_found(both, primary=False))
    assert named[1] - named[0] == {"class-missing", "class-over-represented", "label-confusion"}
