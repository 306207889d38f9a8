"""An attack on one round: what an adversary can prove of epsilon is never above what fedprobe prints.

Two neighbouring data sets, one user more in one of them, and many rounds on each. An experiment is a round of updates
of one coordinate; experiments lie side by side in one vector, whose coordinates a release treats independently, and
that makes millions of them quick. Draws, contributions and releases are those of the product.

A bound is above the true epsilon less than once in two million runs. Simulated, the bounds that must exceed a figure
do so by 5 of their standard deviations or more.
"""

import math

import numpy as np
import pytest
from scipy.stats import beta

from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.server.participation import FixedParticipation, Participation, PoissonParticipation

DELTA = 1e-5
CLIP_NORM = 0.1
FALSE_ALARM = 5e-7


def proved(more_often: np.ndarray, less_often: np.ndarray, trials: int, false_alarm: float) -> np.ndarray:
    """A lower bound on epsilon from how many of `trials` an event had in each of two neighbouring worlds.

    P <= e^epsilon Q + delta, so epsilon >= ln((P - delta) / Q), P from below and Q from above (Clopper and Pearson
    1934), each with probability 1 - `false_alarm`. -inf where that says nothing.
    """
    with np.errstate(divide="ignore"):
        least = np.where(more_often > 0, beta.ppf(false_alarm, more_often, trials - more_often + 1), 0.0)
        most = np.where(less_often < trials, beta.isf(false_alarm, less_often + 1, trials - less_often), 1.0)
        return np.log(np.maximum(least - DELTA, 0.0) / most)


def lower_bound(without: np.ndarray, with_her: np.ndarray, thresholds: np.ndarray) -> float:
    """The epsilon at DELTA that threshold tests on what was released prove, in both directions.

    The event is to be at or above a threshold, likelier with her, or below it, likelier without. `thresholds` are
    chosen before looking; every test, direction and bound has its share of FALSE_ALARM.
    """
    trials = len(without)
    above, above_with_her = (trials - np.searchsorted(np.sort(world), thresholds) for world in (without, with_her))
    share = FALSE_ALARM / (4 * len(thresholds))
    adding = proved(above_with_her, above, trials, share)
    removing = proved(trials - above, trials - above_with_her, trials, share)
    return max(0.0, float(adding.max()), float(removing.max()))


def attack(mechanism: Mechanism, without: np.ndarray, with_her: np.ndarray) -> float:
    """Release both worlds' sums (int64, one experiment a coordinate) and bound epsilon from what came out."""
    deviation = mechanism.noise_multiplier * mechanism.clip_norm
    return lower_bound(mechanism.release(without), mechanism.release(with_her), np.arange(-5, 5.5, 0.5) * deviation)


def printed(participation: Participation, noise_multiplier: float) -> float:
    """The epsilon of one round that fedprobe prints."""
    return epsilon([participation.event(noise_multiplier, 1)], DELTA).value


def contribution(direction: int) -> int:
    """What an update far beyond the clip norm, in one direction, adds to the sum: the worst case."""
    return int(Mechanism(CLIP_NORM, 1.0).contribution(np.array([direction * 17.0 * CLIP_NORM]))[0])


def poisson_worlds(participation: PoissonParticipation, experiments: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of rounds without and with one user; the others, independent of her, send zeros.

    Users take part independently, so that one draw over `experiments` members is her draw in each experiment.
    """
    without, with_her = np.zeros((2, experiments), dtype=np.int64)
    with_her[participation.draw(experiments)] += contribution(1)
    return without, with_her


EVERYBODY = PoissonParticipation(1, 1)


@pytest.mark.parametrize(("noise_multiplier", "experiments"), [(1, 1_000_000), (2, 1_000_000), (4, 4_000_000)])
def test_one_round_of_everybody_proves_more_than_half_of_the_printed_epsilon_and_never_more(
    noise_multiplier, experiments
):
    worlds = poisson_worlds(EVERYBODY, experiments)
    claimed = printed(EVERYBODY, noise_multiplier)
    assert claimed / 2 < attack(Mechanism(CLIP_NORM, noise_multiplier), *worlds) <= claimed


@pytest.mark.parametrize("noise_multiplier", [1, 2, 4])
def test_half_of_the_noise_is_found_out(noise_multiplier):
    worlds = poisson_worlds(EVERYBODY, 1_000_000)
    assert attack(Mechanism(CLIP_NORM, noise_multiplier / 2), *worlds) > printed(EVERYBODY, noise_multiplier)


@pytest.mark.parametrize(("users_per_round", "population"), [(1, 2), (1, 10)])
def test_a_poisson_sample_proves_no_more_than_its_amplified_epsilon_and_half_of_the_noise_does(
    users_per_round, population
):
    participation = PoissonParticipation(users_per_round, population)
    claimed = printed(participation, 1)
    assert claimed < printed(EVERYBODY, 1)
    worlds = poisson_worlds(participation, 1_000_000)
    assert attack(Mechanism(CLIP_NORM, 1), *worlds) <= claimed
    assert attack(Mechanism(CLIP_NORM, 0.5), *worlds) > claimed


def fixed_worlds(participation: FixedParticipation, experiments: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of rounds of a fixed size without and with one user, who pushes against all others.

    As many others as the promised lower bound; who takes part is drawn anew for each experiment.
    """
    everybody = np.full(participation.population + 1, contribution(-1), dtype=np.int64)
    everybody[-1] = contribution(1)
    without, with_her = (
        np.fromiter(
            (everybody[participation.draw(members)].sum() for _ in range(experiments)), np.int64, count=experiments
        )
        for members in (participation.population, participation.population + 1)
    )
    # Recentred by a public constant, which changes no test: the sum of a round of the others alone.
    others = participation.users_per_round * contribution(-1)
    return without - others, with_her - others


@pytest.fixture(scope="module")
def nearly_everybody() -> tuple[FixedParticipation, tuple[np.ndarray, np.ndarray]]:
    """50 of 50 or of 51 users: she nearly always displaces somebody, and the sum moves by 2 S."""
    participation = FixedParticipation(50, 50)
    # Of 400,000 experiments at z = 1 one in 25 would prove less than half.
    return participation, fixed_worlds(participation, 800_000)


@pytest.mark.parametrize("noise_multiplier", [1, 2, 4])
def test_a_round_of_a_fixed_size_proves_more_than_half_of_the_printed_epsilon_and_never_more(
    nearly_everybody, noise_multiplier
):
    participation, worlds = nearly_everybody
    claimed = printed(participation, noise_multiplier)
    proof = attack(Mechanism(CLIP_NORM, noise_multiplier), *worlds)
    assert claimed / 2 < proof <= claimed
    # Counted with the sensitivity of Poisson rounds, S, the epsilon would be wrong.
    assert proof > printed(PoissonParticipation(50, 50), noise_multiplier)


# At z = 1 the printed epsilon is 10, and to prove more would take millions of experiments.
@pytest.mark.parametrize("noise_multiplier", [2, 4])
def test_half_of_the_noise_on_a_round_of_a_fixed_size_is_found_out(nearly_everybody, noise_multiplier):
    participation, worlds = nearly_everybody
    assert attack(Mechanism(CLIP_NORM, noise_multiplier / 2), *worlds) > printed(participation, noise_multiplier)


def test_a_fixed_size_sample_proves_no_more_than_its_amplified_epsilon():
    participation = FixedParticipation(3, 12)
    claimed = printed(participation, 2.0)
    assert claimed < printed(FixedParticipation(12, 12), 2.0)
    assert attack(Mechanism(CLIP_NORM, 2.0), *fixed_worlds(participation, 100_000)) <= claimed


def test_the_estimator_finds_the_epsilon_of_a_fair_lie():
    """Randomised response that lies once in four has epsilon ln 3: approached from below by many answers."""
    lies = np.random.default_rng(0).random((2, 400_000)) < 0.25
    without, with_her = lies[0].astype(float), 1.0 - lies[1]
    assert 0.95 * math.log(3) < lower_bound(without, with_her, np.array([0.5])) <= math.log(3)


def test_the_estimator_proves_nothing_of_equal_worlds():
    equal = np.random.default_rng(0).standard_normal((2, 100_000))
    assert lower_bound(*equal, np.linspace(-3, 3, 13)) == 0.0
