"""The written-out gradient of a critic by its images against torch's, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedprobe.models.gan import GanConfig
from fedprobe.models.input_gradient import input_gradient, is_piecewise_linear


def penalties(layers: nn.Sequential, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The slope by the written-out way and by torch's."""
    leaf = images.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(layers(leaf).sum(), leaf, create_graph=True)
    return input_gradient(layers, images), expected


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    side=st.integers(8, 13),
    channels=st.integers(1, 3),
    stride=st.integers(1, 3),
    below=st.sampled_from([0.0, 0.01, 0.2]),
)
def test_slope_and_its_gradient_are_torchs(seed: int, side: int, channels: int, stride: int, below: float) -> None:
    torch.manual_seed(seed)
    kink = nn.LeakyReLU(below) if below else nn.ReLU()
    features = nn.Sequential(nn.Conv2d(channels, 4, 4, stride=stride, padding=1), kink, nn.Flatten())
    width = features(torch.zeros(1, channels, side, side + 1)).shape[1]
    layers = nn.Sequential(*features, nn.Linear(width, 5), nn.LeakyReLU(0.1), nn.Linear(5, 1)).double()
    written, expected = penalties(layers, torch.randn(3, channels, side, side + 1, dtype=torch.float64))
    torch.testing.assert_close(written, expected, rtol=1e-10, atol=1e-12)
    weights = [weight for name, weight in layers.named_parameters() if name.endswith("weight")]
    ours, theirs = (
        torch.autograd.grad((slope.flatten(1).norm(dim=1) - 1).square().mean(), weights)
        for slope in (written, expected)
    )
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("architecture", ["small", "paper"])
@pytest.mark.parametrize("sides", [(28, 28), (9, 11)])
def test_critics_without_normalisation_take_the_written_out_way(architecture: str, sides: tuple[int, int]) -> None:
    layers = GanConfig(architecture, *sides).critic().double().layers
    assert is_piecewise_linear(layers)
    torch.manual_seed(0)
    written, expected = penalties(layers, torch.randn(2, 1, *sides, dtype=torch.float64))
    torch.testing.assert_close(written, expected, rtol=1e-10, atol=1e-12)


def test_what_is_not_piecewise_linear_is_refused() -> None:
    assert not is_piecewise_linear(GanConfig("paper-group-norm", 28, 28).critic().layers)
    kinks = nn.ReLU(inplace=True), nn.LeakyReLU(-0.1)
    for layer in (nn.Tanh(), nn.MaxPool2d(2), *kinks, nn.Conv2d(1, 1, 3, padding_mode="circular")):
        assert not is_piecewise_linear(nn.Sequential(layer))
    twice = nn.Linear(2, 2)
    assert not is_piecewise_linear(nn.Sequential(twice, twice))
    assert not is_piecewise_linear(nn.Tanh())
    assert not is_piecewise_linear(None)
