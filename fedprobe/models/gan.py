"""Building critics and generators from a configuration, and the losses of DP-FedAvg-GAN."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fedprobe.errors import instead_of
from fedprobe.models.critic_step import UNDER_ROOT, critic_step
from fedprobe.models.flat import attach, trainable
from fedprobe.models.input_gradient import input_gradient, is_piecewise_linear
from fedprobe.models.paper_gan import PaperCritic, PaperGenerator
from fedprobe.models.small_gan import SmallCritic, SmallGenerator

# Shapes: B images, C channels, H x W pixels, U latent size, P parameters. Images lie in [-1, 1].

# For each architecture, what its critic has where the authors' has batch normalisation; a run's card says it.
ARCHITECTURES = {
    "paper": "the authors' networks; the critic has biases in place of their batch normalisation, so no buffers",
    "paper-group-norm": "the authors' networks; the critic has group normalisation in place of their batch "
    "normalisation, so no buffers",
    "small": "fedprobe's small networks; the critic has no normalisation and no buffers",
}
# Two strided convolutions leave at least 2 x 2 of it.
LEAST_SIDE = 8
_L2 = 1.25e-5


class Module(Protocol):
    """What the losses need of a critic or generator."""

    def __call__(self, batch: Tensor) -> Tensor: ...

    def penalised(self) -> list[Tensor]: ...


@dataclass(frozen=True)
class GanConfig:
    """A pair of networks, `architecture`, for images of `height` x `width` x `channels`.

    Raises ValueError for an unknown architecture or images of fewer than 8 x 8 pixels.
    """

    architecture: str
    height: int
    width: int
    channels: int = 1

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture; {instead_of(self.architecture, ARCHITECTURES)}")
        if min(self.height, self.width) < LEAST_SIDE:
            raise ValueError(f"the GAN needs images of at least {LEAST_SIDE} x {LEAST_SIDE} pixels")

    def to_json(self) -> dict:
        """The configuration as a JSON object."""
        return asdict(self)

    def critic(self) -> nn.Module:
        """A new critic: images [B, C, H, W] to scores [B]; without buffers."""
        shape = self.channels, self.height, self.width
        if self.architecture == "small":
            return SmallCritic(*shape)
        return PaperCritic(*shape, grouped=self.architecture == "paper-group-norm")

    def generator(self) -> nn.Module:
        """A new generator: latents [B, `latent_size`] to images [B, C, H, W]."""
        shape = self.channels, self.height, self.width
        return SmallGenerator(*shape) if self.architecture == "small" else PaperGenerator(*shape)


def critic_loss(
    critic: Module,
    real_BCHW: Tensor,
    fake_BCHW: Tensor,
    mix_B111: Tensor,
    penalty: float = 10.0,
    counted_B: Tensor | None = None,
) -> Tensor:
    """mean D(fake) - mean D(real) + `penalty` * mean (||grad D(x)||_2 - 1)^2 + the L2 penalty.

    x lies between each real and fake image at the share `mix_B111` in [0, 1]. The gradient is written out where the
    critic is piecewise linear, and torch's with a second backward pass where it is not: the same but for rounding.
    Means are over images whose `counted_B` is 1 and not 0; None: over all.
    Source: Gulrajani et al. 2017 (WGAN-GP), as in Augenstein et al. 2020 and its code.
    """
    slope = _slope(critic, torch.lerp(real_BCHW, fake_BCHW, mix_B111))
    norms = (slope.flatten(1).square().sum(1) + UNDER_ROOT).sqrt()
    scores = critic(torch.cat([fake_BCHW, real_BCHW]))
    each = scores[: len(fake_BCHW)] - scores[len(fake_BCHW) :] + penalty * (norms - 1).square()
    mean = each.mean() if counted_B is None else (each * counted_B).sum() / counted_B.sum()
    return mean + _l2_penalty(critic)


def descend(
    critic: nn.Module,
    real_BCHW: Tensor,
    fake_BCHW: Tensor,
    mix_B111: Tensor,
    penalty: float,
    learning_rate: float,
) -> None:
    """Change the critic's parameters in place by one step of plain SGD on `critic_loss`.

    Written out where the critic is piecewise linear, torch's own gradient where it is not: the same but for rounding.
    """
    if is_piecewise_linear(getattr(critic, "layers", None)):
        shrinking = {weight: 2 * learning_rate * _L2 for weight in critic.penalised()}
        critic_step(critic.layers, real_BCHW, fake_BCHW, mix_B111, penalty, learning_rate, shrinking)
        return
    parameters = trainable(critic)
    gradients = torch.autograd.grad(critic_loss(critic, real_BCHW, fake_BCHW, mix_B111, penalty), parameters)
    with torch.no_grad():
        torch._foreach_add_(parameters, gradients, alpha=-learning_rate)


def generator_loss(critic: Module, generator: Module, latents_BU: Tensor) -> Tensor:
    """-mean D(G(u)) + the generator's L2 penalty."""
    return -critic(generator(latents_BU)).mean() + _l2_penalty(generator)


def generator_gradient(critic: Module, generator: nn.Module, latents_BU: Tensor, gradient_P: Tensor) -> float:
    """Write the gradient of `generator_loss` by the generator's trainable parameters to `gradient_P`; return the loss.

    The L2 penalty's part is added to it by itself: torch's way makes several copies of every weight.
    """
    parameters = trainable(generator)
    score = critic(generator(latents_BU)).mean()
    torch.cat([part.reshape(-1) for part in torch.autograd.grad(-score, parameters)], out=gradient_P)
    start, penalty, penalised = 0, 0.0, set(generator.penalised())
    for parameter in parameters:
        weight = parameter.detach().reshape(-1)
        if parameter in penalised:
            gradient_P[start : start + weight.numel()].add_(weight, alpha=2 * _L2)
            penalty += _L2 * float(torch.dot(weight, weight))
        start += weight.numel()
    return penalty - float(score.detach())


def attach_generator(generator: nn.Module, vector_P: Tensor, buffers: Mapping[str, Tensor]) -> nn.Module:
    """Let `generator`'s parameters be views of `vector_P`, copy `buffers` into its own, and return it."""
    attach(generator, vector_P)
    with torch.no_grad():
        for name, value in generator.named_buffers():
            value.copy_(buffers[name])
    return generator


def _slope(critic: Module, images_BCHW: Tensor) -> Tensor:
    """The gradient of each image's score by its pixels [B, C, H, W], differentiable by the critic's parameters."""
    layers = getattr(critic, "layers", None)
    if is_piecewise_linear(layers):
        return input_gradient(layers, images_BCHW)
    return torch.func.grad(lambda images: critic(images).sum())(images_BCHW)


def _l2_penalty(module: Module) -> Tensor | float:
    """1.25e-5 times the sum of squared weights, as in the authors' code."""
    return _L2 * sum(weight.square().sum() for weight in module.penalised())
