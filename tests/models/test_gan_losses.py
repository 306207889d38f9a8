"""The losses of DP-FedAvg-GAN against gradients known by hand, finite differences, and sums written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedprobe.models.flat import attach, flatten, trainable
from fedprobe.models.gan import GanConfig, critic_loss, generator_gradient, generator_loss

L2 = 1.25e-5


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int, seed: int, side: int = 3) -> Tensor:
    return torch.randn(count, 1, side, side, dtype=torch.float64, generator=stream(seed))


def mixes(count: int, seed: int) -> Tensor:
    return torch.rand(count, 1, 1, 1, dtype=torch.float64, generator=stream(seed))


class Linear:
    """D(x) = <w, x>: its gradient is w everywhere."""

    def __init__(self, weights: Tensor, penalised: bool) -> None:
        self.weights, self._penalised = weights, penalised

    def __call__(self, images: Tensor) -> Tensor:
        return (images * self.weights).flatten(1).sum(1)

    def penalised(self) -> list[Tensor]:
        return [self.weights] if self._penalised else []


class HalfSquare:
    """D(x) = |x|^2 / 2: its gradient is x."""

    def __call__(self, images: Tensor) -> Tensor:
        return images.flatten(1).square().sum(1) / 2

    def penalised(self) -> list[Tensor]:
        return []


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**31), st.floats(0, 100), st.booleans())
def test_a_linear_critics_loss_is_what_the_formula_says(count, seed, penalty, penalised):
    real, fake, mix = batch(count, seed), batch(count, seed + 1), mixes(count, seed + 2)
    weights = batch(1, seed + 3)[0]
    loss = critic_loss(Linear(weights, penalised), real, fake, mix, penalty)
    wasserstein = ((fake - real).mean(0) * weights).sum()
    expected = wasserstein + penalty * (weights.norm() - 1) ** 2 + penalised * L2 * (weights**2).sum()
    torch.testing.assert_close(loss, expected, rtol=1e-8, atol=1e-8)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**31))
def test_the_penalty_is_per_image_and_taken_between_the_real_and_the_fake_one(count, seed):
    real, fake, mix = batch(count, seed), batch(count, seed + 1), mixes(count, seed + 2)
    critic = HalfSquare()
    penalty = (critic_loss(critic, real, fake, mix, 10.0) - critic_loss(critic, real, fake, mix, 0.0)).detach()
    expected = sum(
        float((one_real + float(share) * (one_fake - one_real)).norm() - 1) ** 2
        for one_real, one_fake, share in zip(real, fake, mix, strict=True)
    )
    assert float(penalty) == pytest.approx(10 * expected / count, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("share, at", [(0.0, 0), (1.0, 1)])
def test_a_share_of_zero_is_the_real_image_and_of_one_the_fake(share, at):
    images = batch(1, 0), batch(1, 1)
    loss = critic_loss(HalfSquare(), *images, torch.full((1, 1, 1, 1), share, dtype=torch.float64), 1.0)
    scores = [float(image.square().sum() / 2) for image in images]
    assert float(loss.detach()) == pytest.approx(scores[1] - scores[0] + float(images[at].norm() - 1) ** 2)


def small_critic() -> nn.Module:
    torch.manual_seed(0)
    return GanConfig("small", 8, 8).critic().double()


def smooth_critic() -> nn.Module:
    """Any critic with a second derivative."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0)).double()
    critic.penalised = lambda: [critic[1].weight]
    return critic


def slope_by_differences(critic: nn.Module, image: Tensor, step: float = 1e-6) -> Tensor:
    moved = torch.eye(image.numel(), dtype=image.dtype).view(-1, *image.shape) * step
    with torch.no_grad():
        return (critic(image + moved) - critic(image - moved)) / (2 * step)


def test_the_gradient_penalty_agrees_with_finite_differences():
    critic = smooth_critic()
    real, fake, mix = batch(4, 1), batch(4, 2), mixes(4, 3)
    between = real + mix * (fake - real)
    norms = torch.stack([slope_by_differences(critic, image).norm() for image in between])
    with torch.no_grad():
        wasserstein = critic(fake).mean() - critic(real).mean()
    expected = wasserstein + 10 * ((norms - 1) ** 2).mean() + L2 * critic[1].weight.square().sum()
    torch.testing.assert_close(critic_loss(critic, real, fake, mix), expected.detach(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("build, side", [(smooth_critic, 3), (small_critic, 8)])
def test_the_gradient_of_the_loss_agrees_with_finite_differences(build, side):
    # Through the gradient of a gradient: what one local step on a device moves along.
    critic = build()
    real, fake, mix = batch(3, 1, side), batch(3, 2, side), mixes(3, 3)
    vector = flatten(critic)
    attach(critic, vector)
    gradients = torch.autograd.grad(critic_loss(critic, real, fake, mix), list(critic.parameters()))
    gradient = torch.cat([part.reshape(-1) for part in gradients])
    start = vector.clone()
    for seed in range(3):
        along = torch.randn(len(vector), dtype=torch.float64, generator=stream(seed))
        ends = []
        for step in (1e-8, -1e-8):
            vector.copy_(start + step * along)
            ends.append(float(critic_loss(critic, real, fake, mix).detach()))
        assert (ends[0] - ends[1]) / 2e-8 == pytest.approx(float(gradient @ along), rel=1e-5, abs=1e-5)


def test_the_loss_is_differentiable_where_the_critic_is_flat():
    # sqrt(0) has no gradient: the authors add 1e-10 under the root.
    critic = GanConfig("small", 8, 8).critic()
    attach(critic, torch.zeros_like(flatten(critic)))
    images = torch.rand(2, 1, 8, 8, generator=stream(0))
    loss = critic_loss(critic, images, -images, torch.full((2, 1, 1, 1), 0.5))
    gradients = torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True)
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    # The slope is zero, so its norm is 1e-5 and the penalty (1e-5 - 1)^2.
    assert float(loss.detach()) == pytest.approx(10 * (1e-5 - 1) ** 2, rel=1e-6)


def test_the_papers_critic_has_all_its_weights_under_the_l2_penalty():
    critic = GanConfig("paper", 8, 8).critic().double()
    images = batch(2, 0, 8)
    loss = critic_loss(critic, images, images, mixes(2, 1), penalty=0.0)
    squares = sum(float(parameter.detach().square().sum()) for parameter in critic.parameters())
    assert float(loss.detach()) == pytest.approx(L2 * squares, abs=1e-12)


def test_the_papers_generator_has_every_kernel_but_the_last_under_the_l2_penalty():
    generator = GanConfig("paper", 8, 8).generator().double()
    kernels = [layer.weight for layer in generator.modules() if isinstance(layer, nn.Linear | nn.ConvTranspose2d)]
    assert len(kernels) == 4
    latents = torch.randn(2, generator.latent_size, dtype=torch.float64, generator=stream(0))
    loss = generator_loss(Linear(torch.zeros(8, 8, dtype=torch.float64), False), generator, latents)
    squares = sum(float(kernel.detach().square().sum()) for kernel in kernels)
    assert float(loss.detach()) == pytest.approx(L2 * squares, rel=1e-12)


@pytest.mark.parametrize("role", ["critic", "generator"])
def test_the_small_networks_have_no_l2_penalty(role):
    assert getattr(GanConfig("small", 8, 8), role)().penalised() == []


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_the_generators_loss_is_minus_the_critics_mean_score_and_its_own_penalty(count, seed):
    class Scale:
        def __init__(self) -> None:
            self.factor = torch.randn(1, 1, 3, 3, dtype=torch.float64, generator=stream(seed))

        def __call__(self, latents: Tensor) -> Tensor:
            return latents * self.factor

        def penalised(self) -> list[Tensor]:
            return [self.factor]

    weights, latents, generator = batch(1, seed + 1)[0], batch(count, seed + 2), Scale()
    # The critic's own penalty is no part of the generator's loss.
    loss = generator_loss(Linear(weights, True), generator, latents)
    score = sum(float((one * generator.factor[0] * weights).sum()) for one in latents) / count
    assert float(loss) == pytest.approx(-score + L2 * float((generator.factor**2).sum()), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("architecture", ["small", "paper"])
def test_the_generators_gradient_is_its_losss(architecture):
    torch.manual_seed(0)
    config = GanConfig(architecture, 9, 8)
    critic, generator = config.critic().double(), config.generator().double()
    latents = torch.randn(3, generator.latent_size, dtype=torch.float64, generator=stream(0))
    loss = generator_loss(critic, generator, latents)
    expected = torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, trainable(generator))])
    gradient = torch.empty_like(expected)
    assert generator_gradient(critic, generator, latents, gradient) == pytest.approx(float(loss.detach()), rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-14)
