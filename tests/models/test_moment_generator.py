"""The generator in closed form has the moments that it was given."""

from dataclasses import replace

import pytest
import torch

from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.moment_generator import MomentGenerator, Moments

CONFIG = EmbeddingConfig(16, 16, coefficients=40)
CLASSES = EmbeddingConfig(16, 16, classes=3, coefficients=40)


def moments_of(config: EmbeddingConfig) -> Moments:
    """Those of pen strokes, with classes that differ in size."""
    prior, cells = config.prior, config.cells
    means = prior.mean.repeat(cells, 1)
    means[:, 4] += torch.arange(cells)
    return Moments(torch.tensor(0.25), torch.tensor([0.5, 0.2, 0.3])[:cells], means.float(), prior.covariance.float())


def latents_of(generator: MomentGenerator, count: int = 3000) -> torch.Tensor:
    return torch.randn(count, generator.latent_size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", [CONFIG, CLASSES])
def test_images_lie_in_range_and_have_the_share_of_dark_ones(config):
    generator = MomentGenerator(config, moments_of(config))
    images = generator(latents_of(generator))
    assert images.shape == (3000, 1, 16, 16) and images.min() >= -1 and images.max() <= 1
    # Five standard deviations of a share of 1/4 among 3,000 are 0.04.
    assert float((images.mean((1, 2, 3)) < 0).float().mean()) == pytest.approx(0.25, abs=0.04)


def test_one_latent_makes_the_same_image_and_likeness_in_generators_that_are_alike():
    generator = MomentGenerator(CONFIG, moments_of(CONFIG))
    latents = latents_of(generator, 200)
    assert torch.equal(generator(latents), generator(latents))
    nearly = replace(moments_of(CONFIG), covariance=moments_of(CONFIG).covariance * 1.02)
    assert float((MomentGenerator(CONFIG, nearly)(latents) - generator(latents)).abs().mean()) < 0.02


def test_pen_strokes_are_carried_onto_the_covariance():
    matrix = torch.randn(CONFIG.coordinates, CONFIG.coordinates, generator=torch.Generator().manual_seed(0))
    covariance = matrix @ matrix.T / CONFIG.coordinates
    # Directions in which pen strokes do not differ can carry nothing.
    values, vectors = torch.linalg.eigh(CONFIG.prior.covariance)
    seen = vectors[:, values > 1e-4 * values.max()].float()
    covariance = seen @ seen.T @ covariance @ seen @ seen.T
    generator = MomentGenerator(CONFIG, replace(moments_of(CONFIG), covariance=covariance))
    assert torch.allclose(torch.cov(generator._members.T), covariance, atol=0.02)


def test_a_label_asks_for_one_class():
    generator = MomentGenerator(CLASSES, moments_of(CLASSES))
    latents = latents_of(generator, 400)
    sizes = [float((1 - generator(latents, label)).abs().mean()) for label in range(3)]
    assert generator.classes == 3 and MomentGenerator(CONFIG, moments_of(CONFIG)).classes is None
    mixed = generator(latents)
    by_label = torch.stack([generator(latents, label) for label in range(3)])
    # Every mixed image is that of its class.
    assert (by_label == mixed).flatten(2).all(2).any(0).all()
    assert len(set(sizes)) == 3


def test_moments_of_other_images_are_refused():
    with pytest.raises(ValueError):
        MomentGenerator(CONFIG, moments_of(CLASSES))
    with pytest.raises(KeyError):
        Moments.of({"shares": torch.ones(1)})
