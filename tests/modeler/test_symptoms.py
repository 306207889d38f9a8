"""What the primary model adds to what was found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedprobe.modeler.comparison import can_be_found, cohort_caution, compare
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.sampling import ImageSampler, Release, sample_images
from fedprobe.modeler.symptoms import with_symptoms
from fedprobe.models.classifier import ClassifierConfig
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.moment_generator import MomentGenerator, Moments
from fedprobe.runs import Run

SIDE, CLASSES = 20, 3
NAMES = ("before", "after")
CAUSE = Finding("rotation", 1.0, 0.9, 1.0, "after looks turned", "it explains most")


class Bars(nn.Module):
    """Makes, of label k, images whose rows are white from row 6 k on for six rows; `moved` exchanges labels."""

    latent_size = 4

    def __init__(self, moved=range(CLASSES), classes=CLASSES) -> None:
        super().__init__()
        self.moved, self.classes = moved, classes

    def forward(self, latents, label=0):
        images = torch.full((len(latents), 1, SIDE, SIDE), -1.0)
        images[:, :, 6 * self.moved[label] : 6 * self.moved[label] + 6] = 1.0
        return images


class Reader(nn.Module):
    """Reads what `Bars` writes."""

    config = ClassifierConfig(SIDE, SIDE, 1, CLASSES)

    def forward(self, images_BCHW):
        return torch.stack([images_BCHW[:, :, 6 * k : 6 * k + 6].mean((1, 2, 3)) for k in range(CLASSES)], dim=1)


def found(generators, known=(), mixes=((1 / 3,) * 3, (1 / 3,) * 3)) -> list[Finding]:
    a, b = (ImageSampler(Run(Path(name)), 1, one) for name, one in zip(NAMES, generators, strict=True))
    return with_symptoms(known, a, b, mixes, 300, Reader(), NAMES, 0)


def test_exchanged_labels_are_found_and_shown():
    (one,) = found([Bars(), Bars([1, 0, 2])])
    assert (one.name, one.strength, one.symptom) == ("label-confusion", 1, True)
    assert "0 for 1, 1 for 0" in one.says
    (_, before), (_, after) = one.shown.rows
    assert np.array_equal(before[::2], after[1::2]) and one.shown.labels == [0, 1]


def test_the_same_labels_are_nothing():
    assert found([Bars(), Bars()]) == []
    assert found([Bars(), Bars()], [CAUSE]) == [CAUSE]


def test_a_symptom_comes_after_causes_and_is_evidence_of_one_of_its_name():
    exchanged = [Bars(), Bars([1, 0, 2])]
    assert [one.name for one in found(exchanged, [CAUSE])] == ["rotation", "label-confusion"]
    (one,) = found(exchanged, [replace(CAUSE, name="label-confusion")])
    assert one.evidence.startswith("it explains most; the primary model takes after's images") and not one.symptom


def test_without_labels_the_mix_of_guesses_is_looked_at_unless_images_are_broken():
    unlabelled = [Bars(classes=None), Bars(classes=None)]
    mixes = ((0.4, 0.3, 0.3), (0.0, 0.1, 0.9))
    assert [one.name for one in found(unlabelled, mixes=mixes)] == ["class-missing", "class-over-represented"]
    assert found(unlabelled, [CAUSE], mixes) == [CAUSE]
    assert found(unlabelled) == []


@pytest.mark.parametrize("classes", [CLASSES, None])
@pytest.mark.parametrize("primary", [Reader(), None], ids=["primary", ""])
def test_what_is_looked_for_is_what_can_be_found(classes, primary):
    """Whatever is found was looked for, and nothing is said to be that takes labels or a primary model of none."""
    of_classes = {"class-missing", "class-over-represented", "label-confusion"}
    a, b = (ImageSampler(Run(Path(name)), 1, Bars(classes=classes)) for name in NAMES)
    takes = {"label-confusion"} if classes else of_classes - {"label-confusion"}
    named = can_be_found([a, b], primary is not None)
    assert named >= {"inversion", "blur"} and named & of_classes == (takes if primary else set())
    assert named == set(compare(a, b, primary, count=40).looked_for)


class Coloured(Bars):
    def forward(self, latents, label=0):
        return super().forward(latents, label).expand(-1, 3, -1, -1)


def test_of_images_of_colour_inversion_alone_is_looked_for():
    a, b = (ImageSampler(Run(Path(name)), 1, Coloured()) for name in NAMES)
    assert can_be_found([a, b], primary=False) == {"inversion"}


@pytest.mark.parametrize(
    ("rules", "differ"),
    [
        ([{"criterion": "random", "share": 0.5, "seed": 1}, {"criterion": "random"}], False),
        ([{"criterion": "low-accuracy", "below": 0.8}] * 2, False),
        ([{"criterion": "high-accuracy", "above": 0.9}, {"criterion": "low-accuracy", "below": 0.8}], True),
        ([{"criterion": "random"}, {"criterion": "random", "where": "locale == 'de'"}], True),
    ],
)
def test_runs_of_different_cohorts_are_said_to_differ(tmp_path, rules, differ):
    runs = [
        Run.create(tmp_path / str(n), {"command": "train-gan", "cohort": {"rule": rule}}, {})
        for n, rule in enumerate(rules)
    ]
    assert (cohort_caution(runs) is not None) == differ


def test_only_runs_of_one_kind_are_of_different_cohorts(tmp_path):
    rules = {
        "train-wordlm": {"criterion": "random"},
        "train-charlm": {"criterion": "random", "where": "locale == 'en'"},
    }
    runs = [
        Run.create(tmp_path / f"{command} {n}", {"command": command, "cohort": {"rule": rule}}, {})
        for command, rule in rules.items()
        for n in range(2)
    ]
    assert cohort_caution(runs) is None
    other = {"command": "train-wordlm", "cohort": {"rule": {"criterion": "random", "where": "locale == 'de'"}}}
    assert cohort_caution([*runs, Run.create(tmp_path / "other", other, {})]) is not None


def test_labels_that_other_noise_would_confuse_are_left_out():
    config = EmbeddingConfig(SIDE, SIDE, classes=CLASSES, coefficients=20)
    none = Moments.none(config)
    means = 3 * torch.randn(none.means.shape, generator=torch.Generator().manual_seed(0))
    exchanged = means[[1, 0, 2]]
    vector = torch.zeros(config.length)
    vector[1] = 400 * config.polarity_norm

    class Nearest(nn.Module):
        """Reads which label's mean an image is nearest to."""

        config = Reader.config

        def forward(self, images_BCHW):
            _, coordinates = config.coordinates_of(images_BCHW.add(1).div(2))
            return -torch.cdist(coordinates * config.emphasis, self.means)

    nearest = Nearest()
    sides = {}
    for noise in (0.01, 1000.0):
        sides[noise] = [
            ImageSampler(
                Run(Path(name)),
                1,
                MomentGenerator(config, Moments(none.dark_share, none.shares, one, 0.01 * torch.eye(len(one.T)))),
                Release(vector, noise),
            )
            for name, one in zip(NAMES, (means, exchanged), strict=True)
        ]
    drawn = [sample_images(sides[0.01][0].generator, 20, 0, label=label) for label in range(CLASSES)]
    seen = [config.coordinates_of(torch.from_numpy(images))[1].mean(0) for images in drawn]
    nearest.means = torch.stack(seen) * config.emphasis
    (one,) = with_symptoms([], *sides[0.01], ((), ()), 0, nearest, NAMES, 0)
    assert "0 for 1" in one.says and "1 for 0" in one.says
    assert with_symptoms([], *sides[1000.0], ((), ()), 0, nearest, NAMES, 0) == []
