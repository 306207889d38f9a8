"""The written-out step of a piecewise linear critic against torch's second derivative, in float64."""

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedprobe.models.critic_step import critic_step
from fedprobe.models.gan import GanConfig, critic_loss, descend
from fedprobe.models.input_gradient import is_piecewise_linear

L2 = 1.25e-5


def images(count: int, shape: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Real and fake images and their mix."""
    stream = torch.Generator().manual_seed(seed)
    real, fake = torch.randn(2, count, *shape, dtype=torch.float64, generator=stream)
    return real, fake, torch.rand(count, 1, 1, 1, dtype=torch.float64, generator=stream)


def loss_by_torch(layers: nn.Sequential, real: Tensor, fake: Tensor, mix: Tensor, penalty: float) -> Tensor:
    between = (real + mix * (fake - real)).requires_grad_(True)
    (slope,) = torch.autograd.grad(layers(between).sum(), between, create_graph=True)
    norms = (slope.flatten(1).square().sum(1) + 1e-10).sqrt()
    return layers(fake).mean() - layers(real).mean() + penalty * (norms - 1).square().mean()


kinks = st.one_of(st.builds(nn.ReLU), st.builds(nn.LeakyReLU, st.sampled_from([0.0, 0.01, 0.3])))


@st.composite
def critics(draw: st.DrawFn) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """A piecewise linear critic, and the shape of its images."""
    channels = draw(st.integers(1, 3))
    shape = channels, draw(st.integers(6, 11)), draw(st.integers(6, 11))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    layers: list[nn.Module] = [nn.Identity()] if draw(st.booleans()) else []
    if draw(st.booleans()):
        layers.append(draw(kinks))
    for _ in range(draw(st.integers(0, 2))):
        kernel, padding, dilation = draw(st.integers(1, 3)), draw(st.integers(0, 2)), draw(st.integers(1, 2))
        # A kernel fits into what the one before it left.
        assume(dilation * (kernel - 1) < min(nn.Sequential(*layers)(torch.zeros(1, *shape)).shape[2:]) + 2 * padding)
        groups, stride = draw(st.sampled_from([1, channels])), draw(st.integers(1, 2))
        options = {"groups": groups, "stride": stride, "dilation": dilation, "bias": draw(st.booleans())}
        layers.append(nn.Conv2d(channels, groups * 2, kernel, padding=padding, **options))
        channels = groups * 2
        layers += draw(st.lists(kinks, max_size=2))
    layers.append(nn.Flatten())
    width = nn.Sequential(*layers)(torch.zeros(1, *shape)).shape[1]
    for out in draw(st.lists(st.integers(1, 5), max_size=2)):
        layers += [nn.Linear(width, out, bias=draw(st.booleans())), *draw(st.lists(kinks, max_size=1))]
        width = out
    layers.append(nn.Linear(width, 1, bias=draw(st.booleans())))
    return nn.Sequential(*layers).double(), shape


@settings(max_examples=60, deadline=None)
@given(critics(), st.integers(1, 4), st.integers(0, 2**31), st.floats(0, 20), st.floats(1e-3, 1), st.floats(0, 1))
def test_a_step_is_torchs_gradient_times_the_learning_rate(critic, count, seed, penalty, learning_rate, shrink):
    layers, shape = critic
    assert is_piecewise_linear(layers)
    real, fake, mix = images(count, shape, seed)
    parameters = list(layers.parameters())
    loss = loss_by_torch(layers, real, fake, mix, penalty)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    shrinking = {parameters[0]: shrink}
    expected = [
        parameter.detach() * (1 - shrinking.get(parameter, 0.0)) - learning_rate * (0 if slope is None else slope)
        for parameter, slope in zip(parameters, gradients, strict=True)
    ]
    critic_step(layers, real, fake, mix, penalty, learning_rate, shrinking)
    for parameter, there in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), there, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("architecture", ["small", "paper", "paper-group-norm"])
@pytest.mark.parametrize("sides", [(8, 8), (9, 11)])
def test_every_critic_descends_along_the_gradient_of_its_loss(architecture: str, sides: tuple[int, int]) -> None:
    torch.manual_seed(0)
    critic = GanConfig(architecture, *sides, 2).critic().double()
    batch = images(3, (2, *sides), 1)
    before = copy.deepcopy(critic)
    loss = loss_by_torch(before.layers, *batch, 10.0) + L2 * sum(weight.square().sum() for weight in before.penalised())
    torch.testing.assert_close(critic_loss(critic, *batch, 10.0), loss, rtol=1e-10, atol=1e-12)
    gradients = torch.autograd.grad(loss, list(before.parameters()))
    descend(critic, *batch, 10.0, 0.1)
    for now, then, slope in zip(critic.parameters(), before.parameters(), gradients, strict=True):
        torch.testing.assert_close(now.detach(), then.detach() - 0.1 * slope, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("architecture", ["small", "paper", "paper-group-norm"])
def test_a_step_leaves_the_images_as_they_were(architecture: str) -> None:
    torch.manual_seed(0)
    critic = GanConfig(architecture, 8, 8).critic().double()
    batch = images(2, (1, 8, 8), 1)
    kept = [part.clone() for part in batch]
    descend(critic, *batch, 10.0, 0.1)
    assert all(torch.equal(part, before) for part, before in zip(batch, kept, strict=True))


def test_a_flat_critic_stays_finite() -> None:
    # Its slope is zero, whose norm has no derivative but for what is added under the root.
    critic = GanConfig("small", 8, 8).critic()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.zero_()
    descend(critic, *(part.float() for part in images(2, (1, 8, 8), 0)), 10.0, 0.1)
    assert all(parameter.isfinite().all() for parameter in critic.parameters())
