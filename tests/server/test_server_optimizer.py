"""The server's optimisers, stepped from saved states, against torch's own and against the formulas written out."""

import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprobe.models.stored import load_stored, store
from fedprobe.server.optimizer import Optimizer

OPTIMIZERS = {
    "sgd": Optimizer("sgd", 0.5),
    "momentum": Optimizer("momentum", 1.0, 0.99),
    "momentum of zero": Optimizer("momentum", 0.3, 0.0),
    "adam": Optimizer("adam", 0.004, 0.0, (0.0, 0.9)),
    "adam with its usual betas": Optimizer("adam", 0.1),
}
TORCHS = {
    "sgd": lambda vector: torch.optim.SGD([vector], lr=0.5),
    "momentum": lambda vector: torch.optim.SGD([vector], lr=1.0, momentum=0.99, nesterov=True),
    "momentum of zero": lambda vector: torch.optim.SGD([vector], lr=0.3),
    "adam": lambda vector: torch.optim.Adam([vector], lr=0.004, betas=(0.0, 0.9)),
    "adam with its usual betas": lambda vector: torch.optim.Adam([vector], lr=0.1, betas=(0.9, 0.999)),
}
each = pytest.mark.parametrize("name", sorted(OPTIMIZERS))


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@each
def test_steps_from_saved_states_equal_torchs_uninterrupted_ones(name, tmp_path):
    vector, gradients = random(50), random(6, 50, seed=1)
    expected = torch.nn.Parameter(vector.clone())
    theirs = TORCHS[name](expected)
    state = {}
    for number, gradient in enumerate(gradients):
        expected.grad = gradient.clone()
        theirs.step()
        state = OPTIMIZERS[name].step(vector, gradient, state)
        assert torch.equal(vector, expected.detach())
        store(tmp_path / str(number), state, {})
        state, _ = load_stored(tmp_path / str(number))


@each
@pytest.mark.parametrize("gradient", [random(1), random(50, dtype=torch.float64)], ids=["shape", "type"])
def test_a_gradient_of_another_shape_or_type_is_refused(name, gradient):
    vector = random(50)
    with pytest.raises(ValueError, match="shape and the type"):
        OPTIMIZERS[name].step(vector, gradient, {})
    assert torch.equal(vector, random(50))


def test_no_step_loads_torchs_compiler():
    """Its two seconds and its memory: `torch.optim`'s classes load it."""
    script = f"""
import sys, torch
from fedprobe.server.optimizer import Optimizer
for optimizer in {[asdict(optimizer) for optimizer in OPTIMIZERS.values()]}:
    Optimizer(**optimizer).step(torch.zeros(3), torch.ones(3), {{}})
sys.exit("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@each
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), steps=st.integers(1, 4), size=st.integers(1, 9))
def test_a_step_changes_the_vector_and_nothing_else_that_it_was_given(name, seed, steps, size):
    vector, gradients = random(size, seed=seed), random(steps, size, seed=seed + 1)
    states, copies = [{}], [{}]
    for gradient in gradients:
        before = gradient.clone()
        state = OPTIMIZERS[name].step(vector, gradient, states[-1])
        assert torch.equal(gradient, before)
        states.append(state)
        copies.append({key: value.clone() for key, value in state.items()})
    gradients.zero_()
    for state, copy in zip(states, copies, strict=True):
        assert state.keys() == copy.keys()
        assert all(torch.equal(state[key], copy[key]) for key in state)


@each
def test_the_same_step_from_the_same_state_gives_the_same_bits(name):
    first = random(20)
    state = OPTIMIZERS[name].step(first, random(20, seed=1), {})
    twice = []
    for _ in range(2):
        vector = first.clone()
        after = OPTIMIZERS[name].step(vector, random(20, seed=2), state)
        twice.append([vector, *after.values()])
    assert all(torch.equal(one, other) for one, other in zip(*twice, strict=True))


def gradients_and_start(size: int = 7, steps: int = 5) -> tuple[np.ndarray, torch.Tensor]:
    return random(steps, size, seed=1, dtype=torch.float64).numpy(), random(size, dtype=torch.float64)


def run(optimizer: Optimizer, vector: torch.Tensor, gradients: np.ndarray) -> np.ndarray:
    state = {}
    for gradient in gradients:
        state = optimizer.step(vector, torch.from_numpy(gradient), state)
    return vector.numpy()


def test_sgd_is_one_subtraction_a_step():
    gradients, start = gradients_and_start()
    expected = start.numpy() - 0.5 * gradients.sum(axis=0)
    np.testing.assert_allclose(run(OPTIMIZERS["sgd"], start.clone(), gradients), expected, rtol=1e-12)


def test_sgd_takes_no_notice_of_a_momentum():
    gradients, start = gradients_and_start()
    with_momentum = run(Optimizer("sgd", 0.5, 0.9), start.clone(), gradients)
    assert np.array_equal(with_momentum, run(OPTIMIZERS["sgd"], start.clone(), gradients))


def test_momentum_is_nesterovs():
    # Sutskever et al. 2013, in the form that looks ahead from the gradient: v <- m v + g, x <- x - (g + m v).
    gradients, start = gradients_and_start()
    expected, velocity = start.numpy().copy(), 0.0
    for gradient in gradients:
        velocity = 0.99 * velocity + gradient
        expected = expected - (gradient + 0.99 * velocity)
    np.testing.assert_allclose(run(OPTIMIZERS["momentum"], start.clone(), gradients), expected, rtol=1e-12)


@given(st.floats(0, 0.999), st.floats(0, 2), st.integers(1, 6), st.integers(1, 5), st.integers(1, 2**31))
def test_momentum_moves_along_the_updates_and_their_velocity(momentum, rate, steps, size, seed):
    """On mean updates d = -gradient, as published work has it: v <- m v + d, x <- x + rate (d + m v)."""
    updates, vector = random(steps, size, seed=seed, dtype=torch.float64), random(size, dtype=torch.float64)
    expected, velocity = vector.numpy().copy(), 0.0
    for update in updates.numpy():
        velocity = momentum * velocity + update
        expected = expected + rate * (update + momentum * velocity)
    taken = run(Optimizer("momentum", rate, momentum), vector, -updates.numpy())
    np.testing.assert_allclose(taken, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("betas", [(0.0, 0.9), (0.9, 0.999)])
def test_adam_is_kingma_and_bas_algorithm_1(betas):
    gradients, start = gradients_and_start()
    expected, mean, square = start.numpy().copy(), 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        mean = betas[0] * mean + (1 - betas[0]) * gradient
        square = betas[1] * square + (1 - betas[1]) * gradient**2
        unbiased = mean / (1 - betas[0] ** step), square / (1 - betas[1] ** step)
        expected = expected - 0.1 * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    taken = run(Optimizer("adam", 0.1, betas[0], betas), start.clone(), gradients)
    np.testing.assert_allclose(taken, expected, rtol=1e-9)


@pytest.mark.parametrize("rate, decay", [(0.1, 0.3), (0.01, 2.0)])
def test_decay_of_weights_is_apart_from_the_gradient(rate, decay):
    gradients, start = gradients_and_start()
    expected = torch.nn.Parameter(start.clone())
    theirs = torch.optim.AdamW([expected], lr=rate, betas=(0.9, 0.999), weight_decay=decay)
    for gradient in gradients:
        expected.grad = torch.from_numpy(gradient)
        theirs.step()
    taken = run(Optimizer("adam", rate, weight_decay=decay), start.clone(), gradients)
    np.testing.assert_allclose(taken, expected.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", ["", "SGD", "rmsprop"])
def test_an_unknown_optimiser_is_refused_and_the_known_ones_named(name):
    with pytest.raises(ValueError, match="sgd, momentum, adam"):
        Optimizer(name, 0.1)
