"""Fitting moments to a noised sum: right without noise, tame with it, and nothing but a function of what was released.

Statistical tests use intervals that a right implementation leaves less than once in a million runs.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.moment_generator import MomentGenerator
from fedprobe.models.pen_strokes import pen_strokes
from fedprobe.server.algorithms.mean_embedding import MeanEmbedding
from fedprobe.server.one_round_presets import PRESETS, OneRoundTraining

CONFIG = EmbeddingConfig(16, 16, coefficients=40)
CLASSES = EmbeddingConfig(16, 16, classes=2, coefficients=40)
STROKES = pen_strokes(1200, 16, 16)
# Images that are none of the prior's: only the right half of them is kept, thicker.
OTHER = 1 - torch.nn.functional.max_pool2d(1 - STROKES, 3, 1, 1)
OTHER[:, :, :, :8] = 1


def sum_of(config: EmbeddingConfig, users: int, dark: float = 0.0, images=OTHER, labels=None) -> torch.Tensor:
    """The sum of vectors of `users` of 10 images each, of which a share holds light strokes on dark."""
    total = torch.zeros(config.length, dtype=torch.float64)
    for user in range(users):
        mine = slice(user * 10, user * 10 + 10)
        own = 1 - images[mine] if user < dark * users else images[mine]
        total += config.embed(own, None if labels is None else labels[mine])
    return total


def noised(total: torch.Tensor, noise: float, seed: int) -> torch.Tensor:
    return total + noise * torch.from_numpy(np.random.default_rng(seed).normal(size=len(total)))


def test_without_noise_the_moments_are_those_of_the_images():
    moments = MeanEmbedding(CONFIG, 0.0).fit(sum_of(CONFIG, 100, dark=0.3))
    assert float(moments.dark_share) == pytest.approx(0.3)
    _, coordinates = CONFIG.coordinates_of(OTHER[:1000])
    emphasised = coordinates.double() * CONFIG.emphasis
    # Every user's direction counts alike, so that averages are a little others than those of images.
    assert torch.allclose(moments.means[0].double(), emphasised.mean(0), atol=0.35)
    expected = torch.cov(emphasised.T)
    assert float((moments.covariance.double() - expected).norm() / expected.norm()) < 0.12


def test_without_noise_classes_have_their_shares_and_their_means():
    labels = (torch.arange(1200) % 10 < 3).long()
    images = torch.where(labels[:, None, None, None] == 1, STROKES, OTHER)
    moments = MeanEmbedding(CLASSES, 0.0).fit(sum_of(CLASSES, 100, images=images, labels=labels))
    assert moments.shares.tolist() == pytest.approx([0.7, 0.3], abs=0.01)
    for label in (0, 1):
        of_class = (labels[:1000] == label).nonzero().squeeze(1)
        expected = (CLASSES.coordinates_of(images[of_class])[1].double() * CLASSES.emphasis).mean(0)
        assert torch.allclose(moments.means[label].double(), expected, atol=0.35)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([0.1, 1.0, 4.0, 40.0]), st.sampled_from([1, 5, 60]))
def test_whatever_the_noise_does_there_is_a_generator_of_images(seed, noise, users):
    for config, labels in ((CONFIG, None), (CLASSES, torch.zeros(1200, dtype=torch.long))):
        moments = MeanEmbedding(config, noise).fit(noised(sum_of(config, users, labels=labels), noise, seed))
        assert 0 <= float(moments.dark_share) <= 1
        assert float(moments.shares.sum()) == pytest.approx(1) and moments.shares.min() > 0
        assert torch.linalg.eigvalsh(moments.covariance.double()).min() > -1e-3
        generator = MomentGenerator(config, moments)
        images = generator(torch.randn(32, generator.latent_size, generator=torch.Generator().manual_seed(0)))
        assert images.isfinite().all()


@pytest.mark.parametrize("seed", range(5))
def test_of_noise_alone_nothing_is_learned_but_the_prior(seed):
    # One user in noise of 40: not a trace of her is in what was fitted.
    moments = MeanEmbedding(CONFIG, 40.0).fit(noised(sum_of(CONFIG, 1), 40.0, seed))
    prior = CONFIG.prior
    assert float((moments.covariance.double() - prior.covariance).norm() / prior.covariance.norm()) < 1.1


@pytest.mark.parametrize("dark, users", [(0.0, 57), (1.0, 57), (0.0, 110), (1.0, 110)])
def test_polarity_shows_through_noise_at_epsilon_1(dark, users):
    # The standard deviation of the share is 4.225 / (0.7 x 57) = 0.106: half a share is 4.7. Fixed seeds keep it from
    # ever changing.
    for seed in range(10):
        moments = MeanEmbedding(CONFIG, 4.225).fit(noised(sum_of(CONFIG, users, dark), 4.225, seed))
        assert abs(float(moments.dark_share) - dark) < 0.5


def test_noise_makes_up_the_other_polarity_about_once_in_a_hundred_releases():
    algorithm = MeanEmbedding(CONFIG, 4.225)
    polarities = sum_of(CONFIG, 100).split(CONFIG.sizes)[0]
    stream = torch.Generator().manual_seed(0)
    shown = sum(
        bool(algorithm._polarity(polarities + 4.225 * torch.randn(2, generator=stream).double())[1] > 0)
        for _ in range(4000)
    )
    # 1 in 100 would be 40; a hundred of them has a chance below 1e-13.
    assert 10 < shown < 100


def test_a_state_comes_back_from_a_checkpoint_and_holds_what_was_released():
    algorithm = MeanEmbedding(CONFIG, 1.0)
    released = noised(sum_of(CONFIG, 30), 1.0, 0)
    state, figures = algorithm.apply(algorithm.init(), released, 1)
    assert all(np.isfinite(list(figures.values())))
    back = algorithm.restore(state.tensors())
    assert torch.equal(back.released, released.float())
    assert all(torch.equal(one, other) for one, other in zip(
        back.moments.tensors().values(), state.moments.tensors().values(), strict=True
    ))  # fmt: skip
    # Fitting again needs nothing else, and draws nothing.
    again = algorithm.fit(back.released.double())
    assert torch.allclose(again.means, state.moments.means, atol=1e-4)
    assert algorithm.broadcast(state, 1) == {}


def test_tensors_of_something_else_are_refused():
    tensors = MeanEmbedding(CLASSES, 1.0).init().tensors()
    with pytest.raises(ValueError):
        MeanEmbedding(CONFIG, 1.0).restore(tensors)
    with pytest.raises(ValueError):
        MeanEmbedding(CONFIG, 1.0).restore({})


def test_the_preset_is_one_release_of_every_user_at_epsilon_1():
    training = PRESETS["quick"]
    assert (training.rounds, training.users_per_round, training.clip_norm) == (1, None, 1.0)
    algorithm = training.algorithm(training.networks((1, 28, 28)), 0, "cpu")
    assert algorithm.noise == training.noise_multiplier
    assert training.networks((1, 10, 10)).coefficients == 100


@pytest.mark.parametrize("change", [{"classes": 0}, {"coefficients": 0}, {"noise_multiplier": -1.0}])
def test_hyperparameters_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError):
        OneRoundTraining(**{"noise_multiplier": 1.0, "classes": None, "coefficients": 10} | change)
