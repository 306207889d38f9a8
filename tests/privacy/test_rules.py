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


def named(criterion: str) -> CohortRule:
    """The rule of a criterion with nothing said but what it cannot do without."""
    unlike = {"public": "the digest of one", "at_most": -3.0} if criterion == "unlike-public" else {}
    return rule(criterion, vocabulary="the digest of one" if criterion == "oov-words" else None, **unlike)


@pytest.mark.parametrize("one", CRITERIA)
@pytest.mark.parametrize("other", CRITERIA)
def test_only_low_and_high_accuracy_can_be_exclusive(one, other):
    both = {one, other} == {"low-accuracy", "high-accuracy"}
    assert exclusive(named(one), named(other)) == both


def test_words_outside_two_vocabularies_are_not_exclusive_either():
    assert not exclusive(rule("oov-words", vocabulary="one"), rule("oov-words", vocabulary="other"))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_vocabulary_goes_with_oov_words_and_only_with_it(criterion):
    fits = None if criterion == "oov-words" else "a digest"
    with pytest.raises(ValueError, match="--vocabulary"):
        rule(criterion, vocabulary=fits)
    assert named(criterion).needs_vocabulary == (criterion == "oov-words")


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("given", [{"public": "a digest"}, {"at_most": -3.0}])
def test_a_public_model_and_its_threshold_go_with_unlike_public_and_only_together(criterion, given):
    with pytest.raises(ValueError, match="--public"):
        rule(criterion, vocabulary="a digest" if criterion == "oov-words" else None, **given)
    assert named(criterion).needs_public == (criterion == "unlike-public")


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), -float("inf")])
def test_a_threshold_of_density_is_a_number(threshold):
    with pytest.raises(ValueError, match="finite"):
        rule("unlike-public", public="a digest", at_most=threshold)


def test_one_word_outside_the_vocabulary_makes_a_member_unless_said_otherwise():
    assert named("oov-words").min_examples == 1
    chosen = rule("oov-words", vocabulary="a digest", min_examples=7)
    assert chosen.min_examples == 7 and "at least 7" in chosen.says()


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
        ("oov-words", {"vocabulary": "a digest", "min_examples": 0}),
        ("oov-words", {"vocabulary": "a digest", "share": 0.5}),
        ("oov-words", {"vocabulary": "a digest", "below": 0.5}),
        ("oov-words", {"vocabulary": "a digest", "above": 0.5}),
    ],
)
def test_options_that_do_not_go_together_are_refused(criterion, options):
    with pytest.raises(ValueError):
        rule(criterion, **options)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_rule_survives_json_and_speaks(criterion):
    made = named(criterion)
    assert CohortRule(**made.to_json()) == made
    assert made.says()
    assert made.needs_primary == (criterion not in ("random", "oov-words", "unlike-public"))


def test_every_criterion_says_something_else():
    assert len({named(criterion).says() for criterion in CRITERIA}) == len(CRITERIA)
    assert "words outside the vocabulary" in named("oov-words").says()
