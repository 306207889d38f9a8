"""Rules of cohorts: what goes with what, and which two share nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.privacy.rules import CRITERIA, CohortRule, exclusive, rule

shares = st.floats(0, 1)


@given(shares, shares, st.lists(shares, min_size=1))
def test_exclusive_means_that_no_accuracy_satisfies_both(below, above, accuracies):
    low, high = rule("low-accuracy", below=below), rule("high-accuracy", above=above)
    assert exclusive(low, high) == exclusive(high, low) == (below <= above)
    if exclusive(low, high):
        assert not any(accuracy < below and accuracy > above for accuracy in [*accuracies, below, above])


@pytest.mark.parametrize("one", CRITERIA)
@pytest.mark.parametrize("other", CRITERIA)
def test_only_low_and_high_accuracy_can_be_exclusive(one, other):
    both = {one, other} == {"low-accuracy", "high-accuracy"}
    assert exclusive(rule(one), rule(other)) == both


def test_the_defaults_are_the_papers():
    assert rule("low-accuracy").below == 0.882
    assert rule("high-accuracy").above == 0.939
    assert rule("misclassified").min_examples == rule("correct").min_examples == 5


@pytest.mark.parametrize(
    ("criterion", "options"),
    [
        ("nobody", {}),
        ("low-accuracy", {"above": 0.5}),
        ("high-accuracy", {"below": 0.5}),
        ("random", {"below": 0.5}),
        ("random", {"min_examples": 5}),
        ("low-accuracy", {"share": 0.5}),
        ("low-accuracy", {"below": 1.5}),
        ("low-accuracy", {"below": float("nan")}),
        ("misclassified", {"min_examples": 0}),
        ("random", {"share": 0.0}),
        ("random", {"share": 1.5}),
    ],
)
def test_options_that_do_not_go_together_are_refused(criterion, options):
    with pytest.raises(ValueError):
        rule(criterion, **options)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_rule_survives_json_and_speaks(criterion):
    made = rule(criterion)
    assert CohortRule(**made.to_json()) == made
    assert made.says()
    assert made.needs_primary == (criterion != "random")
