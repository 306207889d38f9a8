"""Causes of how images differ: each is found on samples that it struck, and none where nothing did."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprobe.modeler.findings.image_causes import causes, moved
from fedprobe.modeler.findings.image_patterns import relabellings
from fedprobe.modeler.findings.images import Account, Proxies, account_of
from fedprobe.modeler.findings.profile import Looked, Profile
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.image_details import compressed, decompressed, tones_of
from fedprobe.models.pen_strokes import pen_strokes

CONFIG = EmbeddingConfig(28, 28, coefficients=60, details=True)
CLASSES = EmbeddingConfig(28, 28, classes=3, coefficients=60, details=True)
USERS, NOISE = 400, 1.2
# Pen strokes are as likely one way round as the other; these have a foot to the right, which is none.
STROKES = pen_strokes(300, 28, 28)
STROKES[:, :, 21:23, 14:24] = 0
LABELS = torch.arange(300) % 3
# All right turns are alike to one class; so classes differ in where they are.
BY_CLASS = torch.cat([moved(STROKES[k::3], right=3 * k - 3) for k in range(3)])[
    torch.argsort(torch.cat([torch.arange(k, 300, 3) for k in range(3)]))
]


def released(images: torch.Tensor, seed: int, config=CONFIG, labels=None, users=USERS, noise=NOISE) -> Profile:
    """The profile of what users release who all hold these images, with noise."""
    total = users * config.embed(images, labels)
    return Looked.at(config).released(
        total + noise * torch.from_numpy(np.random.default_rng(seed).normal(size=len(total))), noise
    )


def found(b: torch.Tensor, seed: int) -> list:
    return account(STROKES, b, seed).findings


def account(a: torch.Tensor, b: torch.Tensor, seed: int) -> Account:
    profiles = released(a, 2 * seed), released(b, 2 * seed + 1)
    return account_of(*profiles, Proxies(a[::3], None), Looked.at(CONFIG), "a", "b")


STRUCK = {
    "inversion": lambda images: 1 - images,
    "brightness": lambda images: images * 0.6,
    "gamma": lambda images: images**0.3,
    "contrast": lambda images: 0.5 + 0.4 * (images - 0.5),
    "horizontal-flip": lambda images: images.flip(3),
    "vertical-flip": lambda images: images.flip(2),
    "rotation": lambda images: images.rot90(1, (2, 3)),
    "translation": lambda images: moved(images, down=3),
    "scale": lambda images: moved(images, tall=0.7, wide=0.7),
    "blur": lambda images: torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False),
    "noise": lambda images: (
        images + 0.15 * torch.randn(images.shape, generator=torch.Generator().manual_seed(7))
    ).clamp(0, 1),
    "quantisation": lambda images: (images * 3).round() / 3,
    "blocked-region": lambda images: torch.cat([images[:, :, :10], images[:, :, 10:16] * 0, images[:, :, 16:]], 2),
}


@pytest.mark.parametrize("name", list(STRUCK))
def test_each_cause_comes_first_on_images_that_it_struck(name):
    first = found(STRUCK[name](STROKES), 1)[0]
    assert first.name == name
    assert 0.5 < first.strength <= 1 and first.low <= first.strength <= first.high
    assert first.says.startswith("b looks like a ")


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**20))
def test_two_releases_of_the_same_images_are_no_finding(seed):
    assert found(STROKES, seed) == []


@pytest.mark.parametrize("name", ["blur", "blocked-region"])
def test_what_was_struck_may_be_either_side(name):
    struck = STRUCK[name](STROKES)
    forth, back = account(struck, STROKES, 1), account(STROKES, struck, 1)
    assert forth.or_else(back).findings[0].name == name and back.or_else(forth) is back


def test_an_empty_image_is_the_last_thing_that_comes_to_mind():
    """Of images that were mostly exchanged, empty ones are nearly as good an explanation."""
    mostly = torch.cat([1 - STROKES[:250], STROKES[250:]])
    assert account(mostly, STROKES, 1).findings[0].name == "inversion"
    assert found(torch.ones_like(STROKES), 1)[0].name == "blocked-region"


def both_ways(a: torch.Tensor, b: torch.Tensor, users: tuple[int, int], seed: int) -> list:
    """What is found, whichever side is taken for the healthy one, with the noise of epsilon 1."""
    sides = released(a, 2 * seed, users=users[0], noise=4.2), released(b, 2 * seed + 1, users=users[1], noise=4.2)
    forth = account_of(*sides, Proxies(a[::3], None), Looked.at(CONFIG), "a", "b")
    back = account_of(*sides[::-1], Proxies(b[::3], None), Looked.at(CONFIG), "b", "a")
    return [*forth.findings, *back.findings]


@pytest.mark.parametrize("users", [(35, 150), (150, 35)])
def test_few_users_beside_many_are_no_finding_where_there_is_noise_alone(users):
    """The few users' noise is most of the mean of both sides: it must not pass for an unknown scale of theirs."""
    assert both_ways(STROKES, STROKES, users, 1) == []


def test_few_users_and_much_noise_do_not_make_an_image_empty():
    """What is left of few users' strokes is less than of many's, on whichever side they are."""
    mostly = torch.cat([1 - STROKES[:250], STROKES[250:]])
    found = both_ways(STROKES, mostly, (80, 150), 1)
    assert {one.name for one in found} == {"inversion"}


def test_pixels_that_are_stuck_are_counted():
    struck = STROKES.clone()
    for row, column in ((3, 4), (9, 22), (15, 15), (24, 7)):
        struck[:, :, row, column] = 0
    (first, *_) = found(struck, 1)
    assert first.name == "stuck-pixels" and "4 pixels black" in first.says


def test_of_a_mixture_the_strength_is_the_share_that_was_struck():
    mixed = torch.cat([STROKES[:150].flip(2), STROKES[150:]])
    first = found(mixed, 3)[0]
    assert first.name == "vertical-flip" and first.strength == pytest.approx(0.5, abs=0.2)


def test_grey_values_come_back_from_what_was_kept_of_them():
    shares = tones_of(STROKES.flatten(1)).mean(0)
    assert torch.allclose(decompressed(compressed(shares)), shares, atol=1e-6)
    noised = compressed(shares)
    noised[-1] -= 0.1
    assert torch.allclose(decompressed(noised), shares, atol=1e-6), "what is left is the most frequent value's"


def of_classes(images, labels) -> list:
    looked = Looked.at(CLASSES)
    a, b = released(BY_CLASS, 0, CLASSES, LABELS), released(images, 1, CLASSES, labels)
    return account_of(a, b, Proxies(BY_CLASS[::2], LABELS[::2]), looked, "a", "b").findings


def test_classes_that_are_missing_or_called_otherwise_are_named():
    kept = LABELS != 1
    missing = of_classes(BY_CLASS[kept], LABELS[kept])[0]
    assert missing.name == "class-missing" and "class 1" in missing.says
    swapped = of_classes(BY_CLASS, torch.tensor([2, 1, 0])[LABELS])[0]
    assert swapped.name == "label-confusion" and "0 as 2" in swapped.says and "2 as 0" in swapped.says
    assert of_classes(BY_CLASS, LABELS) == []


@given(st.integers(0, 2**20), st.floats(0, 3))
def test_labels_whose_means_are_mostly_noise_were_not_exchanged(seed, apart):
    stream = torch.Generator().manual_seed(seed)
    truth = apart * torch.randn(12, 30, generator=stream)
    a, b = (truth + torch.randn(12, 30, generator=stream) for _ in "ab")
    assert list(relabellings(a, b, torch.full((12,), 2**0.5))) == []


@given(st.permutations(range(6)).filter(lambda new: list(new) != list(range(6))), st.integers(0, 2**20))
def test_labels_that_were_exchanged_are_among_the_ways(new, seed):
    stream = torch.Generator().manual_seed(seed)
    truth = torch.randn(6, 30, generator=stream)
    a, b = (
        means + 0.1 * torch.randn(6, 30, generator=stream) for means in (truth, truth[torch.argsort(torch.tensor(new))])
    )
    ways = [way.tolist() for _, way in relabellings(a, b, torch.full((6,), 0.1 * 2**0.5))]
    assert list(new) in ways


@settings(deadline=None, max_examples=4)
@given(st.integers(0, 2**20))
def test_what_labels_that_say_nothing_explain_is_no_cause(seed):
    mixed = LABELS[torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(seed))]
    assert of_classes(BY_CLASS, mixed) == []


@settings(deadline=None, max_examples=5)
@given(st.integers(8, 20), st.integers(8, 20))
def test_every_cause_takes_images_of_any_size(height, width):
    images = pen_strokes(3, height, width)
    for cause in causes():
        after = cause.apply(images)
        assert after.shape == images.shape and after.min() >= -1e-6 and after.max() <= 1 + 1e-6, cause.says


def test_moving_goes_where_it_says():
    dot = torch.ones(1, 1, 9, 9)
    dot[0, 0, 4, 4] = 0
    where = [(moved(dot, **how) < 0.5).nonzero()[0, 2:].tolist() for how in ({"down": 2}, {"right": -3})]
    assert where == [[6, 4], [4, 1]]
    right = torch.ones(1, 1, 9, 9)
    right[0, 0, 4, 8] = 0
    # Counter-clockwise by a quarter: what was to the right is on top.
    assert (moved(right, turn=torch.pi / 2) < 0.5).nonzero()[0, 2:].tolist() == [0, 4]
    assert (right.rot90(1, (2, 3)) < 0.5).nonzero()[0, 2:].tolist() == [0, 4]
