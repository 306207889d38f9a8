"""Every epsilon of the paper's tables and of the contract's, to the digits that are printed there."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprobe.privacy.accountants import ACCOUNTANTS, epsilon
from fedprobe.privacy.events import SampledGaussian

# qN, N, rounds, delta; the paper's printed epsilon (Tables 3, 5, 13), the same to one more digit, and what Poisson
# rounds cost under PLD. The last two columns were computed for the project's design with dp_accounting, by other code.
PAPER = [
    pytest.param(1_000, 250_000, 1_000, 4.00e-8, 2.38, 2.380, 1.032, id="Table 3, 3a"),
    pytest.param(1_000, 1_250_000, 1_000, 8.00e-9, 1.48, 1.482, 0.249, id="Table 3, 3b"),
    pytest.param(1_000, 500_000, 1_000, 2.00e-8, 1.79, 1.787, 0.565, id="Table 3, 6"),
    pytest.param(5_000, 342_477, 2_000, 2.92e-6, 9.22, 9.222, 4.223, id="Section 5"),
    pytest.param(1_000, 1_708_824, 1_000, 5.85e-9, 1.47, 1.472, 0.186, id="Table 13, 7a"),
    pytest.param(1_000, 1_964_706, 1_000, 5.09e-9, 1.40, 1.398, 0.163, id="Table 13, 7b"),
    pytest.param(1_000, 2_000_000, 1_000, 5.00e-9, 1.39, 1.393, 0.160, id="Table 13, 8a"),
    pytest.param(1_000, 1_930_588, 1_000, 5.18e-9, 1.40, 1.404, 0.166, id="Table 13, 8b"),
]
SIMULATIONS = [425, 2_125, 850, 2_905, 3_340, 3_400, 3_282]


@pytest.mark.parametrize(("users", "population", "rounds", "delta", "printed", "digits", "poisson"), PAPER)
def test_the_papers_epsilons_and_what_poisson_rounds_cost(users, population, rounds, delta, printed, digits, poisson):
    event = SampledGaussian(1.0, users / population, rounds)
    paper = epsilon([event], delta, "paper")
    assert paper.accountant == "paper"
    assert round(paper.value, 2) == printed
    assert round(paper.value, 3) == digits
    assert round(epsilon([event], delta, "pld").value, 3) == poisson
    assert epsilon([event], delta).accountant == "pld"


@pytest.mark.parametrize("population", SIMULATIONS)
def test_the_papers_simulations_have_no_meaningful_epsilon(population):
    event = SampledGaussian(0.01, 10 / population, 1_000)
    paper = epsilon([event], 1 / population, "paper").value
    assert f"{paper:.2e}" == "9.99e+06"
    assert 9.989e6 <= paper < 9.9935e6
    honest = epsilon([event], 1 / population)
    assert honest.accountant == "rdp"
    assert 5.4e6 < honest.value < 5.5e6


def test_table_5_misprints_its_population():
    event = SampledGaussian(1.0, 5_000 / 342_777, 2_000)
    assert round(epsilon([event], 2.92e-6, "paper").value, 3) == 9.213


def test_a_gaussian_without_sampling_has_its_known_epsilon():
    """q = 1 and one round: delta = Phi(-eps z + 1/(2z)) - e^eps Phi(-eps z - 1/(2z)) (Balle and Wang 2018)."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    for z, delta in ((1.0, 1e-6), (4.0, 1e-5)):
        exact = brentq(
            lambda e, z=z, d=delta: norm.cdf(1 / (2 * z) - e * z) - math.exp(e) * norm.cdf(-1 / (2 * z) - e * z) - d,
            0,
            50,
        )
        found = epsilon([SampledGaussian(z, 1.0, 1)], delta, "pld").value
        assert exact - 1e-9 <= found <= exact + 2e-3
        assert epsilon([SampledGaussian(z, 1.0, 1)], delta, "rdp").value >= exact


@pytest.mark.parametrize(
    "events",
    [
        [SampledGaussian(1.0, 0.01, 500)],
        [SampledGaussian(1.0, 0.01, 300), SampledGaussian(2.0, 0.05, 200)],
    ],
)
def test_pld_agrees_with_an_accountant_of_another_library(events):
    pld, prv = (epsilon(events, 1e-6, name).value for name in ("pld", "prv"))
    assert abs(pld - prv) < 5e-3
    assert epsilon(events, 1e-6, "rdp").value >= pld


@settings(max_examples=10, deadline=None)
@given(st.floats(0.8, 4.0), st.floats(1e-3, 0.2), st.integers(1, 300), st.floats(1e-9, 1e-3))
def test_more_of_anything_that_costs_costs_more(z, q, rounds, delta):
    def cost(z=z, q=q, rounds=rounds, delta=delta):
        return epsilon([SampledGaussian(z, q, rounds)], delta, "rdp").value

    here = cost()
    assert 0 <= here < math.inf
    assert cost(rounds=rounds + 1) >= here
    assert cost(z=z * 1.1) <= here * (1 + 1e-9)
    # The library leaves out orders whose series does not converge, so its bound may wobble a little in q.
    assert cost(q=q * 1.1) >= here * (1 - 1e-3)
    assert cost(delta=delta / 2) >= here
    split = [SampledGaussian(z, q, rounds - rounds // 2), SampledGaussian(z, q, rounds // 2)]
    assert epsilon(split, delta, "rdp").value == pytest.approx(here, rel=1e-9)


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_no_noise_is_infinite_and_no_rounds_is_nothing(accountant):
    assert epsilon([SampledGaussian(0.0, 0.1, 1)], 1e-6, accountant).value == math.inf
    assert epsilon([SampledGaussian(0.0, 0.1, 0)], 1e-6, accountant).value == 0.0
    assert epsilon([], 1e-6, accountant).value == 0.0


@pytest.mark.parametrize("accountant", ["pld", "prv"])
def test_an_accountant_says_what_it_cannot_do_and_who_can(accountant):
    with pytest.raises(ValueError, match="--accountant rdp"):
        epsilon([SampledGaussian(0.01, 0.1, 10)], 1e-6, accountant)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-6, 2.0, float("nan")])
def test_a_delta_outside_0_to_1_is_refused(delta):
    with pytest.raises(ValueError, match="delta"):
        epsilon([SampledGaussian(1.0, 0.1, 1)], delta)


def test_an_unknown_accountant_is_refused():
    with pytest.raises(ValueError, match="auto, pld, rdp, prv, paper"):
        epsilon([SampledGaussian(1.0, 0.1, 1)], 1e-6, "moments")


@pytest.mark.parametrize(
    "fields", [(1.0, 0.0, 1), (1.0, 1.1, 1), (-1.0, 0.5, 1), (float("inf"), 0.5, 1), (1.0, 0.5, -1)]
)
def test_an_impossible_event_is_refused(fields):
    with pytest.raises(ValueError):
        SampledGaussian(*fields)


@given(st.floats(0, 100), st.floats(1e-9, 1), st.integers(0, 10**6))
def test_an_event_survives_json(z, q, rounds):
    event = SampledGaussian(z, q, rounds)
    assert SampledGaussian.from_json(event.to_json()) == event


def test_an_event_of_another_kind_is_not_guessed_at():
    with pytest.raises(ValueError):
        SampledGaussian.from_json(
            {"event": "laplace", "noise_multiplier": 1.0, "sampling_probability": 1.0, "rounds": 1}
        )
