"""Two runs side by side."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from fedprobe.modeler.comparison import ComparisonError, compare
from fedprobe.modeler.sampling import open_sampler, sample_images
from fedprobe.models.classifier import Classifier, ClassifierConfig, predict
from fedprobe.models.gan import GanConfig


def flat(value) -> object:
    """A comparison as plain lists, so that two can be held against each other."""
    if dataclasses.is_dataclass(value):
        return {field.name: flat(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: flat(one) for name, one in value.items()}
    return [flat(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.fixture
def primary() -> Classifier:
    torch.manual_seed(0)
    return Classifier(ClassifierConfig(20, 20, 1, 4)).eval()


def test_the_same_runs_and_seed_give_the_same_comparison(make_run):
    paths = [make_run(name, seed).path for name, seed in (("a", 0), ("b", 5))]
    first, again = (compare(*map(open_sampler, paths), None, count=40, seed=3) for _ in range(2))
    assert flat(first) == flat(again)
    other = compare(*map(open_sampler, paths), None, count=40, seed=4)
    assert not np.array_equal(first.a.shown, other.a.shown)
    assert first.a.figures != other.a.figures


def test_sides_are_in_the_order_given_with_64_samples_shown(make_run):
    samplers = [open_sampler(make_run(name, seed, rounds=(seed + 1,)).path) for name, seed in (("a", 0), ("b", 5))]
    result = compare(*samplers, None, count=40)
    assert [(side.name, side.round) for side in (result.a, result.b)] == [("a", 1), ("b", 6)]
    for side, sampler in zip((result.a, result.b), samplers, strict=True):
        assert np.array_equal(side.shown, sample_images(sampler.generator, 64, 0))
        assert side.class_mix is None
        assert set(side.figures) == {"mean_ink", "contrast"}
    assert result.two_sample.held_out == 40


def test_figures_are_means_with_their_intervals(make_run):
    samplers = [open_sampler(make_run(name, seed).path) for name, seed in (("a", 0), ("b", 5))]
    result = compare(*samplers, None, count=50, seed=2)
    for side, sampler, purpose in zip((result.a, result.b), samplers, ("left", "right"), strict=True):
        ink = 1 - sample_images(sampler.generator, 50, 2, purpose).astype(np.float64).reshape(50, -1)
        for name, values in (("mean_ink", ink.mean(axis=1)), ("contrast", ink.std(axis=1))):
            assert side.figures[name].value == pytest.approx(values.mean(), rel=1e-5)
            assert side.figures[name].margin == pytest.approx(1.96 * stats.sem(values), rel=1e-4)


def test_both_sides_show_the_same_latents_but_are_judged_on_their_own(dots):
    result = compare(dots("a"), dots("b", inverted=True), None, count=60)
    assert np.array_equal(result.a.shown, 1 - result.b.shown)
    # Had the test seen the same latents on both sides, ink and its inverse would add up to one exactly.
    assert result.a.figures["mean_ink"].value + result.b.figures["mean_ink"].value != pytest.approx(1, abs=1e-9)


def test_an_inversion_is_found_and_named(dots):
    result = compare(dots("runs/high"), dots("runs/low", inverted=True), None, count=60)
    (finding,) = result.findings
    assert (finding.name, finding.strength) == ("inversion", 1)
    assert finding.says.startswith("low looks like high")
    assert result.two_sample.differ


def test_a_generator_against_itself_differs_in_nothing(dots):
    result = compare(dots("a"), dots("b"), None, count=100)
    assert list(result.findings) == []
    assert not result.two_sample.differ


def test_two_checkpoints_of_one_run_are_told_apart_by_their_rounds(make_run):
    run = make_run("a", rounds=(1, 2))
    samplers = [open_sampler(folder) for folder in run.checkpoints()]
    result = compare(*samplers, None, count=40)
    assert [side.name for side in (result.a, result.b)] == [f"{run.path}@1", f"{run.path}@2"]


def test_runs_of_one_name_in_two_folders_are_told_apart(dots):
    result = compare(dots("monday/low"), dots("tuesday/low"), None, count=40)
    assert result.a.name != result.b.name


def test_a_primary_model_adds_class_mix_and_confidence(make_run, primary):
    config = GanConfig("small", 20, 20)
    samplers = [open_sampler(make_run(name, seed, config=config).path) for name, seed in (("a", 0), ("b", 5))]
    result = compare(*samplers, primary, count=40, seed=1)
    for side, sampler, purpose in zip((result.a, result.b), samplers, ("left", "right"), strict=True):
        images = torch.from_numpy(sample_images(sampler.generator, 40, 1, purpose)) * 2 - 1
        logits = predict(primary, images).double().numpy()
        likely = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert side.figures["confidence"].value == pytest.approx(likely.max(axis=1).mean(), rel=1e-5)
        shares = np.bincount(likely.argmax(axis=1), minlength=4) / 40
        assert [figure.value for figure in side.class_mix] == pytest.approx(shares)
        # The standard error of a share, with n - 1.
        margins = 1.96 * np.sqrt(shares * (1 - shares) / 39)
        assert [figure.margin for figure in side.class_mix] == pytest.approx(margins)


def test_runs_of_different_image_sizes_cannot_be_compared(make_run):
    samplers = [open_sampler(make_run(f"{side}", config=GanConfig("small", 12, side)).path) for side in (12, 13)]
    with pytest.raises(ComparisonError, match="images of different size"):
        compare(*samplers, None, count=40)


def test_runs_of_different_latent_sizes_cannot_be_compared(dots):
    with pytest.raises(ComparisonError, match="latents of different size"):
        compare(dots("a", latent_size=64), dots("b", latent_size=72), None, count=40)


@pytest.mark.parametrize("size", [(20, 20, 3), (20, 21, 1), (28, 28, 1)])
def test_a_primary_model_of_another_size_cannot_judge(make_run, size):
    height, width, channels = size
    config = GanConfig("small", 20, 20)
    samplers = [open_sampler(make_run(name, config=config).path) for name in ("a", "b")]
    with pytest.raises(ComparisonError, match="another size"):
        compare(*samplers, Classifier(ClassifierConfig(height, width, channels, 4)), count=40)
