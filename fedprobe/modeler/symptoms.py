"""What the primary model makes of two generators' images, as findings: post-processing, at no cost in privacy."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from fedprobe.modeler.findings.confusion import class_findings, label_confusion
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.shown import MOST_IMAGES
from fedprobe.modeler.sampling import ImageSampler, sample_images
from fedprobe.models.classifier import Classifier, merge_case, predict

_EACH = 60
# Typical draws, which can be read (`labelling.TYPICAL`).
_TRUNCATION = 0.5


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
    """Labels that the primary model confuses on one side; those of a letter's two cases are one to it, perhaps."""
    guessed = primary.config.classes
    counts, images = np.zeros((2, guessed, guessed), int), {}
    for label in range(classes):
        right = int(merge_case(torch.tensor(label))) if primary.config.merge_case else label
        if right >= guessed:
            continue
        both = [sample_images(one.generator, _EACH, seed, f"confused {label}", label, _TRUNCATION) for one in (a, b)]
        for side, drawn in enumerate(both):
            guesses = predict(primary, torch.from_numpy(drawn).mul(2).sub(1)).argmax(1)
            counts[side, right] += np.bincount(guesses.numpy(), minlength=guessed)
        images.setdefault(right, (both[0][:MOST_IMAGES], both[1][:MOST_IMAGES]))
    return label_confusion(*counts, *names, images.__getitem__)
