"""The finding of an excess of words out of vocabulary at some position."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.modeler.findings.oov_by_position import oov_by_position
from fedprobe.modeler.text_sampling import OovProfile


def profile(oov: list[int], reached: list[int]) -> OovProfile:
    return OovProfile(np.array(oov, np.int64), np.array(reached, np.int64))


def bonferroni(positions: int) -> float:
    """Two directions at every position, 95% in all."""
    return 1 - 0.05 / (2 * positions)


def test_by_hand(newcombe):
    before, after = profile([50, 40, 30], [1000, 800, 500]), profile([250, 44, 28], [1000, 800, 500])
    found = oov_by_position(before, after, "before", "after")
    assert found.name == "oov-by-position"
    assert (found.strength, found.low, found.high) == pytest.approx(newcombe(250, 1000, 50, 1000, bonferroni(3)))
    assert found.strength == pytest.approx(0.2)
    assert found.says == "after has more words out of vocabulary at position 1 of its sentences than before"
    assert "25.0%" in found.evidence and "against 5.0%" in found.evidence
    assert "over all positions 14.0% against 5.2%" in found.evidence
    assert json.loads(json.dumps(found.to_json())) == found.to_json()


def test_the_side_with_the_excess_is_named_whichever_it_is():
    less, more = profile([50, 40], [1000, 800]), profile([50, 200], [1000, 800])
    for sides, names in (((less, more), ("a", "b")), ((more, less), ("b", "a"))):
        found = oov_by_position(*sides, *names)
        assert found.says == "b has more words out of vocabulary at position 2 of its sentences than a"
        assert found.strength == pytest.approx(0.2)


profiles = st.integers(0, 5).flatmap(
    lambda positions: st.lists(st.integers(1, 1500), min_size=positions, max_size=positions).flatmap(
        lambda reached: st.tuples(
            st.tuples(*(st.integers(0, count) for count in sorted(reached, reverse=True))).map(list),
            st.just(sorted(reached, reverse=True)),
        )
    )
)


@given(profiles)
def test_the_same_sample_twice_is_no_finding(one):
    assert oov_by_position(profile(*one), profile(*one), "a", "b") is None


@given(profiles, profiles)
def test_the_clearest_excess_is_the_finding_and_its_interval_is_newcombes(newcombe, one, other):
    found = oov_by_position(profile(*one), profile(*other), "one", "other")
    positions = [at for at, pair in enumerate(zip(one[1], other[1], strict=False)) if min(pair) >= 100]
    differences = {}
    for at in positions:
        for name, more, less in (("one", one, other), ("other", other, one)):
            counts = more[0][at], more[1][at], less[0][at], less[1][at]
            differences[name, at] = newcombe(*counts, bonferroni(len(positions)))
    clearest = max((low for _, low, _ in differences.values()), default=-1)
    assert (found is not None) == (clearest > 0.01)
    if found is None:
        return
    name, _, rest = found.says.partition(" has more words out of vocabulary at position ")
    at = int(rest.split()[0]) - 1
    assert (found.strength, found.low, found.high) == pytest.approx(differences[name, at], abs=1e-9)
    assert found.low == pytest.approx(clearest, abs=1e-9)
    assert 0.01 < found.low <= found.strength <= found.high <= 1


def test_positions_that_few_sentences_reach_are_left_out():
    assert oov_by_position(profile([0, 0], [500, 99]), profile([0, 500], [500, 500]), "a", "b") is None
    assert oov_by_position(profile([0, 0], [500, 100]), profile([0, 500], [500, 500]), "a", "b") is not None
    assert oov_by_position(profile([0], [500]), profile([0, 500], [500, 500]), "a", "b") is None


def test_without_sentences_there_is_no_finding():
    some, none = profile([5], [500]), profile([], [])
    for sides in ((some, none), (none, some), (none, none)):
        assert oov_by_position(*sides, "a", "b") is None


def test_a_small_excess_is_no_finding():
    # 1.5% of 10,000 against 1%: the difference is certain, and too small to matter.
    assert oov_by_position(profile([100], [10_000]), profile([150], [10_000]), "a", "b") is None
