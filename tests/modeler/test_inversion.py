"""The finding of an inversion: strong where it is so, silent where it is not, with an honest interval."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprobe.modeler.findings.finding import difference_of_shares
from fedprobe.modeler.findings.inversion import inversion

COUNT = 120


def mixture(images: np.ndarray, inverted: int) -> np.ndarray:
    """The first `inverted` images inverted, then all in random order."""
    mixed = images.copy()
    mixed[:inverted] = 1 - mixed[:inverted]
    return mixed[np.random.default_rng(9).permutation(len(mixed))]


@pytest.fixture(scope="module")
def a(strokes) -> np.ndarray:
    return strokes(COUNT, 0)


@pytest.fixture(scope="module")
def b(strokes) -> np.ndarray:
    return strokes(COUNT, 1)


def test_inverted_strokes_are_found_with_full_strength(a, b):
    found = inversion(a, 1 - b, "high", "low")
    assert found.name == "inversion"
    assert found.strength == 1
    assert 0.95 < found.low < 1 == found.high
    assert found.says == "low looks like high with black and white exchanged"
    # The test tells them apart as they are, and no longer after inverting the one.
    assert "100% of low's samples" in found.evidence and "accuracy 1.00 as they are" in found.evidence
    after = float(found.evidence.split(", ")[-1].split()[0])
    assert 0.3 < after < 0.7
    assert json.loads(json.dumps(found.to_json())) == found.to_json()


def test_it_is_shown_by_samples_that_were_inverted(a, b):
    paired = (a[:20], mixture(b[:20], 8))
    shown = inversion(a, 1 - b, "a", "b", paired).shown
    (_, struck), (_, undone), (_, nearest) = shown.rows
    assert np.array_equal(struck, paired[1][shown.places]) and np.allclose(undone, 1 - struck)
    assert (struck.mean(axis=(1, 2, 3)) < 0.5).all(), "strokes were dark on white"
    assert all(any(np.array_equal(image, one) for one in a) for image in nearest)


@pytest.mark.parametrize("seed", range(2, 7))
def test_two_sets_of_one_distribution_are_no_finding(a, strokes, seed):
    assert inversion(a, strokes(COUNT, seed), "a", "b") is None
    assert inversion(1 - a, 1 - strokes(COUNT, seed), "a", "b") is None


@pytest.mark.parametrize("other", [{"width": 1.5}, {"width": 2.0}, {"width": 0.5}, {"ink": 0.7}, {"ink": 0.4}], ids=str)
def test_thicker_thinner_and_paler_strokes_are_no_finding(a, strokes, other):
    changed = strokes(COUNT, 2, **other)
    assert inversion(a, changed, "a", "b") is None
    assert inversion(changed, a, "a", "b") is None


@pytest.mark.parametrize("change", [lambda images: np.clip(images + 0.3, 0, 1), lambda images: 0.75 * images])
def test_moderately_brighter_and_darker_images_are_no_finding(a, b, change):
    assert inversion(a, change(b), "a", "b") is None
    assert inversion(change(b), a, "a", "b") is None


@pytest.mark.parametrize("brightness", [0.7, 0.6, 0.5])
def test_half_as_bright_is_not_inverted(a, b, brightness):
    """A grey background is its own inverse: which of the two lies nearer would be decided by a hair."""
    assert inversion(a, brightness * b, "a", "b") is None


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.7, 1.0])
def test_of_a_mixture_the_strength_is_the_share_of_inverted_images(a, b, share):
    found = inversion(a, mixture(b, round(share * COUNT)), "a", "b")
    assert found.strength == pytest.approx(share, abs=0.02)
    assert found.low < share <= found.high
    assert found.high - found.low < 0.25


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_swapping_the_sets_hardly_changes_it(a, b, share):
    mixed = mixture(b, round(share * COUNT))
    one, other = inversion(a, mixed, "a", "b"), inversion(mixed, a, "b", "a")
    assert other is not None
    for figure in ("strength", "low", "high"):
        assert getattr(other, figure) == pytest.approx(getattr(one, figure), abs=0.05)


def test_a_set_half_inverted_against_another_is_no_finding(a, b):
    # Both sides hold both kinds: neither looks like the other with black and white exchanged.
    assert inversion(mixture(a, COUNT // 2), mixture(b, COUNT // 2), "a", "b") is None


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 12), st.integers(30, COUNT))
def test_the_interval_is_newcombes(a, b, newcombe, base, inverted):
    # Strokes are never nearer after inversion than as they are, so the counts are those that were inverted.
    found = inversion(mixture(a, base), mixture(b, inverted), "a", "b")
    expected = newcombe(inverted, COUNT, base, COUNT)
    assert (found is not None) == (expected[1] > 0.1)
    if found is not None:
        assert (found.strength, found.low, found.high) == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 500), st.integers(1, 500), st.data())
def test_the_interval_agrees_with_the_formula_for_any_counts(newcombe, count, base_count, data):
    hits, base_hits = data.draw(st.integers(0, count)), data.draw(st.integers(0, base_count))
    strength, low, high = difference_of_shares(hits, count, base_hits, base_count)
    assert (strength, low, high) == pytest.approx(newcombe(hits, count, base_hits, base_count), abs=1e-9)
    assert -1 <= low <= strength <= high <= 1


def test_newcombes_published_example():
    # Newcombe 1998, Table II (a), method 10: 56/70 against 48/80.
    strength, low, high = difference_of_shares(56, 70, 48, 80)
    assert strength == pytest.approx(0.2)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_by_hand_on_flat_images(newcombe):
    # One pixel a sample: a's lie at 0.9, b's at 0.1 (whose inverse, 0.9, is where a lies) and 0.8 (whose is not).
    a = np.full((20, 1, 1, 1), 0.9, np.float32)
    b = np.array([0.1] * 15 + [0.8] * 5, np.float32).reshape(20, 1, 1, 1)
    found = inversion(a, b, "a", "b")
    assert (found.strength, found.low, found.high) == pytest.approx(newcombe(15, 20, 0, 20))


def test_a_sample_is_no_reference_of_its_own(monkeypatch, newcombe):
    monkeypatch.setattr("fedprobe.modeler.findings.inversion.CLEARLY", 1.0)
    # Of a's, those at 0.85 lie nearer to the 19 others when inverted (6.8 / 19 against 7.5 / 19; with themselves it
    # would be a tie), those at 0.1 do not (7.7 / 19 against 7.5 / 19). All of b's do: 8.5 / 20 against 9.5 / 20.
    a = np.array([0.1] * 10 + [0.85] * 10).reshape(20, 1, 1, 1)
    b = np.full((20, 1, 1, 1), 0.95)
    found = inversion(a, b, "a", "b")
    assert (found.strength, found.low, found.high) == pytest.approx(newcombe(20, 20, 10, 20))


def test_either_set_may_be_the_inverted_one(a, b):
    for one, other, says in ((a, mixture(b, 40), "b looks like a"), (mixture(a, 40), b, "a looks like b")):
        found = inversion(one, other, "a", "b")
        assert found.says.startswith(says)
        assert f"of {says[0]}'s samples lie nearer to" in found.evidence
