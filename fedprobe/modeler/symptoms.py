"""What the primary model makes of two generators' images, as findings: post-processing, at no cost in privacy."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from fedprobe.modeler.findings.confusion import class_findings, confused_labels, label_confusion
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.shown import MOST_IMAGES
from fedprobe.modeler.sampling import TYPICAL, ImageSampler, sample_images
from fedprobe.models.classifier import Classifier, merge_case, predict
from fedprobe.models.embedding import WEIGHTS
from fedprobe.models.moment_generator import MomentGenerator
from fedprobe.privacy.randomness import key

_EACH = 60
# With other noise so many times a side.
_COPIES = 3
# The share of the guesses that may be others then.
_SURE = 0.15


def with_symptoms(
    found: Sequence[Finding],
    a: ImageSampler,
    b: ImageSampler,
    mixes: tuple[Sequence[float], Sequence[float]],
    count: int,
    primary: Classifier,
    names: tuple[str, str],
    seed: int,
) -> list[Finding]:
    """The findings, and what the primary model adds to them; `mixes` are its shares of guesses of `count` samples.

    Of generators with labels: those that it confuses on one side, as evidence where that was found already. Of others
    classes that it misses, unless something happened to the images: then what it sees says nothing of classes.
    """
    classes = [getattr(one.generator, "classes", None) for one in (a, b)]
    if None in classes:
        counts = [[round(share * count) for share in mix] for mix in mixes]
        return list(found) or class_findings(*counts, *names)
    confused = _confused(a, b, min(classes), primary, names, seed)
    if confused is None:
        return list(found)
    if any(one.name == confused.name for one in found):
        return [
            replace(one, evidence=f"{one.evidence}; {confused.says}: {confused.evidence}")
            if one.name == confused.name
            else one
            for one in found
        ]
    return [*found, confused]


def _confused(
    a: ImageSampler, b: ImageSampler, classes: int, primary: Classifier, names: tuple[str, str], seed: int
) -> Finding | None:
    """Labels that the primary model confuses on one side; those of a letter's two cases are one to it, perhaps.

    Left out are labels that it would confuse as well where what was released had other noise.
    """
    seen = _Seen.of(primary, classes, seed)
    counts = np.stack([seen.counts(one.generator, seen.labels) for one in (a, b)])
    confused = confused_labels(*counts)
    suspects = [label for label in seen.labels if seen.right(label) in confused]
    for copy in range(_COPIES if suspects else 0):
        for side, sampler in enumerate((a, b)):
            if sampler.release is None:
                continue
            other = seen.counts(_renoised(sampler, key(seed, "noise", copy, side)), suspects)
            counts[:, _unsure(counts[side], other)] = 0

    def images(right: int) -> tuple[np.ndarray, np.ndarray]:
        label = next(label for label in seen.labels if seen.right(label) == right)
        first, second = (seen.draw(one.generator, label)[:MOST_IMAGES] for one in (a, b))
        return first, second

    return label_confusion(*counts, *names, images)


@dataclass(frozen=True)
class _Seen:
    """What the primary model makes of images that are drawn for `labels`."""

    primary: Classifier
    labels: Sequence[int]
    seed: int

    @classmethod
    def of(cls, primary: Classifier, classes: int, seed: int) -> "_Seen":
        both = cls(primary, range(classes), seed)
        return replace(both, labels=[label for label in both.labels if both.right(label) < primary.config.classes])

    def right(self, label: int) -> int:
        """The guess about images of the label that would be right."""
        return int(merge_case(torch.tensor(label))) if self.primary.config.merge_case else label

    def draw(self, generator: nn.Module, label: int) -> np.ndarray:
        return sample_images(generator, _EACH, self.seed, f"confused {label}", label, TYPICAL)

    def counts(self, generator: nn.Module, labels: Iterable[int]) -> np.ndarray:
        """How often each guess [K, K], by the one that would be right."""
        size = self.primary.config.classes
        counts = np.zeros((size, size), int)
        for label in labels:
            images = torch.from_numpy(self.draw(generator, label)).mul(2).sub(1)
            guesses = predict(self.primary, images).argmax(1).numpy()
            counts[self.right(label)] += np.bincount(guesses, minlength=size)
        return counts


def _unsure(counts_KG: np.ndarray, other_KG: np.ndarray) -> np.ndarray:
    """Of which labels [K] the guesses would be others with other noise; those that nothing was drawn for are sure."""
    shares = [one / one.sum(1, keepdims=True).clip(min=1) for one in (counts_KG, other_KG)]
    return (np.abs(shares[0] - shares[1]).max(1) > _SURE) & (other_KG.sum(1) > 0)


def _renoised(sampler: ImageSampler, seed: int) -> MomentGenerator:
    """The generator with the noise of two releases on the means of its labels, which a fit would have lessened."""
    generator, release = sampler.generator, sampler.release
    assert isinstance(generator, MomentGenerator) and release is not None
    config, moments = generator.config, generator.moments
    users = max(1.0, float(release.vector[:2].sum()) / config.polarity_norm)
    # A user whose blocks have their usual norms is normalised by that of the weights.
    total = users * config.rest_norm / math.hypot(*WEIGHTS)
    errors = math.sqrt(2) * release.noise / config.scales[1] / (moments.shares * total)
    noise = torch.randn(moments.means.shape, generator=torch.Generator().manual_seed(seed))
    return MomentGenerator(config, replace(moments, means=moments.means + errors[:, None] * noise)).eval()
