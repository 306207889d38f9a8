"""Causes between two sets of samples: the right one on what it struck, on either side, and none where nothing did."""

import re

import numpy as np
import pytest
import torch

from fedprobe.modeler.findings.image_causes import blurred, moved
from fedprobe.modeler.findings.image_samples import SampledSide, sample_findings
from fedprobe.models.pen_strokes import pen_strokes

STROKES = pen_strokes(800, 28, 28)
# Pen strokes are as likely one way round as the other; these have a foot to the right, which is none.
STROKES[:, :, 21:23, 14:24] = 0


def side(name: str, part: int, struck=lambda images: images) -> SampledSide:
    return parted(name, struck(STROKES[200 * part : 200 * part + 200]))


def parted(name: str, images: torch.Tensor) -> SampledSide:
    half = len(images) // 2
    return SampledSide(name, images[:half], images[half:].numpy(), images[half:].numpy())


@pytest.mark.parametrize(
    ("name", "struck"),
    [
        ("brightness", lambda images: images * 0.6),
        ("rotation", lambda images: images.rot90(1, (2, 3))),
        ("horizontal-flip", lambda images: images.flip(3)),
        ("translation", lambda images: moved(images, down=3)),
        ("blur", lambda images: blurred(images, 1.3, 1.3)),
    ],
)
def test_the_cause_is_named_with_how_much_nearer_the_sides_are_without_it(name, struck):
    (found,) = sample_findings(side("a", 0), side("b", 1, struck))
    assert found.name == name and found.says.startswith("b looks like a ")
    assert 0.5 < found.strength <= 1 and found.low <= found.strength <= found.high
    before, after = map(float, re.search(r"MMD² falls from ([0-9.]+) to (-?[0-9.]+),", found.evidence).groups())
    assert after <= before / 3
    rows = dict(found.shown.rows)
    assert {"a", "b"} < rows.keys() and all(len(images) for images in rows.values())


def test_either_side_may_be_the_one_that_was_struck():
    (found,) = sample_findings(side("a", 0, lambda images: blurred(images, 1.3, 1.3)), side("b", 1))
    assert found.name == "blur" and found.says.startswith("a looks like b ")


@pytest.mark.parametrize("part", [1, 2, 3])
def test_sets_of_one_kind_are_no_finding(part):
    assert sample_findings(side("a", 0), side("b", part)) == []


def test_a_difference_that_no_cause_makes_is_no_finding():
    noise = torch.from_numpy(np.random.default_rng(0).uniform(size=(200, 1, 28, 28)).astype(np.float32))
    assert sample_findings(side("a", 0), parted("b", noise)) == []


def test_images_of_colour_are_not_looked_at():
    colour = torch.zeros(40, 3, 28, 28)
    assert sample_findings(parted("a", colour), parted("b", 1 - colour)) == []
