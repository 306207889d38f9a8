"""Poisson participation: what is drawn is what the accountant is told.

Tests of chance state the probability of a false alarm; it is below 1e-7 each.
"""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.server import participation as module
from fedprobe.server.participation import EveryUser, FixedParticipation, PoissonParticipation
from fedprobe.server.training import Plan

FALSE_ALARM = 1e-7

sizes = st.integers(1, 10**7)


@given(sizes, sizes)
def test_the_probability_is_users_per_round_of_the_population_and_at_most_one(users_per_round, population):
    q = PoissonParticipation(users_per_round, population).sampling_probability
    assert q == float(min(Fraction(1), Fraction(users_per_round, population)))


@given(sizes, sizes, st.floats(0, 100), st.integers(0, 10**6))
def test_the_event_states_the_very_probability_of_the_draw(users_per_round, population, noise_multiplier, rounds):
    participation = PoissonParticipation(users_per_round, population)
    event = participation.event(noise_multiplier, rounds)
    assert event.sampling_probability == participation.sampling_probability
    assert (event.noise_multiplier, event.rounds) == (noise_multiplier, rounds)


@given(st.integers(2, 10**9), st.data())
def test_of_all_64_bit_draws_exactly_the_share_q_takes_part(population, data):
    users_per_round = data.draw(st.integers(1, population - 1))
    participation = PoissonParticipation(users_per_round, population)
    # The first of 2**64 equally likely values that does not take part; the share below it is at most q.
    first_out = int(Fraction(participation.sampling_probability) * 2**64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            module, "uniform_bits", lambda count: np.array([0, first_out - 1, first_out, 2**64 - 1], dtype=np.uint64)
        )
        assert participation.draw(4).tolist() == [0, 1]


@pytest.mark.parametrize("users_per_round, population", [(0, 10), (-1, 10), (10, 0), (10, -1)])
def test_nobody_is_refused_and_so_is_an_empty_population(users_per_round, population):
    with pytest.raises(ValueError, match="at least 1"):
        PoissonParticipation(users_per_round, population)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 200))
def test_drawn_are_distinct_members_whatever_the_population_was_said_to_be(users_per_round, population, members):
    drawn = PoissonParticipation(users_per_round, population).draw(members)
    assert np.array_equal(drawn, np.unique(drawn))
    assert np.isin(drawn, np.arange(members)).all()
    if users_per_round >= population:
        assert len(drawn) == members


def inclusion(participation: PoissonParticipation, members: int, rounds: int, reproducibly: bool) -> np.ndarray:
    """Who took part in which round, [rounds, members] of 0 and 1."""
    included = np.zeros((rounds, members), int)
    keys = range(1000, 1000 + members)
    for round in range(rounds):
        if reproducibly:
            included[round, participation.draw_reproducibly(keys, 5, round)] = 1
        else:
            included[round, participation.draw(members)] = 1
    return included


both = pytest.mark.parametrize("reproducibly", [False, True], ids=["entropy", "seed"])


@both
@pytest.mark.parametrize("users_per_round, population", [(1, 40), (10, 35), (33, 40)])
def test_each_user_takes_part_with_probability_q(reproducibly, users_per_round, population):
    # The cohort's true size, 45, is none of the populations: q alone decides.
    q = users_per_round / population
    included = inclusion(PoissonParticipation(users_per_round, population), 45, 600, reproducibly)
    assert stats.binomtest(int(included.sum()), included.size, q).pvalue > FALSE_ALARM
    # And every user and every round alike, not only on average.
    for counts, trials in ((included.sum(axis=0), 600), (included.sum(axis=1), 45)):
        worst = min(stats.binomtest(int(count), trials, q).pvalue for count in counts)
        assert worst > FALSE_ALARM / len(counts)


@both
def test_users_take_part_independently_of_each_other(reproducibly):
    # Rounds of exactly two of four users would have 1/6 where independence has 1/4.
    included = inclusion(PoissonParticipation(2, 4), 4, 1500, reproducibly)
    for one, other in itertools.combinations(range(4), 2):
        joint = np.bincount(2 * included[:, one] + included[:, other], minlength=4)
        assert stats.chisquare(joint, np.full(4, 1500 / 4)).pvalue > FALSE_ALARM / 6


@both
def test_rounds_are_independent_of_each_other(reproducibly):
    included = inclusion(PoissonParticipation(1, 2), 1, 3000, reproducibly)[:, 0]
    pairs = np.bincount(2 * included[0::2] + included[1::2], minlength=4)
    assert stats.chisquare(pairs, np.full(4, 1500 / 4)).pvalue > FALSE_ALARM


@both
def test_the_number_of_users_has_the_binomials_variance(reproducibly):
    # Zero for rounds of a fixed size; 40 times as large if all came or none.
    rounds, members, q = 1500, 40, 0.25
    counts = inclusion(PoissonParticipation(1, 4), members, rounds, reproducibly).sum(axis=1)
    ratio = float(np.mean((counts - members * q) ** 2)) / (members * q * (1 - q))
    kurtosis = float(stats.binom.stats(members, q, moments="k"))
    deviation = np.sqrt((2 + kurtosis) / rounds)
    # The mean of 1,500 squares is nearly normal; a little room for its skewness.
    assert abs(ratio - 1) < 1.3 * stats.norm.isf(FALSE_ALARM / 2) * deviation


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 2**63 - 1), unique=True, max_size=30),
    st.integers(0, 2**40),
    st.integers(1, 10**6),
    st.data(),
)
def test_a_reproducible_draw_is_the_same_however_members_are_dealt_out(keys, seed, round, data):
    participation = PoissonParticipation(2, 5)
    whole = {keys[position] for position in participation.draw_reproducibly(keys, seed, round)}
    dealt = data.draw(st.permutations(keys))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(keys)), max_size=4)))
    parts = [dealt[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(keys)])]
    drawn = [part[position] for part in parts for position in participation.draw_reproducibly(part, seed, round)]
    assert len(drawn) == len(whole)
    assert set(drawn) == whole


def test_a_reproducible_draw_is_another_one_for_another_round_or_seed():
    # 200 members at q = 1/2: two draws agree by chance once in 2**200.
    participation, keys = PoissonParticipation(1, 2), range(200)
    draws = [
        tuple(participation.draw_reproducibly(keys, seed, round)) for seed, round in [(0, 1), (0, 2), (1, 1), (12, 1)]
    ]
    assert len(set(draws)) == len(draws)
    assert tuple(participation.draw_reproducibly(keys, 0, 1)) == draws[0]


def test_a_reproducible_draw_with_q_one_takes_everyone():
    assert PoissonParticipation(5, 5).draw_reproducibly(range(100), 0, 1).tolist() == list(range(100))


def plan(noise_multiplier: float, reproducible: bool, seed: int = 3) -> Plan:
    keys = list(range(200)) if reproducible else None
    return Plan(PoissonParticipation(1, 2), Mechanism(1.0, noise_multiplier), 10, 200, seed, keys)


@pytest.mark.parametrize("noise_multiplier", [1e-300, 0.01, 1.0])
def test_participation_from_the_seed_is_refused_where_there_is_noise(noise_multiplier):
    with pytest.raises(ValueError, match="no noise"):
        plan(noise_multiplier, reproducible=True)


def test_a_plan_without_noise_may_draw_from_its_seed():
    expected = PoissonParticipation(1, 2).draw_reproducibly(range(200), 3, 7)
    assert np.array_equal(plan(0.0, reproducible=True).draw(7), expected)


@pytest.mark.parametrize("noise_multiplier", [0.0, 1.0])
def test_otherwise_no_draw_is_ever_repeated(noise_multiplier):
    # 200 members at q = 1/2: two draws agree by chance once in 2**200.
    secret = plan(noise_multiplier, reproducible=False)
    draws = [tuple(secret.draw(1)) for _ in range(3)]
    assert len(set(draws)) == 3
    assert tuple(secret.participation.draw_reproducibly(range(200), 3, 1)) not in draws


@given(st.integers(0, 2000), st.integers(0, 10**6), st.floats(0, 100))
def test_every_user_is_everyone_and_is_charged_as_a_gaussian_without_sampling(members, seed, noise_multiplier):
    everyone = EveryUser()
    assert everyone.draw(members).tolist() == list(range(members))
    assert everyone.draw_reproducibly(range(members), seed, 1).tolist() == list(range(members))
    assert everyone.event(noise_multiplier, 1) == SampledGaussian(noise_multiplier, 1.0, 1)
    # The released sum is a sum: how many there are is no part of the release.
    assert everyone.users_per_round == 1
    assert module.participation("every-user", None, None) == everyone


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 60))
def test_rounds_of_a_fixed_size_have_it_unless_the_members_are_fewer_than_was_said(
    users_per_round, population, members
):
    drawn = FixedParticipation(users_per_round, population).draw(members)
    assert np.array_equal(drawn, np.unique(drawn)) and np.isin(drawn, np.arange(members)).all()
    if members >= population:
        assert len(drawn) == min(users_per_round, members)
    assert len(drawn) <= users_per_round


@pytest.mark.parametrize("members", [8, 12, 15])
def test_of_a_fixed_size_every_set_is_as_likely(members):
    """And where fewer members are than the lower bound of 12, each takes part as often as is accounted for."""
    rounds, participation = 3000, FixedParticipation(3, 12)
    included = inclusion(participation, members, rounds, reproducibly=False)
    q = 3 / max(members, 12)
    assert q <= participation.sampling_probability
    for counts in included.T:
        assert stats.binomtest(int(counts.sum()), rounds, q).pvalue > FALSE_ALARM / members
    # Two of the places are drawn together as often as any other two are.
    together = 3 * 2 / (max(members, 12) * (max(members, 12) - 1))
    for one, other in itertools.combinations(range(members), 2):
        both_in = int((included[:, one] & included[:, other]).sum())
        assert stats.binomtest(both_in, rounds, together).pvalue > FALSE_ALARM / members**2


def test_every_place_of_a_fixed_draw_is_as_likely_to_the_last_bit(monkeypatch):
    """2**64 is no multiple of 3: its last value would favour the first place."""
    drawn = iter([np.array([2**64 - 1], np.uint64), np.array([2**64 - 2], np.uint64)])
    monkeypatch.setattr(module, "uniform_bits", lambda count: next(drawn))
    assert FixedParticipation(1, 3).draw(3).tolist() == [(2**64 - 2) % 3]
