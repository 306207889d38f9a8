"""The findings between two samplers of images: of what was released where that is kept, of samples elsewhere."""

from collections.abc import Sequence

import numpy as np
import torch

from fedprobe.modeler.findings import LOOKED_FOR, OF_CLASSES
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.image_samples import SampledSide, sample_findings, takes
from fedprobe.modeler.findings.images import Proxies, account_of
from fedprobe.modeler.findings.inversion import inversion
from fedprobe.modeler.findings.profile import Looked
from fedprobe.modeler.findings.shown import MOST_IMAGES, Samples
from fedprobe.modeler.sampling import TYPICAL, ImageSampler, sample_images
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.moment_generator import MomentGenerator

# Shapes: n images, C channels, H x W pixels.
_PROXIES = 500
# As many as `compare` shows.
_SHOWN = 64


def findings(
    a: ImageSampler, b: ImageSampler, drawn: Sequence[np.ndarray], names: Sequence[str], seed: int
) -> Sequence[Finding]:
    """What happened to b's images, seen from a's: `drawn` holds samples of both [n, C, H, W].

    Where that explains clearly more, it is what happened to a's, seen from b's: who knows which of them is sound. Two
    one-round runs of one feature map are compared by what they released, whose noise is known; others by samples.
    """
    config = _shared(a, b)
    samples = _samples(a, b, drawn, config, seed)
    inverted = inversion(drawn[0], drawn[1], *names, samples.paired)
    if config is None:
        if inverted is not None:
            return [inverted]
        seen = [torch.from_numpy(sample_images(one.generator, _PROXIES, seed, "causes")) for one in (a, b)]
        sides = zip(names, seen, drawn, samples.paired, strict=True)
        return sample_findings(*(SampledSide(*side) for side in sides))
    looked = Looked.at(config)
    profiles = [looked.released(one.release.vector, one.release.noise) for one in (a, b)]
    seen = account_of(*profiles, _proxies(a, config, seed), looked, *names, inverted, samples)
    if not seen.is_whole:
        proxies = _proxies(b, config, seed)
        seen = seen.or_else(account_of(*profiles[::-1], proxies, looked, *names[::-1], inverted, samples.exchanged()))
    return seen.findings


def looked_for(a: ImageSampler, b: ImageSampler, primary: bool) -> Sequence[str]:
    """The names of what can be found between the two, a `primary` model asked or not: no more than these."""
    config = _shared(a, b)
    causes = tuple(name for name in LOOKED_FOR["images"] if name not in OF_CLASSES)
    if config is None and not takes(*sample_images(a.generator, 1, 0).shape[1:]):
        causes = ("inversion",)
    labelled = [getattr(one.generator, "classes", None) is not None for one in (a, b)]
    if config is not None and config.classes is not None:
        return (*causes, *OF_CLASSES)
    if not primary:
        return causes
    return (*causes, *(("label-confusion",) if all(labelled) else ("class-missing", "class-over-represented")))


def _samples(
    a: ImageSampler, b: ImageSampler, drawn: Sequence[np.ndarray], config: EmbeddingConfig | None, seed: int
) -> Samples:
    """What findings are shown by: those of the latents that `sample` draws, and of labels."""

    def of_label(label: int) -> tuple[np.ndarray, np.ndarray]:
        typical = (MOST_IMAGES, seed, f"shown {label}", label, TYPICAL)
        first, second = (sample_images(one.generator, *typical) for one in (a, b))
        return first, second

    first, second = (sample_images(one.generator, _SHOWN, seed) for one in (a, b))
    labelled = config is not None and config.classes is not None
    return Samples((drawn[0], drawn[1]), (first, second), of_label if labelled else None)


def _shared(a: ImageSampler, b: ImageSampler) -> EmbeddingConfig | None:
    """The feature map of both runs, where they have one, with details."""
    if a.release is None or b.release is None:
        return None
    one, other = (sampler.generator.config for sampler in (a, b))
    return one if one == other and one.details else None


def _proxies(sampler: ImageSampler, config: EmbeddingConfig, seed: int) -> Proxies:
    """Samples to try causes on; with classes, as many of each as its share."""
    generator = sampler.generator
    assert isinstance(generator, MomentGenerator)
    if config.classes is None:
        return Proxies(torch.from_numpy(sample_images(generator, _PROXIES, seed, "causes")), None)
    counts = (generator.moments.shares * _PROXIES).round().long().clamp(min=2).tolist()
    images = [sample_images(generator, count, seed, f"causes {label}", label) for label, count in enumerate(counts)]
    labels = torch.repeat_interleave(torch.arange(config.classes), torch.tensor(counts))
    return Proxies(torch.from_numpy(np.concatenate(images)), labels)
