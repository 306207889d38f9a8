"""The public feature map: bounded, the same for either polarity, and invertible as far as images are strokes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprobe.models import embedding
from fedprobe.models.embedding import FRAME, EmbeddingConfig
from fedprobe.models.pen_strokes import pen_strokes

SIDE = 16
CONFIG = EmbeddingConfig(SIDE, SIDE, coefficients=40)
CLASSES = EmbeddingConfig(SIDE, SIDE, classes=3, coefficients=40)


def images_of(seed: int, count: int, kind: str) -> torch.Tensor:
    """Images of all kinds [n, 1, H, W]: noise, extremes, blank ones, strokes."""
    stream = np.random.default_rng(seed)
    uniform = torch.from_numpy(stream.uniform(0, 1, (count, 1, SIDE, SIDE))).float()
    match kind:
        case "noise":
            return uniform
        case "extremes":
            return uniform.round()
        case "blank":
            return torch.full_like(uniform, float(stream.choice([0.0, 0.5, 1.0])))
    return pen_strokes(50, SIDE, SIDE)[torch.from_numpy(stream.integers(0, 50, count))]


some_images = st.builds(
    images_of, st.integers(0, 2**32), st.integers(1, 12), st.sampled_from(["noise", "extremes", "blank", "strokes"])
)


@given(some_images, st.integers(0, 2**32))
def test_a_users_vector_has_a_norm_of_at_most_1_whatever_her_images_are(images, seed):
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, len(images)))
    for config in (CONFIG, CLASSES):
        vector = config.embed(images, labels)
        assert vector.shape == (config.length,) and vector.isfinite().all()
        assert float(vector.norm()) <= 1 + 1e-12
        # Of users whose images have one polarity, all of the norm is used.
        dark, _ = config.coordinates_of(images)
        if dark.all() or not dark.any():
            assert float(vector.norm()) == pytest.approx(1)


@given(some_images, st.randoms(use_true_random=False))
def test_the_order_of_her_images_decides_nothing(images, random):
    order = list(range(len(images)))
    random.shuffle(order)
    assert torch.allclose(CONFIG.embed(images, None), CONFIG.embed(images[order], None), atol=1e-6)


@given(some_images)
def test_exchanging_black_and_white_changes_the_polarity_and_nothing_else(images):
    dark, coordinates = CONFIG.coordinates_of(images)
    other_dark, other = CONFIG.coordinates_of(1 - images)
    # A background of 1/2 has no polarity: coordinate 0 is its greyness times 4.
    clear = coordinates[:, 0] < 1.99
    assert torch.equal(dark[clear], ~other_dark[clear])
    assert torch.allclose(coordinates[clear], other[clear], atol=5e-3)


def test_the_polarities_are_exact_shares():
    strokes = pen_strokes(8, SIDE, SIDE)
    mixed = torch.cat([strokes[:6], 1 - strokes[6:]])
    dark, light = CONFIG.embed(mixed, None)[:2] / CONFIG.polarity_norm
    assert (float(dark), float(light)) == pytest.approx((0.25, 0.75))


def test_shares_and_means_are_those_of_the_classes():
    strokes = pen_strokes(9, SIDE, SIDE)
    labels = torch.tensor([0, 0, 0, 2, 2, 2, 2, 2, 2])
    _, counts, means, _ = CLASSES.embed(strokes, labels).split(CLASSES.sizes)
    counts, means = counts / CLASSES.scales[0], means.unflatten(0, (3, -1)) / CLASSES.scales[1]
    assert (counts / counts.sum()).tolist() == pytest.approx([1 / 3, 0, 2 / 3])
    _, coordinates = CLASSES.coordinates_of(strokes)
    expected = coordinates[labels == 2].double().mean(0) * CLASSES.emphasis
    assert torch.allclose(means[2] / counts[2], expected, atol=1e-5)
    assert not means[1].any()


def test_the_basis_is_orthonormal_and_its_frequencies_ascend():
    for config in (CONFIG, EmbeddingConfig(8, 11, coefficients=30)):
        assert torch.allclose(config.basis @ config.basis.T, torch.eye(config.coefficients), atol=1e-5)
        assert (config.frequencies[FRAME:].diff() >= 0).all()


@given(st.integers(0, 2**32))
def test_packing_a_symmetric_matrix_keeps_its_norm_and_comes_back(seed):
    matrix = torch.from_numpy(np.random.default_rng(seed).normal(size=(CONFIG.coordinates,) * 2))
    matrix = matrix + matrix.T
    packed = CONFIG.packed(matrix)
    assert float(packed.norm()) == pytest.approx(float(matrix.norm()))
    assert torch.allclose(CONFIG.unpacked(packed), matrix)


@settings(max_examples=10)
@given(st.integers(0, 1900))
def test_strokes_come_back_from_their_coordinates(first):
    config = EmbeddingConfig(28, 28)
    strokes = pen_strokes(2000, 28, 28)[first : first + 20]
    for images in (strokes, 1 - strokes):
        dark, coordinates = config.coordinates_of(images)
        back = config.images_of(dark, coordinates)
        assert back.min() >= 0 and back.max() <= 1
        # Fine detail is lost; what is where is not.
        assert float((back - images).abs().mean()) < 0.06
        assert float((back.mean((1, 2, 3)) - images.mean((1, 2, 3))).abs().max()) < 0.05


def test_a_grey_background_comes_back():
    config = EmbeddingConfig(28, 28)
    grey = pen_strokes(20, 28, 28) * 0.8
    dark, coordinates = config.coordinates_of(grey)
    assert not dark.any()
    back = config.images_of(dark, coordinates)
    assert back[:, 0, 0, 0].tolist() == pytest.approx([0.8] * 20, abs=0.05)


def test_pen_strokes_are_black_on_white_and_always_the_same():
    strokes = pen_strokes(300, 20, 24)
    assert strokes.shape == (300, 1, 20, 24) and strokes.min() >= 0 and strokes.max() <= 1
    assert torch.equal(strokes, pen_strokes(300, 20, 24))
    ink = (1 - strokes).mean((1, 2, 3))
    assert ink.min() > 0 and 0.03 < float(ink.mean()) < 0.3
    assert not torch.equal(strokes[0], strokes[1])


def test_the_prior_is_made_once_for_all_runs_of_one_feature_map():
    assert EmbeddingConfig(SIDE, SIDE, coefficients=40).prior is CONFIG.prior
    assert EmbeddingConfig(SIDE, SIDE, coefficients=41).prior is not CONFIG.prior


@given(some_images, st.integers(1, 13))
def test_how_many_images_are_looked_at_together_decides_nothing(images, at_once):
    config = EmbeddingConfig(SIDE, SIDE, coefficients=40, details=True)
    together = config.features(images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding, "_AT_ONCE", at_once)
        apart = config.features(images)
    assert torch.equal(together.dark, apart.dark)
    assert torch.allclose(together.coordinates, apart.coordinates, atol=1e-4)
    assert torch.allclose(together.details, apart.details, atol=1e-4)


def test_the_prior_is_made_of_pen_strokes():
    prior = CONFIG.prior
    assert prior.mean.shape == (CONFIG.coordinates,)
    values = torch.linalg.eigvalsh(prior.covariance)
    assert values.min() > -1e-9 and values.max() > 1
    # Their background is white; that of a cohort need not be.
    assert prior.covariance[0, 0] == 0 and prior.spread[0, 0] > 0


@pytest.mark.parametrize(
    "change",
    [{"height": 7}, {"width": 0}, {"channels": 3}, {"classes": 0}, {"coefficients": 0}, {"coefficients": SIDE**2 + 1}],
)
def test_numbers_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError):
        EmbeddingConfig(**{"height": SIDE, "width": SIDE, "coefficients": 10} | change)


def test_the_blocks_share_out_the_norm_as_they_are_meant_to():
    strokes = pen_strokes(400, 28, 28)
    config = EmbeddingConfig(28, 28)
    blocks = config.embed(strokes, None).split(config.sizes)
    norms = [float(block.norm()) for block in blocks]
    assert norms[0] == pytest.approx(config.polarity_norm)
    # Weights 0.2, 1 and 0.6 of the rest, about: usual norms are rounded.
    rest = math.sqrt(1 - config.polarity_norm**2)
    assert np.array(norms[1:]) / rest == pytest.approx(np.array([0.17, 0.84, 0.51]), abs=0.06)
