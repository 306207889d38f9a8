"""Two runs side by side: samples of the same latents, plain statistics, a two-sample test, findings.

Everything here is made of synthetic samples: post-processing, at no cost in privacy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from fedprobe.errors import FedprobeError
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.inversion import inversion
from fedprobe.modeler.sampling import ImageSampler, sample_images
from fedprobe.modeler.two_sample import TwoSample, two_sample_test
from fedprobe.models.classifier import Classifier, predict
from fedprobe.runs import Run

SHOWN = 64


class Sampler(Protocol):
    """What every sampler of a checkpoint has: its run and round."""

    run: Run
    round: int


class ComparisonError(FedprobeError):
    """The two cannot be compared."""

    exit_code = 2


@dataclass(frozen=True)
class Figure:
    """A mean over samples and the half-width of its 95% interval (1.96 standard errors)."""

    value: float
    margin: float

    def to_json(self) -> dict:
        return {"value": self.value, "margin": self.margin}


@dataclass(frozen=True)
class Side:
    """One run's samples: `shown` [n, C, H, W] from latents shared with the other side, and figures of its own."""

    name: str
    round: int
    shown: np.ndarray
    figures: dict[str, Figure]
    class_mix: Sequence[Figure] | None


@dataclass(frozen=True)
class Comparison:
    """Both sides, the test between them, and what was found."""

    a: Side
    b: Side
    two_sample: TwoSample
    findings: Sequence[Finding]


def compare(
    a: ImageSampler, b: ImageSampler, primary: Classifier | None, count: int = 500, seed: int = 0
) -> Comparison:
    """Compare two samplers on `count` samples each, drawn independently for the test and the figures.

    `primary` adds class mix and confidence. Raises ComparisonError where image or latent sizes differ.
    """
    if a.latent_size != b.latent_size:
        raise ComparisonError("the runs have latents of different size, so no latent shows on both sides")
    drawn = [sample_images(one.generator, count, seed, side) for one, side in ((a, "left"), (b, "right"))]
    if drawn[0].shape != drawn[1].shape:
        raise ComparisonError("the runs make images of different size")
    if primary is not None and not _fits(primary, drawn[0]):
        raise ComparisonError("the primary model takes images of another size")
    a_name, b_name = names_of([a, b])
    found = [inversion(drawn[0], drawn[1], a_name, b_name)]
    return Comparison(
        _side(a, a_name, drawn[0], primary, seed),
        _side(b, b_name, drawn[1], primary, seed),
        two_sample_test(drawn[0], drawn[1]),
        sorted(filter(None, found), key=lambda finding: -finding.strength),
    )


def _side(sampler: ImageSampler, name: str, drawn: np.ndarray, primary: Classifier | None, seed: int) -> Side:
    ink = 1 - drawn.reshape(len(drawn), -1)
    figures = {"mean_ink": _mean(ink.mean(axis=1)), "contrast": _mean(ink.std(axis=1))}
    mix = None
    if primary is not None:
        logits = predict(primary, torch.from_numpy(drawn).mul(2).sub(1))
        likely = logits.softmax(1).max(1)
        figures["confidence"] = _mean(likely.values.numpy())
        mix = [_mean((likely.indices.numpy() == label).astype(float)) for label in range(logits.shape[1])]
    return Side(name, sampler.round, sample_images(sampler.generator, SHOWN, seed), figures, mix)


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
