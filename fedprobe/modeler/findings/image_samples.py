"""Which cause explains how two sets of samples differ, of whatever generators they are.

The causes of `findings/images.py` are tried on samples of one side, as there; but what is held against them is the mean
vector of the other side's samples, whose error is how far apart two generators of the same data come out that were
trained with two seeds. What is named must then hold on samples that had no part in naming it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.images import Explanation, Proxies, explanations
from fedprobe.modeler.findings.profile import Looked, Profile
from fedprobe.modeler.findings.shown import Samples
from fedprobe.modeler.findings.undoing import shown_images
from fedprobe.modeler.mmd import mmd_test
from fedprobe.modeler.two_sample import two_sample_test
from fedprobe.models.embedding import EmbeddingConfig

# How far apart, block by block, the vectors of generators of the same data lie: polarity, share, means, products,
# pixels, grey values, frequencies (`benchmarks/findings/README.md`).
_APART = (0.03, 0.004, 0.05, 0.025, 0.018, 0.02, 0.012)
# Between six pairs of generators without a bug the cause that fits best, of all, gained at most 899 in squared errors.
_LEAST_GAIN = 2000.0
_LEAST_EXPLAINED = 0.4
_LEAST_SHARE = 0.1
# What must be gone of MMD^2 when the cause has been applied.
_LEAST_FALL = 2 / 3
# The other way round must be this much better, or it is the second side that was struck.
_CLEARLY = 1.25
_PROXIES = 100
_SMALLEST = 8


@dataclass(frozen=True)
class SampledSide:
    """A side: its name, samples to look for causes on, others to test them on, and some to show; in [0, 1].

    Each is [n, C, H, W]; those to show are of the same latents on both sides.
    """

    name: str
    seen: Tensor
    held_out: np.ndarray
    to_show: np.ndarray


def takes(channels: int, height: int, width: int) -> bool:
    """Whether causes are looked for in samples of this size at all."""
    return channels == 1 and min(height, width) >= _SMALLEST


def sample_findings(a: SampledSide, b: SampledSide) -> Sequence[Finding]:
    """What happened to one side's images, seen from the other's: one cause, or none.

    A cause counts where it gains twice what the best of all causes gained between generators without a bug (the largest
    of all, so that this is one threshold for all together), explains 40% of the difference, and takes away two thirds
    of MMD^2 when it is applied to held-out samples. Strength is the share of the images that it struck, with its 95%
    interval. Inversion is looked for elsewhere. No finding for images of colour, or with a side below 8 pixels.
    """
    channels, height, width = a.seen.shape[1:]
    if not takes(channels, height, width):
        return []
    if mmd_test(a.held_out, b.held_out).p_value > 0.01:
        return []
    looked = Looked.at(EmbeddingConfig(height, width, details=True, coefficients=min(144, height * width)))
    ways = [(_best(a, b, looked), a, b), (_best(b, a, looked), b, a)]
    best, healthy, struck = ways[ways[1][0].gain > _CLEARLY * ways[0][0].gain]
    if best.gain < _LEAST_GAIN or best.share < _LEAST_SHARE or best.explained < _LEAST_EXPLAINED:
        return []
    evidence = _evidence(best, healthy, struck)
    if evidence is None:
        return []
    margin = 1.96 * best.error
    says = f"{struck.name} looks like {healthy.name} {best.says}"
    low, high = max(0.0, best.share - margin), min(1.0, best.share + margin)
    samples = Samples((healthy.held_out, struck.held_out), (healthy.to_show, struck.to_show))
    shown = shown_images(best.cause, best.says, samples, (healthy.name, struck.name))
    return [Finding(best.name, best.share, low, high, says, evidence, shown)]


def _best(healthy: SampledSide, struck: SampledSide, looked: Looked) -> Explanation:
    sides = (_profile(healthy.seen, looked), _profile(struck.seen, looked))
    tried = explanations(*sides, Proxies(healthy.seen[:_PROXIES], None), looked)
    return next(one for one in tried if one.name != "inversion")


def _profile(images: Tensor, looked: Looked) -> Profile:
    """The mean vector of samples; its error is what generators of the same data differ by, spread over each block."""
    with torch.inference_mode():
        mean = looked.vector(looked.config.features(images), None)
    details = looked.config.detailed.sizes
    products = len(mean) - sum(details) - looked.config.coordinates - 2
    sizes = (1, 1, looked.config.coordinates, products, *details)
    # Both sides share in how far they are apart.
    errors = [torch.full((size,), apart**2 / size / 2) for apart, size in zip(_APART, sizes, strict=True)]
    return Profile(mean, torch.cat(errors).to(mean.dtype), 0.0)


def _evidence(best: Explanation, healthy: SampledSide, struck: SampledSide) -> str | None:
    """How far the sides are apart before and after the cause is applied to the healthy one; None where not nearer."""
    images = torch.from_numpy(healthy.held_out)
    count = round(best.share * len(images))
    changed = torch.cat([best.cause.apply(images[:count]), images[count:]]).numpy()
    # In any order: the classifier learns from the first half.
    changed = changed[np.random.default_rng(0).permutation(len(changed))]
    before, after = (mmd_test(one, struck.held_out, 1).squared for one in (healthy.held_out, changed))
    if after > (1 - _LEAST_FALL) * before:
        return None
    told = [two_sample_test(one, struck.held_out).accuracy for one in (healthy.held_out, changed)]
    return (
        f"with that done to {best.share:.0%} of {healthy.name}'s samples, MMD² falls from {before:.4f} to {after:.4f}, "
        f"and the accuracy of telling them apart goes from {told[0]:.2f} to {told[1]:.2f}"
    )
