"""Algorithm 2 as a value: states go in and come out, and all that is new in them comes from the released update."""

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedprobe.models.classifier import ClassifierConfig
from fedprobe.models.language import LanguageConfig
from fedprobe.models.stored import load_stored, store
from fedprobe.server.algorithms.dp_fedavg import DpFedAvg, FedAvgState
from fedprobe.server.optimizer import Optimizer

CONFIG = LanguageConfig(symbols=5, embedding=2, hidden=3, projection=2, layers=2, peepholes=True, tied=True)
OPTIMIZERS = {
    "sgd": Optimizer("sgd", 0.5),
    "momentum": Optimizer("momentum", 1.0, 0.99),
    "adam": Optimizer("adam", 0.01),
}
FEDAVG = DpFedAvg(CONFIG, OPTIMIZERS["momentum"], model_average=0.9, seed=7)
SIZE = len(FEDAVG.init().model)
each = pytest.mark.parametrize("name", sorted(OPTIMIZERS))


def update(seed: int = 0) -> Tensor:
    """A mean update as the mechanism releases it: float64."""
    return 0.1 * torch.randn(SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_optimizer(name: str) -> DpFedAvg:
    return replace(FEDAVG, optimizer=OPTIMIZERS[name])


def moved(algorithm: DpFedAvg, rounds: int = 3, state: FedAvgState | None = None, first: int = 1) -> FedAvgState:
    state = state or algorithm.init()
    for round in range(first, first + rounds):
        state, _ = algorithm.apply(state, update(round), round)
    return state


def bits(tensors: Mapping[str, Tensor]) -> dict[str, tuple]:
    return {name: (tensor.dtype, tensor.shape, tensor.numpy().tobytes()) for name, tensor in tensors.items()}


class TestInit:
    def test_the_seed_decides_the_first_state_whatever_was_drawn_before(self):
        first = FEDAVG.init()
        torch.manual_seed(123)
        assert bits(FEDAVG.init().tensors()) == bits(first.tensors())
        other = replace(FEDAVG, seed=8).init()
        # All but the biases, which start alike.
        assert int((other.model != first.model).sum()) > SIZE // 2

    def test_nobody_elses_random_numbers_are_touched(self):
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        FEDAVG.init()
        assert torch.equal(torch.rand(3), expected)

    def test_it_is_the_model_and_nothing_else_and_finite(self):
        state = FEDAVG.init()
        assert list(state.tensors()) == ["model", "average"]
        assert torch.equal(state.average, state.model)
        assert len(state.model) == sum(parameter.numel() for parameter in CONFIG.build().parameters())
        assert state.model.isfinite().all()


def test_any_model_that_is_built_from_a_configuration_is_trained_alike():
    config = ClassifierConfig(18, 18, 1, 3)
    algorithm = DpFedAvg(config, OPTIMIZERS["sgd"], model_average=0.0, seed=7)
    state = algorithm.init()
    assert len(state.model) == sum(parameter.numel() for parameter in config.build().parameters())
    after, _ = algorithm.apply(state, torch.ones(len(state.model), dtype=torch.float64), 1)
    torch.testing.assert_close(after.model, state.model + 0.5)
    assert bits(algorithm.restore(after.tensors()).tensors()) == bits(after.tensors())


def test_devices_get_the_model_and_nothing_of_the_optimiser():
    state = moved(FEDAVG)
    public = FEDAVG.broadcast(state, 4)
    assert list(public) == ["model"]
    assert torch.equal(public["model"], state.model)


@given(st.floats(0, 2), st.integers(0, 2**31))
def test_one_round_of_sgd_adds_the_mean_update_times_the_rate(rate, seed):
    algorithm = replace(FEDAVG, optimizer=Optimizer("sgd", rate))
    state = algorithm.init()
    after, figures = algorithm.apply(state, update(seed), 1)
    expected = state.model.double() + rate * update(seed)
    np.testing.assert_allclose(after.model.numpy(), expected.numpy(), rtol=1e-6, atol=1e-6)
    assert figures == {"released_update_norm": pytest.approx(float(update(seed).norm()), rel=1e-5)}


def test_one_round_by_hand():
    algorithm = replace(FEDAVG, optimizer=Optimizer("sgd", 0.5))
    ones = replace(algorithm.init(), model=torch.ones(4), average=torch.ones(4))
    after, figures = algorithm.apply(ones, torch.tensor([2.0, -2.0, 0.0, 4.0], dtype=torch.float64), 1)
    assert after.model.tolist() == [2.0, 0.0, 1.0, 3.0]
    assert figures == {"released_update_norm": pytest.approx(24**0.5)}
    # In round 1 the average keeps a tenth of what it was, though its decay is 0.9.
    torch.testing.assert_close(after.average, 0.9 * after.model + 0.1)


def test_the_average_decays_as_asked_once_it_has_forgotten_the_start():
    state = moved(FEDAVG, 2)
    after, _ = FEDAVG.apply(state, update(9), 1000)
    torch.testing.assert_close(after.average, 0.9 * state.average + 0.1 * after.model)


@given(st.integers(1, 1000))
def test_without_decay_the_average_is_the_model(round):
    after, _ = replace(FEDAVG, model_average=0.0).apply(FEDAVG.init(), update(), round)
    assert torch.equal(after.average, after.model)


def test_rounds_of_momentum_are_nesterovs_on_the_mean_updates():
    # Facts, section 3.3: v <- mu v + d, theta <- theta + lr (d + mu v).
    place, velocity = FEDAVG.init().model.double(), 0.0
    for round in range(1, 4):
        velocity = 0.99 * velocity + update(round)
        place = place + update(round) + 0.99 * velocity
    np.testing.assert_allclose(moved(FEDAVG).model.numpy(), place.numpy(), rtol=1e-5, atol=1e-6)


@each
def test_a_step_is_a_function_of_the_state_and_the_released_update_alone(name):
    algorithm, state = with_optimizer(name), moved(with_optimizer(name))
    after, figures = algorithm.apply(state, update(9), 4)
    torch.manual_seed(99)
    # Neither the seed nor who else drew random numbers: post-processing.
    again, same = replace(algorithm, seed=100).apply(state, update(9), 4)
    assert bits(again.tensors()) == bits(after.tensors())
    assert same == figures
    assert set(figures) == {"released_update_norm"}


@each
def test_nothing_that_was_given_is_changed_by_a_step(name):
    algorithm, state, given_update = with_optimizer(name), moved(with_optimizer(name)), update(9)
    before, update_before = bits(state.tensors()), given_update.clone()
    after, _ = algorithm.apply(state, given_update, 4)
    after.model.zero_()
    for value in after.optimizer.values():
        value.zero_()
    assert bits(state.tensors()) == before
    assert torch.equal(given_update, update_before)
    with pytest.raises(FrozenInstanceError):
        state.model = after.model


@each
@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_a_restored_state_is_the_one_that_was_stored_and_goes_on_alike(name, rounds, tmp_path):
    algorithm = with_optimizer(name)
    state = moved(algorithm, rounds)
    assert bits(algorithm.restore(state.tensors()).tensors()) == bits(state.tensors())
    store(tmp_path / "state", state.tensors(), {})
    restored = algorithm.restore(load_stored(tmp_path / "state")[0])
    assert restored.optimizer.keys() == state.optimizer.keys()
    assert bits(restored.tensors()) == bits(state.tensors())
    on, again = (moved(algorithm, 2, one, first=rounds + 1) for one in (state, restored))
    assert bits(again.tensors()) == bits(on.tensors())


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"critic": torch.zeros(SIZE)},
        {"model": torch.zeros(SIZE + 1), "average": torch.zeros(SIZE + 1)},
        {"model": torch.zeros(SIZE)},
    ],
    ids=["nothing", "a GAN's", "a larger model's", "without average"],
)
def test_the_state_of_another_model_is_not_restored(tensors):
    with pytest.raises(ValueError):
        FEDAVG.restore(tensors)
