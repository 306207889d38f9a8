"""A module's parameters as one vector: both are the same numbers, in torch's own order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedprobe.models.flat import attach, flatten, trainable

layers = st.one_of(
    st.builds(nn.Linear, st.integers(1, 4), st.integers(1, 4), st.booleans()),
    st.builds(nn.Conv2d, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    st.builds(nn.BatchNorm2d, st.integers(1, 4)),
    st.builds(lambda module: module.to(memory_format=torch.channels_last), st.just(nn.Conv2d(3, 2, 2))),
)


@st.composite
def modules(draw) -> nn.Module:
    """A few layers, some of their parameters frozen, at least one not."""
    module = nn.Sequential(*draw(st.lists(layers, min_size=1, max_size=4)))
    parameters = list(module.parameters())
    for parameter in parameters:
        parameter.requires_grad_(draw(st.booleans()))
    parameters[draw(st.integers(0, len(parameters) - 1))].requires_grad_(True)
    return module


def some_vector(module: nn.Module, seed: int) -> torch.Tensor:
    return torch.randn(
        sum(parameter.numel() for parameter in trainable(module)), generator=torch.Generator().manual_seed(seed)
    )


@settings(deadline=None)
@given(modules(), st.integers(0, 2**31))
def test_what_was_attached_comes_back(module, seed):
    vector = some_vector(module, seed)
    attach(module, vector)
    assert torch.equal(flatten(module), vector)
    assert torch.equal(flatten(module), nn.utils.parameters_to_vector(trainable(module)).detach())


@settings(deadline=None)
@given(modules())
def test_flattening_takes_the_trainable_parameters_in_torchs_order(module):
    taken = [parameter.detach().numpy().ravel() for parameter in module.parameters() if parameter.requires_grad]
    assert np.array_equal(flatten(module).numpy(), np.concatenate(taken))


@settings(deadline=None)
@given(modules(), st.integers(0, 2**31))
def test_changes_go_both_ways(module, seed):
    vector = some_vector(module, seed)
    attach(module, vector)
    vector.mul_(2).add_(1)
    assert torch.equal(flatten(module), vector)
    with torch.no_grad():
        for number, parameter in enumerate(trainable(module)):
            parameter.fill_(number)
    sizes = torch.tensor([parameter.numel() for parameter in trainable(module)])
    assert torch.equal(vector, torch.arange(len(sizes)).repeat_interleave(sizes).float())


@settings(deadline=None)
@given(modules(), st.integers(0, 2**31))
def test_a_flattened_vector_is_a_copy_and_frozen_parameters_stay_theirs(module, seed):
    frozen = [parameter for parameter in module.parameters() if not parameter.requires_grad]
    before = [parameter.clone() for parameter in frozen]
    taken = flatten(module)
    kept = taken.clone()
    attach(module, some_vector(module, seed))
    with torch.no_grad():
        for parameter in trainable(module):
            parameter.add_(1)
    assert torch.equal(taken, kept)
    assert all(torch.equal(one, other) for one, other in zip(before, frozen, strict=True))


@settings(deadline=None)
@given(modules(), st.integers(1, 5), st.booleans())
def test_a_vector_of_the_wrong_length_is_refused(module, by, longer):
    right = some_vector(module, 0)
    wrong = torch.cat([right, torch.zeros(by)]) if longer else right[:-by]
    with pytest.raises(ValueError, match="length"):
        attach(module, wrong)


def test_gradients_of_an_attached_module_are_gradients_of_the_vector():
    module = nn.Linear(2, 1)
    vector = torch.tensor([1.0, 2.0, 3.0])
    attach(module, vector)
    images = torch.tensor([[5.0, 7.0]])
    assert float(module(images).detach()) == 1 * 5 + 2 * 7 + 3
    gradients = torch.autograd.grad(module(images).sum(), trainable(module))
    assert torch.cat([part.reshape(-1) for part in gradients]).tolist() == [5.0, 7.0, 1.0]
