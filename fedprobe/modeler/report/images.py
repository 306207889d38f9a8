"""The section of image generators: galleries of the same latents, figures, and what was tested."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from fedprobe.modeler.comparison import COUNT, Side, compare, likeliest, side_alone
from fedprobe.modeler.pictures import png_of
from fedprobe.modeler.report.verdict import Opened, Verdict
from fedprobe.models.classifier import Classifier

_FIGURES = {"mean_ink": "mean ink", "contrast": "contrast", "confidence": "confidence"}


@dataclass(frozen=True)
class Gallery:
    """One run's samples as PNGs in data URIs; the n-th of every gallery of a section is of the n-th latent."""

    name: str
    cohort: str
    images: Sequence[str]
    side: int


@dataclass(frozen=True)
class ImagesSection:
    """Generators of one kind of image: what each draws from the same latents, and each held against the first."""

    galleries: Sequence[Gallery]
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdicts: Sequence[Verdict]
    note: str | None
    cautions: Sequence[str] = ()
    kind: str = "images"


def image_sections(
    opened: Sequence[Opened], primary: Classifier | None, count: int | None, seed: int
) -> list[ImagesSection]:
    """A section for every size of images and latents; the first run of each is the healthy one.

    `primary` adds class mix and confidence. Raises ComparisonError where it takes images of another size.
    """
    ordered = sorted(opened, key=_size)
    groups = [list(group) for _, group in groupby(ordered, _size)]
    groups.sort(key=lambda group: opened.index(group[0]))
    return [_section(group, primary, count or COUNT, seed) for group in groups]


def _section(opened: Sequence[Opened], primary: Classifier | None, count: int, seed: int) -> ImagesSection:
    first, *others = opened
    verdicts, sides = [], []
    for other in others:
        names = (first.name, other.name)
        result = compare(first.sampler, other.sampler, primary, count, seed, names)
        sides = [*(sides or [result.a]), result.b]
        verdicts.append(Verdict("images", *names, result.two_sample, result.findings))
    if not others:
        sides = [side_alone(first.sampler, first.name, primary, count, seed)]
    shown = [key for key in _FIGURES if key in sides[0].figures]
    mix = sides[0].class_mix is not None
    return ImagesSection(
        [
            Gallery(one.name, one.run.rule.criterion, [_data_uri(image) for image in side.shown], side.shown.shape[-1])
            for one, side in zip(opened, sides, strict=True)
        ],
        ["run", *(_FIGURES[key] for key in shown), *(["likeliest classes"] if mix else [])],
        [_row(side, shown) for side in sides],
        verdicts,
        None if others else "One run alone is held against nothing: give the healthy one first, and this one after it.",
        list(dict.fromkeys(filter(None, (one.sampler.caution for one in opened)))),
    )


def _row(side: Side, shown: Sequence[str]) -> list[str]:
    mix = [] if side.class_mix is None else [likeliest(side.class_mix)]
    return [side.name, *(side.figures[key].says() for key in shown), *mix]


def _size(opened: Opened) -> tuple[int, ...]:
    """Runs of one size of latents and images can be shown cell by cell."""
    config = opened.run.config["architecture"]
    size = (opened.sampler.latent_size, config["channels"], config["height"], config["width"])
    return (*size, opened.sampler.caution is None)


def _data_uri(image: np.ndarray) -> str:
    return "data:image/png;base64," + b64encode(png_of(image)).decode()
