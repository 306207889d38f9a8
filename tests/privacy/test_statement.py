"""An epsilon is never printed without what it means."""

import math
import re
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.events import SampledGaussian, counted_multiplier
from fedprobe.privacy.statement import compose, default_delta, figure, state
from fedprobe.privacy.wording import meaning, meaning_in_short

PLAN = SampledGaussian(1.0, 0.004, 1000)


def stated(event=PLAN, **options):
    return state(event, **{"users_per_round": 1000, "population": 250_000, **options})


def test_the_default_delta_is_far_below_one_user_in_the_population():
    assert default_delta(250_000) == 4e-8
    assert default_delta(100) == 1e-6
    assert stated().delta == 4e-8


def test_a_delta_larger_than_the_default_is_shown_against_the_population():
    assert "delta x population = 1:" in "\n".join(stated(delta=4e-6).lines())
    assert "delta x population" not in "\n".join(stated().lines())


def test_the_statement_holds_what_the_contract_asks():
    value = stated().to_json()
    assert value["epsilon"] == epsilon([PLAN], 4e-8).value
    assert value["unit"] == "user" and value["adjacency"] == "add-or-remove-one"
    assert value["participation"] == "poisson" and value["accountant"] == "pld"
    assert (value["rounds"], value["noise_multiplier"], value["users_per_round"]) == (1000, 1.0, 1000)
    text = "\n".join(stated().lines())
    for said in (
        "1.03",
        "4e-08",
        "add/remove one user",
        "PLD",
        "1000 rounds",
        "factor of at most 2.8",
        "4 in 100 million",
    ):
        assert said in text


LEDGER = {"spent": {"epsilon": 1.25, "delta": 1e-7}, "budget": {"epsilon": 4.0, "delta": 1e-6}, "rule": "added up"}


@given(
    st.sampled_from(["poisson", "fixed", "none", "every-user"]),
    st.floats(0.3, 30),
    st.integers(1, 1000),
    st.sampled_from([None, LEDGER, LEDGER | {"budget": None}]),
    st.booleans(),
)
def test_in_short_it_has_all_that_bounds_in_some_ten_lines(participation, noise, rounds, ledger, simulation):
    rounds = 1 if participation == "every-user" else rounds
    event = SampledGaussian(counted_multiplier(participation, noise), 0.004, rounds)
    options = {"rounds_opened": 0, "ledger": ledger, "simulation": simulation, "runs": ["runs/low"]}
    statement = stated(event, participation=participation, accountant="rdp", **options)
    first, *others = statement.brief()
    assert first == statement.lines()[0] and "add/remove one user" in first
    text = " ".join(others)
    assert ("round planned" if rounds == 1 else f"{rounds} rounds planned") in text
    assert "part" in text and "fedprobe privacy runs/low" in text
    assert f"noise multiplier {noise:.4g}" in text and "Not covered: timing, traffic" in text
    assert ledger is None or ("ledger 1.25" in text and ledger["rule"] in text)
    # Beside the names of rows, in 80 columns.
    assert sum(len(textwrap.wrap(line, 69)) for line in others) <= 11


@given(st.one_of(st.just(0.0), st.floats(0.01, 30)), st.sampled_from([None, "primary model"]))
def test_no_form_of_it_leaves_out_that_it_is_no_protection(noise, conditional_on):
    statement = stated(SampledGaussian(noise, 0.1, 3), accountant="rdp", conditional_on=conditional_on)
    told = [" ".join(statement.lines()), " ".join(statement.brief()), statement.line()]
    for text in told:
        assert (statement.bound.value > 10) == ("not a meaningful" in text or "no guarantee" in text)
        assert (conditional_on is not None) == ("onditional on the primary model" in text)
        assert figure(statement.bound.value) in text and "(delta 4e-08)" in text
    paper = stated(accountant="paper")
    assert all("no bound" in text for text in (" ".join(paper.brief()), paper.line()))


@given(st.floats(1e-3, 20))
def test_at_most_is_never_less_than_e_to_the_epsilon(value):
    for said in (meaning(value, 1e-6, "it publishes"), meaning_in_short(value, 1e-6)):
        factor = float(re.search(r"(?:at most |factor of |change )([\d,.]+\d)", said)[1].replace(",", ""))
        assert math.exp(value) <= factor * (1 + 1e-12) and factor < 1.1 * math.exp(value) + 0.01


@given(st.floats(20.01, 1e5))
def test_a_power_of_e_is_rounded_up(value):
    said = re.search(r"e\^([\d,.]+\d)", meaning(value, 1e-6, "it publishes"))[1]
    assert value * (1 - 1e-9) <= float(said.replace(",", "")) <= value + (0.0101 if value < 1000 else 1)


@given(st.floats(1e-14, 0.9e-3))
def test_but_for_a_chance_of_is_no_less_than_delta(delta):
    said = re.search(
        r"but for a chance of ([\d.]+) in (\d+)(,000| million| billion| trillion)", meaning(1, delta, "it")
    )
    if said is not None:
        many = int(said[2]) * {",000": 1e3, " million": 1e6, " billion": 1e9, " trillion": 1e12}[said[3]]
        assert delta * (1 - 1e-9) <= float(said[1]) / many <= delta * 1.011


def test_a_delta_of_one_digit_keeps_it():
    assert "4 in 100 million" in meaning(1, 4e-8, "it") and "1 in 10 million" in meaning(1, 1e-7, "it")


def test_no_form_leaves_out_what_makes_a_figure_less_than_it_seems():
    large = stated(delta=4e-6)
    assert all("delta x population = 1" in text for text in (" ".join(large.brief()), large.line()))
    one, other = stated(runs=["a"]), stated(runs=["b"])
    both = compose([one, other], exclusive=False)
    assert both.indicative
    told = " ".join(both.brief())
    assert "indicative" in told and "1000 rounds planned" in told and "noise multiplier 1" in told
    assert "indicative" in both.line()
    assert "other runs on these users are not counted" in told
    paper = stated(accountant="paper", conditional_on="primary model")
    assert all("onditional on the primary model" in " ".join(text) for text in (paper.lines(), paper.brief()))


def test_the_factor_in_words_is_e_to_the_epsilon():
    bound = stated()
    assert math.exp(bound.bound.value) == pytest.approx(2.8, abs=0.05)


def test_above_ten_it_says_that_the_bound_is_no_protection():
    event = SampledGaussian(0.01, 10 / 425, 1000)
    text = "\n".join(stated(event, users_per_round=10, population=425).lines())
    assert "not a meaningful protection" in text and "Renyi DP" in text


def test_without_noise_epsilon_is_infinite_and_says_so():
    bound = stated(SampledGaussian(0.0, 0.1, 1))
    assert bound.to_json()["epsilon"] is None and bound.to_json()["epsilon_is"] == "infinite"
    assert bound.lines()[0].startswith("infinite")


def test_rounds_that_a_crash_lost_are_charged():
    lost = stated(rounds_opened=1100)
    assert lost.bound.value == epsilon([SampledGaussian(1.0, 0.004, 1100)], 4e-8).value
    assert "1000 rounds planned, 1100 opened" in "\n".join(lost.lines())
    assert stated(rounds_opened=10).bound == stated().bound, "a plan stays spent though stopped early"


def test_the_papers_arithmetic_is_shown_as_no_bound():
    paper = stated(accountant="paper")
    text = "\n".join(paper.lines())
    assert "2.38" in text and "no bound" in text
    assert "factor" not in text and not paper.to_json()["valid"]
    assert stated().to_json()["valid"]


def test_conditional_and_simulation_are_said():
    text = "\n".join(stated(conditional_on="primary model", simulation=True).lines())
    assert "Conditional on the primary model: covers only what is learned beyond it" in text and "simulation" in text
    assert "Conditional" not in "\n".join(stated().lines())


@pytest.mark.parametrize("on", [None, "primary model", "vocabulary"])
def test_what_it_is_conditional_on_is_in_the_object_too(on):
    value = stated(conditional_on=on).to_json()
    assert (value["conditional"], value["conditional_on"]) == (on is not None, on)


@given(st.lists(st.sampled_from([None, "primary model", "vocabulary"]), min_size=1, max_size=4), st.booleans())
def test_runs_together_are_conditional_on_all_that_any_of_them_is(conditions, exclusive):
    # One round without noise: the quickest to account for.
    one_round = SampledGaussian(0.0, 0.004, 1)
    runs = [stated(one_round, conditional_on=on) for on in conditions]
    together = compose(runs, exclusive=exclusive)
    text = "\n".join(together.lines())
    for on in ("primary model", "vocabulary"):
        assert (on in conditions) == (f"the {on}" in text)
        assert text.count(f"the {on}") <= 1
    assert (together.conditional_on is None) == (set(conditions) == {None})


def test_a_word_model_and_an_image_model_together_are_conditional_on_both():
    one_round = SampledGaussian(0.0, 0.004, 1)
    both = [stated(one_round, conditional_on=on) for on in ("vocabulary", "primary model")]
    assert "Conditional on the primary model and the vocabulary:" in "\n".join(compose(both, exclusive=False).lines())


def test_runs_add_up_unless_nobody_can_be_in_both():
    one, other = stated(runs=["a"]), stated(SampledGaussian(1.0, 0.008, 1000), runs=["b"])
    together = compose([one, other], exclusive=False)
    apart = compose([one, other], exclusive=True)
    assert together.bound.value == epsilon([*one.events, *other.events], 4e-8).value
    assert apart.bound == max(one.bound, other.bound, key=lambda bound: bound.value)
    assert together.bound.value > apart.bound.value
    assert together.runs == ["a", "b"] and "add up" in "\n".join(together.lines())
    assert "exclude each other" in "\n".join(apart.lines())


def test_parallel_composition_takes_the_larger_total_not_the_larger_noise_or_rate():
    quiet_long, loud_short = SampledGaussian(2.0, 0.01, 4000), SampledGaussian(0.8, 0.002, 10)
    apart = compose([stated(quiet_long), stated(loud_short)], exclusive=True)
    assert apart.bound.value == max(epsilon([event], 4e-8).value for event in (quiet_long, loud_short))


def test_several_runs_are_stated_at_the_largest_of_their_deltas():
    assert compose([stated(delta=1e-6), stated(delta=1e-7)], exclusive=False).delta == 1e-6


def test_a_plan_without_population_needs_a_delta():
    with pytest.raises(ValueError, match="--delta"):
        state(PLAN, users_per_round=None, population=None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.0324, "1.03"),
        (0.0123, "0.012"),
        (12.345, "12.35"),
        (11050.3, "11,050"),
        (5.458e6, "5.46e+06"),
        (math.inf, "infinite"),
    ],
)
def test_figures_read_well(value, shown):
    assert figure(value) == shown


def test_an_epsilon_of_zero_still_says_that_something_was_released():
    quiet = stated(SampledGaussian(1e5, 0.01, 5), delta=1e-2)
    assert quiet.bound.value == 0
    assert "do not change, but for a chance of" in quiet.sentence()


def test_runs_together_are_without_a_ledger_only_where_one_of_them_is():
    kept = stated(ledger={"spent": {"epsilon": 1.0, "delta": 1e-7}, "budget": None, "left": None, "rule": "added up"})
    together = compose([kept, kept], exclusive=False, accountant="rdp")
    assert "All plans on each population are in its ledger." in together.lines()[-1]
    together = compose([kept, stated()], exclusive=False, accountant="rdp")
    assert "No ledger: other runs on these users are not counted." in together.lines()[-1]
    assert "No ledger" in stated().lines()[-1] and "All plans on this population" in kept.lines()[-1]


def test_runs_together_say_the_plan_of_each_and_the_delta_against_the_largest_population():
    one = stated(runs=["a"], delta=0.01)
    other = stated(SampledGaussian(2.0, 0.008, 10), runs=["b"], population=50, delta=0.01)
    text = "\n".join(compose([one, other], exclusive=False).lines())
    assert "a: each user takes part in a round with probability 0.004; 1000 rounds" in text
    assert "b: each user takes part in a round with probability 0.008; 10 rounds" in text
    assert f"delta x population = {0.01 * one.population:.2g}:" in text
    assert "everything these runs publish" in text or "not a meaningful protection" in text


def test_what_was_chosen_one_after_another_is_composed_as_an_indication():
    runs = [state(SampledGaussian(2.0, 0.1, 5), users_per_round=10, population=100) for _ in range(2)]
    apart, planned = (compose(runs, exclusive=False, planned_together=known) for known in (False, True))
    assert apart.indicative and "indicative" in apart.composition and apart.to_json()["indicative"] is True
    # Dwork and Roth 2014, Theorem 3.16: this is what the ledger adds up.
    epsilons, deltas = (sum(values) for values in zip(*((one.bound.value, one.delta) for one in runs), strict=True))
    added = f"each at its own delta they add up to epsilon {figure(epsilons)} at delta {deltas:.3g}"
    assert added in apart.composition and added in " ".join(apart.brief())
    paper = [state(run.events[0], users_per_round=10, population=100, accountant="paper") for run in runs]
    assert "they add up to" not in compose(paper, exclusive=False, accountant="paper").composition
    told = "If all had been planned together"
    assert told in " ".join(apart.lines()) and told not in " ".join(planned.lines())
    assert not planned.indicative and "indicative" not in planned.composition
    assert apart.bound == planned.bound
    # Of cohorts without a common user each one's own plan counts.
    assert not compose(runs, exclusive=True).indicative
