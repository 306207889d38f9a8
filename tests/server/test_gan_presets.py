"""The presets, against the paper's Table 9 and the authors' code, and what no training may be asked for."""

from dataclasses import asdict, replace

import pytest
import torch

from fedprobe.models.gan import GanConfig
from fedprobe.server.gan_presets import PRESETS

PAPER = PRESETS["paper"]


def test_the_papers_preset_is_table_9_of_the_paper():
    said = asdict(PAPER)
    table = {
        "users_per_round": 10,
        "rounds": 1000,
        "noise_multiplier": 0.01,
        "clip_norm": 0.1,
        "local_batch_size": 32,
        "local_steps": 6,
        "client_learning_rate": 0.0005,
        "gradient_penalty": 10.0,
        "critic_rounds_per_generator_phase": 1,
        "generator_steps": 6,
        "generator_batch_size": 32,
        "generator_learning_rate": 0.005,
        "server_learning_rate": 1.0,
    }
    assert {name: said[name] for name in table} == table
    assert (PAPER.server_optimizer, PAPER.generator_optimizer, PAPER.generator_average) == ("sgd", "sgd", 0.0)


def test_the_papers_noise_is_what_the_paper_scales_up():
    # sigma = z S / (q N) = 1e-4 on the mean, kept at z = 1 with 1,000 users a round.
    assert PAPER.noise_multiplier * PAPER.clip_norm / PAPER.users_per_round == pytest.approx(1e-4)


def test_the_papers_latents_have_128_coordinates():
    assert GanConfig(PAPER.architecture, 8, 8).generator().latent_size == 128


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_builds_its_algorithm_for_images_of_any_shape(name):
    training = PRESETS[name]
    config = training.networks((1, 8, 9))
    assert (config.channels, config.height, config.width) == (1, 8, 9)
    algorithm = training.algorithm(config, seed=3, device="cpu")
    assert (algorithm.seed, algorithm.config.architecture) == (3, training.architecture)
    state = algorithm.init()
    fakes = algorithm.broadcast(state, 1)["fakes"]
    assert fakes.shape == (training.local_steps, training.local_batch_size, 1, 8, 9)
    _, figures = algorithm.apply(state, torch.zeros(len(state.critic), dtype=torch.float64), 1)
    assert torch.tensor(list(figures.values())).isfinite().all()


def test_momentum_is_adams_first_beta_and_its_second_is_that_of_wgan_gp():
    training = replace(PAPER, server_optimizer="adam", server_momentum=0.5)
    assert training.algorithm(training.networks((1, 8, 8)), 0, "cpu").critic_optimizer.betas == (0.5, 0.9)


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("users_per_round", 0, "--users-per-round must be at least 1"),
        ("rounds", 0, "--rounds must be at least 1"),
        ("local_batch_size", 0, "--local-batch-size must be at least 1"),
        ("local_steps", 0, "--local-steps must be at least 1"),
        ("clip_norm", -0.1, "--clip-norm cannot be negative"),
        ("client_learning_rate", -0.1, "--client-learning-rate cannot be negative"),
        ("generator_steps", -1, "--generator-steps cannot be negative"),
        ("generator_batch_size", 1, "at least 2"),
        ("critic_rounds_per_generator_phase", 0, "at least one critic round"),
        ("server_momentum", 1.0, "--server-momentum must be below 1"),
        ("generator_average", 1.0, "--generator-average must be below 1"),
        ("architecture", "dcgan", "unknown architecture; choose one of paper"),
        ("server_optimizer", "rmsprop", "sgd, momentum, adam"),
        ("generator_optimizer", "", "sgd, momentum, adam"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_the_name_of_its_option(name, value, says):
    with pytest.raises(ValueError, match=says):
        replace(PAPER, **{name: value})


def test_a_generator_phase_of_no_steps_is_refused():
    # Its loss would be the mean of nothing, which is not a number.
    with pytest.raises(ValueError, match="--generator-steps"):
        replace(PAPER, generator_steps=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["client_learning_rate", "gradient_penalty", "server_learning_rate", "generator_learning_rate"]
)
def test_a_rate_that_is_no_number_is_refused(name, value):
    # Every update would be set to zeros, silently, or the critic lost in the first round.
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')}"):
        replace(PAPER, **{name: value})
