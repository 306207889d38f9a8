"""What is known of a side, and of how two differ, whatever noise there is."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.modeler.findings.profile import Difference, Looked
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.pen_strokes import pen_strokes

CONFIG = EmbeddingConfig(28, 28, details=True)


@pytest.fixture(scope="module")
def healthy():
    """The vector of any user [P]."""
    return CONFIG.embed(pen_strokes(100, 28, 28), None)


# At most so many that noise is larger than what samples are not known better than.
@given(users=st.tuples(*2 * [st.integers(20, 200)]), seed=st.integers(0, 2**32 - 1))
def test_two_noised_sums_of_the_same_users_differ_by_as_much_as_chance_makes(healthy, users, seed):
    stream, looked = torch.Generator().manual_seed(seed), Looked.at(CONFIG)
    noise = [torch.randn(len(healthy), generator=stream, dtype=torch.float64) for _ in users]
    sides = [looked.released(n * healthy + one, 1.0) for n, one in zip(users, noise, strict=True)]
    difference = Difference.of(*sides)
    assert abs(difference.excess) < 6 * math.sqrt(2 * len(difference.value))
