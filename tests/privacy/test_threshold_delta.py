"""What a threshold takes of delta: in events, by every accountant, in statements, composed, in a ledger."""

import json
import math
from dataclasses import replace

import pytest
from scipy.stats import norm

from fedprobe.privacy.accountants import CannotAccount, epsilon
from fedprobe.privacy.entries import Part
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.ledger import BudgetRefusal, create
from fedprobe.privacy.population import Population
from fedprobe.privacy.statement import compose, state

DELTA, TAKEN = 1e-6, 4e-7
PLAIN = SampledGaussian(4.0, 1.0, 1)
THRESHOLDED = replace(PLAIN, threshold_delta=TAKEN)


def test_an_event_says_its_threshold_only_where_it_has_one():
    assert "threshold_delta" not in PLAIN.to_json()
    assert THRESHOLDED.to_json()["threshold_delta"] == TAKEN
    for event in (PLAIN, THRESHOLDED):
        assert SampledGaussian.from_json(json.loads(json.dumps(event.to_json()))) == event


def test_an_event_of_an_older_ledger_is_read():
    old = {"event": "poisson-sampled-gaussian", "noise_multiplier": 4.0, "sampling_probability": 1.0, "rounds": 1}
    assert SampledGaussian.from_json(old) == PLAIN
    assert PLAIN.to_json() == old


@pytest.mark.parametrize("wrong", [-1e-9, 1.0, math.nan])
def test_a_threshold_takes_a_probability(wrong):
    with pytest.raises(ValueError, match="threshold"):
        replace(PLAIN, threshold_delta=wrong)


@pytest.mark.parametrize("accountant", ["auto", "pld", "rdp", "prv", "paper"])
@pytest.mark.parametrize("rounds", [1, 2])
def test_every_accountant_is_asked_at_what_the_threshold_leaves(accountant, rounds):
    plain = replace(PLAIN, sampling_probability=0.5, rounds=rounds)
    asked = epsilon([replace(plain, threshold_delta=TAKEN), plain], DELTA, accountant)
    assert asked == epsilon([plain, plain], DELTA - rounds * TAKEN, accountant)
    assert asked.value > epsilon([plain, plain], DELTA, accountant).value


def test_a_delta_that_thresholds_use_up_is_refused():
    assert epsilon([replace(THRESHOLDED, rounds=3)], 1.3e-6).value > 0
    with pytest.raises(CannotAccount, match="larger delta"):
        epsilon([replace(THRESHOLDED, rounds=3)], 1.2e-6)


def test_without_noise_nothing_is_left_to_bound():
    assert epsilon([replace(THRESHOLDED, noise_multiplier=0.0, threshold_delta=0.5)], DELTA).value == math.inf


def hockey_stick(factor: float, mean: float) -> float:
    """sup P(S) - factor Q(S) for P = N(mean, 1) and Q = N(0, 1), by hand (Balle and Wang 2018)."""
    loss = math.log(factor)
    return norm.cdf(mean / 2 - loss / mean) - factor * norm.cdf(-mean / 2 - loss / mean)


@pytest.mark.parametrize("mean", [0.05, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("chance", [1e-9, 1e-6, 0.01, 0.3])
@pytest.mark.parametrize("bound", [0.0, 0.5, 1.0, 4.0])
def test_a_mixture_costs_no_more_than_its_chance_in_either_direction(mean, chance, bound):
    """M(D) = G(D); M(D') is G(D') but for a chance, of something that M(D) never shows: the worst that it can be."""
    of_noise = hockey_stick(math.exp(bound), mean)
    with_her_first = (1 - chance) * hockey_stick(math.exp(bound) / (1 - chance), mean) + chance
    without_her_first = hockey_stick(math.exp(bound) * (1 - chance), mean)
    assert max(with_her_first, without_her_first) <= (of_noise + chance) * (1 + 1e-12)


def released(delta: float = DELTA, opened: int | None = None, name: str = "one"):
    return state(
        THRESHOLDED,
        users_per_round=None,
        population=None,
        participation="every-user",
        delta=delta,
        rounds_opened=opened,
        runs=[name],
    )


def test_a_statement_says_what_the_threshold_takes():
    statement = released()
    assert statement.to_json()["threshold_delta"] == TAKEN
    assert any("4e-07 of delta is the chance, at most, that a word is shown" in line for line in statement.lines())
    plain = state(PLAIN, users_per_round=1, population=1, delta=DELTA)
    assert plain.to_json()["threshold_delta"] == 0
    assert not any("of delta is" in line for line in plain.lines())


def test_a_release_that_a_crash_lost_takes_its_threshold_again():
    assert released(2e-6, opened=2).bound == epsilon([replace(PLAIN, rounds=2)], 2e-6 - 2 * TAKEN)


def test_composed_runs_keep_what_each_had_for_its_noise():
    both = compose([released(name="one"), released(name="other")], exclusive=False)
    assert both.delta == pytest.approx(DELTA + TAKEN)
    assert both.bound.value == pytest.approx(epsilon([PLAIN, PLAIN], DELTA - TAKEN).value, rel=1e-9)
    plain = state(PLAIN, users_per_round=1, population=1, delta=2e-6, runs=["third"])
    assert compose([plain, plain], exclusive=False).delta == 2e-6
    assert compose([plain, released()], exclusive=False).delta == pytest.approx(2e-6 + TAKEN)


def test_runs_that_share_nobody_cost_the_dearer():
    both = compose([released(name="one"), released(name="other")], exclusive=True)
    assert (both.delta, both.bound) == (DELTA, released().bound)


def test_runs_are_composed_at_the_delta_that_is_asked_for():
    both = compose([released(5e-6), released(5e-6)], exclusive=False, delta=5e-6)
    assert both.delta == 5e-6
    assert both.bound == epsilon([PLAIN, PLAIN], 5e-6 - 2 * TAKEN)
    with pytest.raises(CannotAccount):
        compose([released(), released()], exclusive=False, delta=2 * TAKEN)


def test_a_ledger_keeps_the_threshold_and_charges_it(tmp_path):
    ledger = create(Population("abc", "simulation", ledger=str(tmp_path)), [tmp_path / "s.h5"])
    ledger.reserve("train-charlm", [THRESHOLDED], delta=DELTA)
    (entry,) = ledger.entries()
    assert entry.events == (THRESHOLDED,)
    assert entry.epsilon == epsilon([PLAIN], DELTA - TAKEN).value
    assert entry.to_json()["events"][0]["threshold_delta"] == TAKEN


def test_a_part_of_a_study_is_taken_with_its_very_threshold(tmp_path):
    ledger = create(Population("abc", "simulation", ledger=str(tmp_path)), [tmp_path / "s.h5"])
    rule = {"criterion": "random"}
    declared = ledger.declare("words", [Part("words", "train-charlm", rule, (THRESHOLDED,))], delta=DELTA)
    assert declared.epsilon == epsilon([PLAIN], DELTA - TAKEN).value
    with pytest.raises(BudgetRefusal):
        ledger.reserve("train-charlm", [PLAIN], delta=DELTA, study="words", rule=rule)
    taken = ledger.reserve("train-charlm", [THRESHOLDED], delta=DELTA, study="words", rule=rule)
    assert taken.id == declared.id
