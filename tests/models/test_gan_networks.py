"""The critics and generators: sizes from the authors' code, shapes and ranges, what may and may not have buffers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedprobe.models.gan import ARCHITECTURES, GanConfig, attach_generator

architectures = st.sampled_from(sorted(ARCHITECTURES))
# The paper's networks are slow to build where images are large.
sized = st.one_of(
    st.tuples(st.just("small"), st.integers(8, 40), st.integers(8, 40)),
    st.tuples(architectures, st.integers(8, 12), st.integers(8, 12)),
)


def count(parameters) -> int:
    return sum(parameter.numel() for parameter in parameters)


def test_the_papers_critic_has_the_papers_number_of_parameters():
    critic = GanConfig("paper", 28, 28).critic()
    assert count(parameter for parameter in critic.parameters() if parameter.requires_grad) == 6_556_865
    assert all(parameter.requires_grad for parameter in critic.parameters())


def test_the_papers_generator_has_the_papers_number_of_parameters_and_moving_statistics():
    generator = GanConfig("paper", 28, 28).generator()
    assert count(parameter for parameter in generator.parameters() if parameter.requires_grad) == 13_285_217
    assert count(buffer for buffer in generator.buffers() if buffer.is_floating_point()) == 27_328
    # The authors' batch normalisation has no scale: what stands in its place is 1 and stays so.
    frozen = [parameter for parameter in generator.parameters() if not parameter.requires_grad]
    assert count(frozen) == 27_328 // 2
    assert all(bool((parameter == 1).all()) for parameter in frozen)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_the_papers_generator_normalises_and_pads_as_the_authors_do():
    generator = GanConfig("paper", 12, 12).generator()
    norms = [layer for layer in generator.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) == 4
    assert all((norm.momentum, norm.eps) == (0.001, 1e-3) for norm in norms)
    pad, convolution, squash = generator.last
    features = torch.randn(2, 32, 9, 10, generator=torch.Generator().manual_seed(0))
    same = nn.functional.conv2d(features, convolution.weight, convolution.bias, padding="same")
    torch.testing.assert_close(squash(convolution(pad(features))), same.tanh())


@pytest.mark.parametrize("role", ["critic", "generator"])
def test_the_papers_networks_start_as_the_authors_framework_starts_them(role):
    layers = [
        layer
        for layer in getattr(GanConfig("paper", 12, 12), role)().modules()
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    ]
    assert len(layers) >= 4
    for layer in layers:
        receptive = math.prod(layer.weight.shape[2:])
        bound = math.sqrt(6 / (receptive * (layer.weight.shape[0] + layer.weight.shape[1])))
        assert layer.weight.abs().max() <= bound
        # The largest of n uniform magnitudes is below 0.9 of the bound with probability 0.9^n, n >= 512.
        assert layer.weight.abs().max() > 0.9 * bound
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_no_critic_has_buffers_or_batch_normalisation(architecture):
    critic = GanConfig(architecture, 12, 12).critic()
    assert list(critic.buffers()) == []
    assert not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in critic.modules())


@settings(deadline=None, max_examples=25)
@given(sized, st.sampled_from([1, 3]), st.integers(2, 4), st.booleans())
def test_shapes_and_ranges_for_any_size(size, channels, batch, training):
    architecture, height, width = size
    config = GanConfig(architecture, height, width, channels)
    generator, critic = config.generator().train(training), config.critic()
    latents = 10 * torch.randn(batch, generator.latent_size, generator=torch.Generator().manual_seed(batch))
    with torch.no_grad():
        images = generator(latents)
        scores = critic(images)
    assert images.shape == (batch, channels, height, width)
    assert images.min() >= -1
    assert images.max() <= 1
    assert scores.shape == (batch,)
    assert scores.isfinite().all()


@settings(deadline=None, max_examples=15)
@given(sized)
def test_sizes_that_four_does_not_divide_are_cropped_from_the_next_that_it_does(size):
    architecture, height, width = size
    whole = GanConfig(architecture, -(-height // 4) * 4, -(-width // 4) * 4).generator().eval()
    cropped = GanConfig(architecture, height, width).generator().eval()
    cropped.load_state_dict(whole.state_dict())
    latents = torch.randn(2, whole.latent_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(cropped(latents), whole(latents)[:, :, :height, :width])


@settings(deadline=None, max_examples=10)
@given(architectures, st.integers(0, 3))
def test_a_critic_scores_each_image_by_itself(architecture, position):
    # The gradient penalty is per example, and a user's update is hers alone.
    critic = GanConfig(architecture, 9, 10).critic().double()
    images = torch.randn(4, 1, 9, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        alone = critic(images[position : position + 1])
        torch.testing.assert_close(critic(images)[position : position + 1], alone)


@pytest.mark.parametrize("height, width", [(7, 28), (28, 7), (0, 0), (-8, 8)])
def test_images_below_eight_pixels_are_refused(height, width):
    with pytest.raises(ValueError, match="8 x 8"):
        GanConfig("small", height, width)


@pytest.mark.parametrize("architecture, instead", [("", "paper-group-norm"), ("Paper", "paper"), ("dcgan", "small")])
def test_an_unknown_architecture_is_refused_and_known_ones_named(architecture, instead):
    with pytest.raises(ValueError, match=instead):
        GanConfig(architecture, 28, 28)


@given(architectures, st.integers(8, 500), st.integers(8, 500), st.integers(1, 4))
def test_a_configuration_survives_json(architecture, height, width, channels):
    config = GanConfig(architecture, height, width, channels)
    assert GanConfig(**config.to_json()) == config


def test_attached_buffers_are_copied_so_that_using_the_generator_changes_none_of_them():
    generator = GanConfig("small", 8, 8).generator()
    vector = torch.randn(count(generator.parameters()), generator=torch.Generator().manual_seed(0))
    given_buffers = {name: torch.full_like(value, 3) for name, value in generator.named_buffers()}
    attached = attach_generator(generator, vector, given_buffers)
    assert attached is generator
    assert all(bool((value == 3).all()) for value in generator.buffers())
    with torch.no_grad():
        generator.train()(torch.randn(4, generator.latent_size))
    assert not any(bool((value == 3).all()) for value in generator.buffers())
    assert all(bool((value == 3).all()) for value in given_buffers.values())
