"""The presets of language models, against the paper, and what no training may be asked for."""

from dataclasses import asdict, fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.models.vocabulary import Bytes
from fedprobe.server.language_presets import CHAR_PRESETS, WORD_PRESETS, LanguageTraining

WORDS, BYTES = WORD_PRESETS["paper"], CHAR_PRESETS["paper"]
ALL = {
    f"{name} for {kind}": training
    for kind, presets in (("words", WORD_PRESETS), ("bytes", CHAR_PRESETS))
    for name, training in presets.items()
}
NUMBERS = [field.name for field in fields(LanguageTraining) if field.type in (int, float)]


def option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@pytest.mark.parametrize("training, clip_norm", [(WORDS, 0.2), (BYTES, 0.1)])
def test_the_papers_training_is_that_of_section_5_and_table_5(training, clip_norm):
    said = asdict(training)
    table = {
        "users_per_round": 5000,
        "rounds": 2000,
        "noise_multiplier": 1.0,
        "clip_norm": clip_norm,
        "client_learning_rate": 0.5,
        "server_optimizer": "momentum",
        "server_learning_rate": 1.0,
        "server_momentum": 0.99,
    }
    assert {name: said[name] for name in table} == table


def test_what_the_paper_leaves_unsaid_is_that_of_the_same_line_of_work():
    unsaid = {"local_epochs": 1, "local_batch_size": 16, "sequences_per_user": 256}
    for training in (WORDS, BYTES):
        assert {name: asdict(training)[name] for name in unsaid} == unsaid
    assert (WORDS.sequence_length, WORDS.symbols_per_user) == (20, 1600)


@pytest.mark.parametrize(
    "training, symbols, sizes, parameters",
    [
        (WORDS, 10_000, (96, 670, 96, 1, False, True), 1_422_250),
        (BYTES, Bytes().symbols, (128, 256, 128, 3, True, False), 758_274),
    ],
    ids=["words", "bytes"],
)
def test_the_papers_models_have_its_sizes(training, symbols, sizes, parameters):
    config = training.networks(symbols)
    assert config.symbols == symbols
    names = ("embedding", "hidden", "projection", "layers", "peepholes", "tied")
    assert tuple(getattr(config, name) for name in names) == sizes
    assert sum(parameter.numel() for parameter in config.build().parameters()) == parameters


def test_a_preset_for_words_and_one_for_bytes_go_by_the_same_names():
    assert set(WORD_PRESETS) == set(CHAR_PRESETS) == {"paper", "quick"}


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_preset_builds_its_algorithm(name):
    training = ALL[name]
    algorithm = training.algorithm(training.networks(11), seed=3, device="cpu")
    assert (algorithm.seed, algorithm.config.symbols) == (3, 11)
    assert (algorithm.optimizer.name, algorithm.optimizer.learning_rate) == ("momentum", training.server_learning_rate)
    assert algorithm.optimizer.momentum == training.server_momentum
    state = algorithm.init()
    after, figures = algorithm.apply(state, torch.zeros(len(state.model), dtype=torch.float64), 1)
    assert torch.equal(after.model, state.model)
    assert figures == {"released_update_norm": 0}


def test_momentum_is_adams_first_beta():
    training = replace(WORDS, server_optimizer="adam", server_momentum=0.5)
    assert training.algorithm(training.networks(5), 0, "cpu").optimizer.betas[0] == 0.5


@given(st.floats(0, 0.99))
def test_dropout_reaches_the_model_and_no_preset_has_any(share):
    assert replace(WORDS, dropout=share).networks(5).dropout == share
    assert not any(training.networks(5).dropout for training in ALL.values())


def test_the_decay_of_weights_reaches_the_optimiser():
    training = replace(WORDS, server_weight_decay=0.25)
    assert training.algorithm(training.networks(5), 0, "cpu").optimizer.weight_decay == 0.25


AT_LEAST_ONE = [
    "embedding",
    "hidden",
    "projection",
    "layers",
    "users_per_round",
    "rounds",
    "local_batch_size",
    "local_epochs",
    "sequences_per_user",
    "sequence_length",
    "symbols_per_user",
]


@pytest.mark.parametrize("name", AT_LEAST_ONE)
@pytest.mark.parametrize("value", [0, -1])
def test_a_size_below_one_is_refused_by_the_name_of_its_option(name, value):
    with pytest.raises(ValueError, match=option(name)):
        replace(BYTES, **{name: value})


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["noise_multiplier", "clip_norm", "client_learning_rate", "server_learning_rate", "server_momentum"]
)
def test_a_rate_that_is_negative_or_no_number_is_refused_by_the_name_of_its_option(name, value):
    with pytest.raises(ValueError, match=option(name)):
        replace(BYTES, **{name: value})


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"server_momentum": 1.0}, "--server-momentum must be below 1"),
        ({"dropout": 1.0}, "--dropout must be below 1"),
        ({"server_optimizer": "rmsprop"}, "sgd, momentum, adam"),
        ({"symbols_per_user": 20}, "--symbols-per-user"),
        ({"sequence_length": 1600}, "--sequence-length"),
        ({"embedding": 64}, "--projection"),
        ({"projection": 64}, "--projection"),
    ],
)
def test_what_does_not_go_together_is_refused_by_the_name_of_its_option(changes, named):
    with pytest.raises(ValueError, match=named):
        replace(WORDS, **changes)


def test_one_whole_sequence_and_its_end_are_the_least_that_a_user_may_give():
    assert replace(WORDS, symbols_per_user=21).symbols_per_user == 21
    assert replace(WORDS, sequence_length=1, symbols_per_user=2).sequence_length == 1


def test_every_number_is_held_to_its_bounds_here():
    named = {*AT_LEAST_ONE, "noise_multiplier", "clip_norm", "client_learning_rate", "server_learning_rate"}
    assert {*named, "server_momentum", "server_weight_decay", "model_average", "dropout"} == set(NUMBERS)
