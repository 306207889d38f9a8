"""The most telling samples: typical of one side, untypical of the other, judged by what never saw them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from fedprobe.modeler.telling import own_side_chances, telling


def noise(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 1, 3, 4)).astype(np.float32)


@settings(deadline=None, max_examples=5)
@given(st.integers(20, 40), st.integers(0, 2**31))
def test_of_one_set_twice_nothing_tells(count, seed):
    images = noise(count, seed)
    of_a, of_b = own_side_chances(images, images.copy(), seed)
    assert of_a + of_b == pytest.approx(np.ones(count))
    result = telling(images, images.copy(), 4, seed)
    assert result.map_a == pytest.approx(result.map_b, abs=1e-6)
    assert np.array_equal(result.a.samples, result.a.counterparts)


def test_of_two_sets_of_one_distribution_chances_lie_about_one_half():
    of_a, of_b = own_side_chances(noise(300, 0), noise(300, 1))
    assert np.concatenate([of_a, of_b]).mean() == pytest.approx(0.5, abs=0.05)


def test_the_few_that_are_struck_are_the_most_telling(strokes):
    healthy, struck = strokes(80, 0), strokes(80, 1)
    bad = np.arange(5, 80, 8)
    struck[bad] = 1 - struck[bad]
    _, of_b = own_side_chances(healthy, struck)
    assert np.median(of_b[bad]) > np.quantile(np.delete(of_b, bad), 0.95)
    result = telling(healthy, struck, 8)
    assert result.b.samples.mean() < 0.5 < result.b.counterparts.mean()
    assert (np.diff(result.b.chances) <= 0).all()


def test_counterparts_are_the_nearest_and_the_map_keeps_to_distances(strokes):
    a, b = strokes(40, 0), strokes(40, 1)
    result = telling(a, b, 5)
    for side, others in ((result.a, b), (result.b, a)):
        least = cdist(side.samples.reshape(5, -1), others.reshape(40, -1)).min(axis=1)
        given = np.linalg.norm((side.samples - side.counterparts).reshape(5, -1), axis=1)
        assert given == pytest.approx(least, rel=1e-5)
    # A projection never moves two points further apart.
    assert (cdist(result.map_a, result.map_b) <= cdist(a.reshape(40, -1), b.reshape(40, -1)) + 1e-6).all()


@pytest.mark.parametrize("sizes", [(20, 21), (19, 19)])
def test_sets_must_be_of_one_size_and_not_tiny(sizes):
    with pytest.raises(ValueError, match="at least 20"):
        telling(noise(sizes[0], 0), noise(sizes[1], 1))
