"""What the primary model confuses on one side: labels exchanged are named, chance is silent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.modeler.findings.confusion import LEAST_DIFFERENCE, class_findings, label_confusion

CLASSES, EACH = 6, 60


def guesses(seed: int, right: float = 0.9, moved=range(CLASSES), each: int = EACH) -> np.ndarray:
    """Counts [K, K] of guesses that are right at this rate, about images of `moved[label]`; else anything."""
    stream = np.random.default_rng(seed)
    counts = np.zeros((CLASSES, CLASSES), int)
    for label, shown in enumerate(moved):
        chances = np.full(CLASSES, (1 - right) / (CLASSES - 1))
        chances[shown] = right
        counts[label] = stream.multinomial(each, chances)
    return counts


@pytest.mark.parametrize("right", [0.95, 0.6])
def test_two_draws_of_one_kind_are_no_finding(right):
    for seed in range(40):
        assert label_confusion(guesses(2 * seed, right), guesses(2 * seed + 1, right), "a", "b") is None


@given(st.permutations(range(CLASSES)).filter(lambda moved: list(moved) != list(range(CLASSES))), st.integers(0, 99))
def test_exchanged_labels_are_named_on_their_side(moved, seed):
    healthy, struck = guesses(seed), guesses(seed + 100, moved=moved)
    label = next(label for label in range(CLASSES) if moved[label] != label)
    for sides, names in (((healthy, struck), ("before", "after")), ((struck, healthy), ("after", "before"))):
        found = label_confusion(*sides, *names)
        assert found.name == "label-confusion" and found.symptom
        assert found.says.startswith("the primary model takes after's images of ") and found.says.endswith(
            "before's it does not"
        )
        assert LEAST_DIFFERENCE < found.low <= found.strength <= found.high <= 1
    if sum(label != to for label, to in enumerate(moved)) <= 4:
        assert f"{label} for {moved[label]}" in found.says


def test_it_is_shown_by_images_of_the_labels_on_both_sides():
    def images(label):
        return tuple(np.full((6, 1, 2, 2), 10 * side + label) for side in (0, 1))

    found = label_confusion(guesses(0), guesses(1, moved=[0, 2, 1, 3, 4, 5]), "a", "b", images)
    assert found.shown.labels in ([1, 2], [2, 1])
    for side, (name, drawn) in enumerate(found.shown.rows):
        assert name.startswith("ab"[side])
        assert drawn[:, 0, 0, 0].tolist() == [10 * side + label for label in found.shown.labels] * 3


def test_labels_without_images_say_nothing():
    empty = guesses(0)
    empty[3] = 0
    struck = guesses(1, moved=[1, 0, 2, 3, 4, 5])
    struck[3] = 0
    assert label_confusion(empty, empty, "a", "b") is None
    assert "0 for 1" in label_confusion(empty, struck, "a", "b").says


def test_classes_that_are_missed_and_those_that_are_everywhere():
    usual = [100, 100, 100, 100, 100]
    missing, over = class_findings(usual, [1, 24, 25, 50, 400], "a", "b")
    assert (missing.name, over.name) == ("class-missing", "class-over-represented")
    assert "class 0 in b's" in missing.says and "class 4 in b's" in over.says
    assert (missing.strength, over.strength) == pytest.approx((0.2 - 0.002, 0.8 - 0.2))
    assert missing.symptom and over.symptom


@given(st.integers(0, 1000))
def test_two_mixes_of_one_kind_are_no_finding(seed):
    stream = np.random.default_rng(seed)
    mix = stream.dirichlet(np.full(10, 2.0))
    assert class_findings(*(stream.multinomial(500, mix) for _ in "ab"), "a", "b") == []
