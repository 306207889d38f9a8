"""Two runs side by side: samples of the same latents, plain statistics, a two-sample test, findings.

Everything here is made of synthetic samples: post-processing, at no cost in privacy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from fedprobe.errors import FedprobeError
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.image_causes import findings, looked_for
from fedprobe.modeler.sampling import ImageSampler, sample_images
from fedprobe.modeler.symptoms import with_symptoms
from fedprobe.modeler.two_sample import TwoSample, two_sample_tests
from fedprobe.models.classifier import Classifier, predict
from fedprobe.models.stored import StoredError
from fedprobe.runs import Run

SHOWN = 64
COUNT = 500
# What the runs of a command make.
KINDS = {"train-gan": "images", "train-charlm": "words", "train-wordlm": "sentences"}


class Sampler(Protocol):
    """What every sampler of a checkpoint has: its run and round."""

    run: Run
    round: int


class ComparisonError(FedprobeError):
    """The two cannot be compared."""

    exit_code = 2


@dataclass(frozen=True)
class Figure:
    """A mean over samples and the half-width of its 95% interval (1.96 standard errors).

    Of these samples alone: what noise and training did to the generator is not in it.
    """

    value: float
    margin: float

    def says(self) -> str:
        """The figure for a person."""
        return f"{self.value:.3f} ± {self.margin:.3f}"

    def to_json(self) -> dict:
        return {"value": self.value, "margin": self.margin}


@dataclass(frozen=True)
class Side:
    """One run's samples: `shown` [n, C, H, W] from latents shared with the other side, and figures of its own.

    `drawn` [n, C, H, W] are those that figures, test and findings are made of.
    """

    name: str
    round: int
    shown: np.ndarray
    drawn: np.ndarray
    figures: dict[str, Figure]
    class_mix: Sequence[Figure] | None


@dataclass(frozen=True)
class Comparison:
    """Both sides, the test between them, what was found, and the names of all that was looked for."""

    a: Side
    b: Side
    two_sample: TwoSample
    findings: Sequence[Finding]
    looked_for: Sequence[str]


def kind_of(run: Run) -> str:
    """What the run makes: images, words or sentences. Raises StoredError where it makes neither, or does not say."""
    command = run.config.get("command")
    if not isinstance(command, str) or command not in KINDS:
        what = "is a classifier" if command == "train-classifier" else "does not say which command trained it"
        raise StoredError(f"{run.path} {what}; give runs of {', '.join(KINDS)}")
    return KINDS[command]


def primary_of(run: Run) -> Path | None:
    """The model that the run's cohort was measured with, if it is still there."""
    cohort = run.config.get("cohort")
    path = cohort.get("primary") if isinstance(cohort, dict) else None
    return Path(path) if isinstance(path, str) and Path(path).is_dir() else None


def cohort_caution(runs: Sequence[Run]) -> str | None:
    """What a person who reads findings between runs must know where they are of different cohorts; else None.

    Only runs of one kind are held against each other.
    """
    cohorts: dict[str, set] = {}
    for run in runs:
        rule = run.rule.to_json()
        # Users who were drawn at random differ from others by chance alone.
        told = tuple(sorted((name, rule[name]) for name in rule if name not in ("seed", "share")))
        cohorts.setdefault(kind_of(run), set()).add(told)
    if max(map(len, cohorts.values()), default=0) < 2:
        return None
    return (
        "these runs are of different cohorts, which differ without any bug, too: what is found tells them apart, and "
        "need not be one. One cohort before and after, or on healthy shards, shows what is usual"
    )


def compare(
    a: ImageSampler,
    b: ImageSampler,
    primary: Classifier | None,
    count: int = COUNT,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Comparison:
    """Compare two samplers on `count` samples each, drawn independently for the test and the figures.

    `primary` adds class mix and confidence, and findings of what it confuses or misses, but not where a run says whose
    its shapes are (`ImageSampler.caution`); `names` are those of the runs by default. Raises ComparisonError where
    image or latent sizes differ.
    """
    if a.latent_size != b.latent_size:
        raise ComparisonError("the runs have latents of different size, so no latent shows on both sides")
    drawn = [sample_images(one.generator, count, seed, side) for one, side in ((a, "left"), (b, "right"))]
    if drawn[0].shape != drawn[1].shape:
        raise ComparisonError("the runs make images of different size")
    if primary is not None and not _fits(primary, drawn[0]):
        raise ComparisonError("the primary model takes images of another size")
    primary = None if unasked([a, b]) else primary
    a_name, b_name = names or names_of([a, b])
    sides = _side(a, a_name, drawn[0], primary, seed), _side(b, b_name, drawn[1], primary, seed)
    found = findings(a, b, drawn, (a_name, b_name), seed)
    if primary is not None:
        mixes = tuple([figure.value for figure in side.class_mix or ()] for side in sides)
        found = with_symptoms(found, a, b, mixes, count, primary, (a_name, b_name), seed)
    return Comparison(*sides, two_sample_tests(drawn[0], drawn[1]), found, looked_for(a, b, primary is not None))


def unasked(samplers: Sequence[ImageSampler]) -> str | None:
    """Where a primary model is not asked what it makes of these, and why; None where it is asked of all."""
    names = dict.fromkeys(sampler.run.name for sampler in samplers if sampler.caution)
    if not names:
        return None
    return (
        f"not asked where {', '.join(names)} is held against another: the glyphs of one-round runs without labels are "
        "not of the cohort; --classes K gives labels"
    )


def can_be_found(samplers: Sequence[ImageSampler], primary: bool) -> set[str]:
    """The names of what `compare_all` can find, given a `primary` model or not."""
    first, *others = samplers
    pairs = [(first, other) for other in others]
    return {name for pair in pairs for name in looked_for(*pair, primary and unasked(pair) is None)}


def compare_all(
    samplers: Sequence[ImageSampler],
    primary: Classifier | None,
    count: int = COUNT,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> list[Comparison]:
    """`compare` the first sampler, the healthy one, with each of the others; it has the same samples in all of them."""
    first, *others = samplers
    called, *rest = names or names_of(samplers)
    return [
        compare(first, other, primary, count, seed, (called, name)) for other, name in zip(others, rest, strict=True)
    ]


def most_different(comparisons: Sequence[Comparison]) -> Comparison:
    """The one whose sides are farthest apart (`TwoSample.apart`)."""
    return max(comparisons, key=lambda one: one.two_sample.apart)


def _side(sampler: ImageSampler, name: str, drawn: np.ndarray, primary: Classifier | None, seed: int) -> Side:
    ink = 1 - drawn.reshape(len(drawn), -1)
    figures = {"mean_ink": _mean(ink.mean(axis=1)), "contrast": _mean(ink.std(axis=1))}
    mix = None
    if primary is not None:
        logits = predict(primary, torch.from_numpy(drawn).mul(2).sub(1))
        likely = logits.softmax(1).max(1)
        figures["confidence"] = _mean(likely.values.numpy())
        mix = [_mean((likely.indices.numpy() == label).astype(float)) for label in range(logits.shape[1])]
    return Side(name, sampler.round, sample_images(sampler.generator, SHOWN, seed), drawn, figures, mix)


def side_alone(sampler: ImageSampler, name: str, primary: Classifier | None, count: int = COUNT, seed: int = 0) -> Side:
    """One run that is held against nothing, with the samples and figures of the left side of a comparison."""
    drawn = sample_images(sampler.generator, count, seed, "left")
    if primary is not None and not _fits(primary, drawn):
        raise ComparisonError("the primary model takes images of another size")
    return _side(sampler, name, drawn, None if sampler.caution else primary, seed)


def likeliest(mix: Sequence[Figure]) -> str:
    """The three classes that the primary model sees most often."""
    ranked = sorted(range(len(mix)), key=lambda label: -mix[label].value)[:3]
    return ", ".join(f"{label}: {mix[label].value:.0%}" for label in ranked)


def _mean(values: np.ndarray) -> Figure:
    return Figure(float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values))))


def names_of(samplers: Sequence[Sampler]) -> list[str]:
    """The runs' names; where two are alike, their paths, and for several checkpoints of one run their rounds too."""
    names = [sampler.run.name for sampler in samplers]
    if len(set(names)) == len(names):
        return names
    paths = [str(sampler.run.path) for sampler in samplers]
    if len(set(paths)) == len(paths):
        return paths
    return [f"{path}@{sampler.round}" for path, sampler in zip(paths, samplers, strict=True)]


def _fits(primary: Classifier, images: np.ndarray) -> bool:
    config = primary.config
    return images.shape[1:] == (config.channels, config.height, config.width)
