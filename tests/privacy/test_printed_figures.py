"""The paper's plans in rounds of exactly m users, honestly counted, and its simulations in any arithmetic.

The other columns of docs/what-epsilon-means.md are in test_accountants.py. The figures were computed beforehand with
dp_accounting alone: a Poisson-sampled Gaussian at q = m / N with half the noise multiplier, by PLD.
"""

import pytest

from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.events import rounds_of

FIXED = {
    "Table 3, 3a": (1000, 250_000, 1000, 4.00e-8, "10.147"),
    "Table 3, 3b": (1000, 1_250_000, 1000, 8.00e-9, "5.751"),
    "Table 3, 6": (1000, 500_000, 1000, 2.00e-8, "7.492"),
    "Section 5": (5000, 342_477, 2000, 2.92e-6, "27.475"),
    "Table 13, 7a": (1000, 1_708_824, 1000, 5.85e-9, "5.373"),
    "Table 13, 7b": (1000, 1_964_706, 1000, 5.09e-9, "5.216"),
    "Table 13, 8a": (1000, 2_000_000, 1000, 5.00e-9, "5.197"),
    "Table 13, 8b": (1000, 1_930_588, 1000, 5.18e-9, "5.236"),
}


@pytest.mark.parametrize("row", FIXED)
def test_rounds_of_a_fixed_size_to_the_last_digit(row):
    users_per_round, population, rounds, delta, expected = FIXED[row]
    event = rounds_of("fixed", users_per_round, population, 1.0, rounds)
    assert f"{epsilon([event], delta).value:.3f}" == expected


@pytest.mark.parametrize("population", [425, 850, 2125, 2905, 3282, 3340, 3400])
def test_the_simulations_protect_nobody_in_any_arithmetic(population):
    """9.99e6 in the paper, at deltas of 1 / N."""
    poisson, fixed = (rounds_of(kind, 10, population, 0.01, 1000) for kind in ("poisson", "fixed"))
    assert f"{epsilon([poisson], 1 / population, 'paper').value:.2e}" == "9.99e+06"
    assert epsilon([poisson], 1 / population).value == pytest.approx(5.4e6, rel=0.03)
    assert epsilon([fixed], 1 / population).value == pytest.approx(2e7, rel=0.15)
