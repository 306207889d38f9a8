"""A study of ten plans of every kind, against a composition of their privacy losses by other code."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.entries import Part
from fedprobe.privacy.events import SampledGaussian, rounds_of
from fedprobe.privacy.histogram import accuracy_histogram_of, membership_histogram_of
from fedprobe.privacy.ledger import create
from fedprobe.privacy.population import register

DELTA = 1e-6
N = 100_000
# GANs, language models, a classifier, counts; the last but two in rounds of a fixed size, one without amplification.
STUDY = [
    accuracy_histogram_of(8.0).event(),
    membership_histogram_of(12.0).event(),
    rounds_of("poisson", 1_000, N, 1.0, 600),
    rounds_of("poisson", 1_000, N, 1.2, 1_000),
    rounds_of("poisson", 500, N // 4, 0.9, 300),
    rounds_of("poisson", 2_000, N, 1.5, 800),
    rounds_of("poisson", 5_000, N, 3.0, 400),
    rounds_of("fixed", 500, N, 2.4, 500),
    rounds_of("fixed", 100, N, 2.0, 200),
    rounds_of("none", 1_000, N, 60.0, 50),
]
# The range and resolution of the convolution: losses from -WIDTH / 2 to WIDTH / 2.
POINTS, WIDTH = 2**17, 64.0


def loss_of(event: SampledGaussian, x: np.ndarray) -> np.ndarray:
    """ln((1 - q) + q exp((2x - 1) / (2 z^2))): what an outcome x of one round says for taking part, increasing in x."""
    q, z = event.sampling_probability, event.noise_multiplier
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log1p(-q), math.log(q) + (2 * x - 1) / (2 * z**2))


def outcome_of(event: SampledGaussian, loss: np.ndarray) -> np.ndarray:
    """The x of that loss; -inf where none is so small."""
    q, z = event.sampling_probability, event.noise_multiplier
    inside = np.maximum((np.exp(np.minimum(loss, 700)) - (1 - q)) / q, 0)
    with np.errstate(divide="ignore"):
        return z**2 * np.log(inside) + 0.5


def spectrum(event: SampledGaussian, removed: bool) -> np.ndarray:
    """The transform of one round's loss, of a user `removed` or added: probabilities of cells, by their middles."""
    step = WIDTH / POINTS
    edges = (np.arange(POINTS + 1) - POINTS / 2 - 0.5) * step
    q, z = event.sampling_probability, event.noise_multiplier
    if removed:
        x = outcome_of(event, edges)
        below = (1 - q) * norm.cdf(x / z) + q * norm.cdf((x - 1) / z)
    else:
        below = norm.sf(outcome_of(event, -edges) / z)
    # Circular, with the loss 0 in front.
    return np.fft.rfft(np.fft.ifftshift(np.diff(below)))


def convolved(events: list[SampledGaussian]) -> float:
    """The epsilon at DELTA of all events, the larger of the two directions."""
    losses = (np.arange(POINTS) - POINTS / 2) * WIDTH / POINTS
    found = []
    for removed in (True, False):
        total = np.prod([spectrum(event, removed) ** event.rounds for event in events], axis=0)
        probabilities = np.fft.fftshift(np.fft.irfft(total, POINTS))
        low, high = 0.0, WIDTH / 2
        for _ in range(50):
            middle = (low + high) / 2
            above = losses > middle
            delta = float(np.sum(probabilities[above] * -np.expm1(middle - losses[above])))
            low, high = (middle, high) if delta > DELTA else (low, middle)
        found.append(high)
    return max(found)


def test_the_convolution_finds_what_is_known_of_a_gaussian():
    """Balle and Wang 2018: delta = Phi(1/(2z) - eps z) - e^eps Phi(-1/(2z) - eps z); 9 rounds of z = 6 are z = 2."""
    value = convolved([SampledGaussian(6.0, 1.0, 9)])
    exact = norm.cdf(0.25 - 2 * value) - math.exp(value) * norm.cdf(-0.25 - 2 * value)
    assert exact == pytest.approx(DELTA, rel=1e-3)


def test_a_study_of_ten_plans_costs_what_another_composition_says(tmp_path):
    population, _ = register([tmp_path / "s.h5"], "simulation", delta=10 * DELTA)
    ledger = create(population, [tmp_path / "s.h5"])
    parts = [Part(str(number), "select", {}, (event,)) for number, event in enumerate(STUDY)]
    declared = ledger.declare("ten", parts, delta=DELTA)
    assert declared.epsilon == pytest.approx(convolved(STUDY), rel=0.01)
    # Together they cost far less than one after another.
    assert declared.epsilon < 0.7 * sum(epsilon([event], DELTA, coarse=True).value for event in STUDY)


@pytest.mark.filterwarnings("error")
def test_prv_agrees_about_a_count_and_a_training():
    """A third one, of another library; of all ten it says the same, in half a minute."""
    few = [STUDY[0], STUDY[2]]
    assert epsilon(few, DELTA, "prv").value == pytest.approx(convolved(few), rel=0.01)
