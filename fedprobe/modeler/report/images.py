"""The section of image generators: galleries of the same latents, figures, and what was tested."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from fedprobe.modeler.comparison import COUNT, Side, compare, likeliest, side_alone
from fedprobe.modeler.film_strip import film_strip, spread_checkpoints
from fedprobe.modeler.pictures import png_of
from fedprobe.modeler.report.scatter import Scatter, scatter
from fedprobe.modeler.report.verdict import Opened, Verdict
from fedprobe.modeler.telling import Telling, telling
from fedprobe.models.classifier import Classifier
from fedprobe.runs import find

_FIGURES = {"mean_ink": "mean ink", "contrast": "contrast", "confidence": "confidence"}


@dataclass(frozen=True)
class Gallery:
    """One run's samples as PNGs in data URIs; the n-th of every gallery of a section is of the n-th latent."""

    name: str
    cohort: str
    images: Sequence[str]
    side: int


@dataclass(frozen=True)
class TellingRow:
    """One side's most telling samples as data URIs, and below each its nearest counterpart on the other side."""

    name: str
    other: str
    images: Sequence[str]
    counterparts: Sequence[str]


@dataclass(frozen=True)
class Shown:
    """What tells two runs apart: a row of samples a side, and both on a map."""

    a: str
    b: str
    rows: Sequence[TellingRow]
    map: Scatter


@dataclass(frozen=True)
class FilmStrip:
    """A run over time: for each of some rounds what it draws from the same latents, as data URIs."""

    name: str
    rounds: Sequence[tuple[int, Sequence[str]]]


@dataclass(frozen=True)
class ImagesSection:
    """Generators of one kind of image: what each draws from the same latents, and each held against the first."""

    galleries: Sequence[Gallery]
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdicts: Sequence[Verdict]
    note: str | None
    cautions: Sequence[str] = ()
    telling: Sequence[Shown] = ()
    strips: Sequence[FilmStrip] = ()
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
    verdicts, sides, told = [], [], []
    for other in others:
        names = (first.name, other.name)
        result = compare(first.sampler, other.sampler, primary, count, seed, names)
        sides = [*(sides or [result.a]), result.b]
        verdicts.append(Verdict(result.looked_for, *names, result.two_sample, result.findings))
        if result.two_sample.differ:
            told.append(_told(*names, telling(result.a.drawn, result.b.drawn, seed=seed)))
    if not others:
        sides = [side_alone(first.sampler, first.name, primary, count, seed)]
    shown = [key for key in _FIGURES if key in sides[0].figures]
    mix = sides[0].class_mix is not None
    return ImagesSection(
        [
            Gallery(one.name, one.run.rule.heading, [data_uri(image) for image in side.shown], side.shown.shape[-1])
            for one, side in zip(opened, sides, strict=True)
        ],
        ["run", *(_FIGURES[key] for key in shown), *(["likeliest classes"] if mix else [])],
        [_row(side, shown) for side in sides],
        verdicts,
        None if others else "One run alone is held against nothing: give the healthy one first, and this one after it.",
        list(dict.fromkeys(filter(None, (one.sampler.caution for one in opened)))),
        told,
        [strip for strip in (_strip(one, seed) for one in _whole(opened)) if strip is not None],
    )


def _told(a: str, b: str, told: Telling) -> Shown:
    rows = [
        TellingRow(name, other, [data_uri(one) for one in side.samples], [data_uri(one) for one in side.counterparts])
        for name, other, side in ((a, b, told.a), (b, a, told.b))
    ]
    return Shown(a, b, rows, scatter((a, b), (told.map_a, told.map_b)))


def _whole(opened: Sequence[Opened]) -> list[Opened]:
    """Runs that were given as such, and not one of their rounds; each once."""
    return list({one.run.path.resolve(): one for one in opened if find(one.given)[1] is None}.values())


def _strip(opened: Opened, seed: int) -> FilmStrip | None:
    folders = spread_checkpoints(opened.run)
    if len(folders) < 2:
        return None
    frames = film_strip(folders, seed=seed)
    return FilmStrip(opened.name, [(one.round, [data_uri(image) for image in one.images]) for one in frames])


def _row(side: Side, shown: Sequence[str]) -> list[str]:
    mix = [] if side.class_mix is None else [likeliest(side.class_mix)]
    return [side.name, *(side.figures[key].says() for key in shown), *mix]


def _size(opened: Opened) -> tuple[int, ...]:
    """Runs of one size of latents and images can be shown cell by cell."""
    config = opened.run.config["architecture"]
    size = (opened.sampler.latent_size, config["channels"], config["height"], config["width"])
    return (*size, opened.sampler.caution is None)


def data_uri(image: np.ndarray) -> str:
    """One image [C, H, W] in [0, 1] as a PNG that a page holds itself."""
    return "data:image/png;base64," + b64encode(png_of(image)).decode()
