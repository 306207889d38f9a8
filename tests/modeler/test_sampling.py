"""Samples: the same latents for the same seed, values in [0, 1], from the average of the checkpoint asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedprobe.modeler.sampling import generator_of, open_sampler, sample_images
from fedprobe.models.gan import GanConfig
from fedprobe.models.stored import StoredError
from fedprobe.runs import Run, RunError


class Echo(nn.Module):
    """Shows its latents as images, times a factor."""

    latent_size = 6

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, latents):
        return self.factor * latents.unflatten(1, (1, 2, 3))


@settings(deadline=None)
@given(st.integers(0, 600), st.integers(0, 2**40), st.sampled_from(["sample", "left", "right"]))
def test_two_generators_get_the_same_latents_for_the_same_seed(count, seed, purpose):
    small, smaller = (sample_images(Echo(factor), count, seed, purpose) for factor in (0.1, 0.05))
    assert small.shape == (count, 1, 2, 3)
    # 10 standard deviations stay inside [-1, 1]: nothing is clamped, so the latents can be read off.
    np.testing.assert_allclose(2 * small - 1, 2 * (2 * smaller - 1), atol=1e-6)


def test_latents_are_standard_normal():
    latents = (2 * sample_images(Echo(0.1), 20_000, 0).astype(np.float64) - 1) / 0.1
    # 120,000 of them; six standard deviations of each estimate.
    assert abs(latents.mean()) < 6 / latents.size**0.5
    assert abs(latents.var() - 1) < 6 * (2 / latents.size) ** 0.5
    assert abs(np.corrcoef(latents.reshape(20_000, 6).T) - np.eye(6)).max() < 6 / 20_000**0.5


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.integers(1, 50))
def test_images_are_32_bit_floats_from_zero_to_one(factor, count):
    images = sample_images(Echo(factor), count, 0)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_black_is_zero_and_white_is_one():
    class Halves(Echo):
        def forward(self, latents):
            return torch.tensor([-1.0, 0.0, 1.0]).expand(len(latents), 1, 2, 3)

    assert sample_images(Halves(1), 2, 0)[0, 0].tolist() == [[0.0, 0.5, 1.0]] * 2


def test_another_seed_or_purpose_is_another_draw():
    draws = [
        sample_images(Echo(0.1), 5, seed, purpose).tobytes()
        for seed in (0, 1, 10)
        for purpose in ("sample", "left", "right")
    ]
    assert len(set(draws)) == len(draws)
    assert sample_images(Echo(0.1), 5, 0).tobytes() == draws[0]


def test_a_real_generator_samples_in_evaluation_mode(make_run):
    sampler = open_sampler(make_run("a").path)
    assert sampler.latent_size == 64
    images = sample_images(sampler.generator, 10, 3)
    assert images.shape == (10, 1, 12, 12)
    assert images.std() > 0
    # An image does not depend on the others in its batch, as it would with the batch's own statistics.
    latents = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(sampler.generator(latents)[:1], sampler.generator(latents[:1]))
    assert np.array_equal(images, sample_images(open_sampler(sampler.run.path).generator, 10, 3))


def test_a_run_is_sampled_at_its_latest_checkpoint_and_a_checkpoint_at_its_own(make_run):
    run = make_run("a", rounds=(2, 10, 1_000_000))
    assert (open_sampler(run.path).round, open_sampler(run.path).run) == (1_000_000, run)
    sampler = open_sampler(run.path / "checkpoints" / "round_000010")
    assert (sampler.round, sampler.run) == (10, run)
    tensors, _ = run.load(run.path / "checkpoints" / "round_000010")
    held = nn.utils.parameters_to_vector(sampler.generator.parameters()).detach()
    assert torch.equal(held, tensors["average"])


def test_samples_come_from_the_average_and_its_own_moving_statistics(make_run, tmp_path):
    run = make_run("a")
    tensors, _ = run.load()
    last = {
        "generator": torch.zeros_like(tensors["average"]),
        **{name.removeprefix("average_"): torch.zeros_like(value) for name, value in tensors.items() if "/" in name},
    }
    run.checkpoint(2, {**tensors, **last})
    earlier, later = (open_sampler(run.path / "checkpoints" / f"round_00000{round}") for round in (1, 2))
    images = [sample_images(sampler.generator, 4, 0) for sampler in (earlier, later)]
    assert np.array_equal(*images)
    assert images[0].std() > 0
    for name, value in later.generator.named_buffers():
        assert torch.equal(value, tensors[f"average_buffers/{name}"])


def test_the_generator_computes_with_the_parameters_that_it_was_given(make_run):
    config = GanConfig("small", 12, 12)
    tensors, _ = make_run("a").load()
    generator = generator_of(config, tensors)
    other = config.generator().eval()
    nn.utils.vector_to_parameters(tensors["average"].clone(), other.parameters())
    assert np.array_equal(sample_images(generator, 3, 0), sample_images(other, 3, 0))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError):
        open_sampler(tmp_path)


def test_a_run_that_is_not_a_gans_is_refused(tmp_path):
    run = Run.create(tmp_path / "run", {"command": "train-classifier"}, {})
    with pytest.raises(StoredError, match="train-gan"):
        open_sampler(run.path)


def test_a_checkpoint_that_is_not_a_gans_is_refused(make_run):
    run = make_run("a")
    run.checkpoint(2, {"weights": torch.zeros(3)})
    with pytest.raises(StoredError):
        open_sampler(run.path)


def test_a_checkpoint_of_a_generator_of_another_size_is_refused(make_run):
    run, other = make_run("a"), make_run("b", config=GanConfig("small", 16, 16))
    run.checkpoint(2, other.load()[0])
    with pytest.raises(StoredError):
        open_sampler(run.path)


def test_an_altered_checkpoint_is_refused(make_run):
    run = make_run("a")
    file = run.path / "checkpoints" / "round_000001" / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoredError, match="altered"):
        open_sampler(run.path)
