"""The preset of a federated classifier, and what no training may be asked for."""

from dataclasses import fields, replace

import pytest
import torch

from fedprobe.models.classifier import ClassifierConfig
from fedprobe.server.classifier_presets import HELD_OUT, PRESETS, ClassifierTraining

QUICK = PRESETS["quick"]
CONFIG = ClassifierConfig(18, 18, 1, 3)
AT_LEAST_ONE = ["users_per_round", "rounds", "local_batch_size", "local_epochs", "examples_per_user"]
BELOW_ONE = ["server_momentum", "model_average", "held_out"]
RATES = ["noise_multiplier", "clip_norm", "client_learning_rate", "server_learning_rate"]


def test_there_is_no_preset_of_the_paper_which_trains_it_on_pooled_examples():
    assert set(PRESETS) == {"quick"}
    assert QUICK.noise_multiplier == 0.01


def test_a_preset_holds_nobodys_examples_back_until_a_simulation_does():
    assert QUICK.held_out == 0
    assert replace(QUICK, held_out=HELD_OUT).held_out == 0.1


def test_the_preset_builds_its_algorithm():
    algorithm = QUICK.algorithm(CONFIG, seed=3, device="cpu")
    assert (algorithm.seed, algorithm.config, algorithm.model_average) == (3, CONFIG, QUICK.model_average)
    assert (algorithm.optimizer.name, algorithm.optimizer.momentum) == ("momentum", QUICK.server_momentum)
    state = algorithm.init()
    after, _ = algorithm.apply(state, torch.zeros(len(state.model), dtype=torch.float64), 1)
    assert torch.equal(after.model, state.model)


@pytest.mark.parametrize("noise_multiplier, provenance", [(0.0, "conditional"), (0.01, "dp"), (1.0, "dp")])
def test_what_was_trained_without_noise_is_no_release(noise_multiplier, provenance):
    assert replace(QUICK, noise_multiplier=noise_multiplier).provenance == provenance


@pytest.mark.parametrize("name", AT_LEAST_ONE)
@pytest.mark.parametrize("value", [0, -1])
def test_a_size_below_one_is_refused_by_the_name_of_its_option(name, value):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')}"):
        replace(QUICK, **{name: value})


@pytest.mark.parametrize("name", [*BELOW_ONE, *RATES])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_rate_that_is_negative_or_no_number_is_refused_by_the_name_of_its_option(name, value):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')}"):
        replace(QUICK, **{name: value})


@pytest.mark.parametrize("name", BELOW_ONE)
def test_a_share_of_all_is_refused(name):
    with pytest.raises(ValueError, match="below 1"):
        replace(QUICK, **{name: 1.0})


def test_an_optimiser_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="sgd, momentum, adam"):
        replace(QUICK, server_optimizer="rmsprop")


def test_every_number_is_held_to_its_bounds_here():
    numbers = {field.name for field in fields(ClassifierTraining) if field.type in (int, float)}
    assert numbers == {*AT_LEAST_ONE, *BELOW_ONE, *RATES}
