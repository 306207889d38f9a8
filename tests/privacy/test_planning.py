"""The noise that a target asks for is enough, and hardly more than enough."""

import pytest

from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.planning import noise_for


@pytest.mark.parametrize("target", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("probability, rounds", [(1.0, 1), (0.01, 100), (0.3, 20)])
def test_it_is_enough_and_a_little_less_is_not(target, probability, rounds):
    def event(z: float) -> SampledGaussian:
        return SampledGaussian(z, probability, rounds)

    z = noise_for(event, target, 1e-6, "rdp")
    assert epsilon([event(z)], 1e-6, "rdp").value <= target
    assert z <= 0.3 or epsilon([event(z / 1.002)], 1e-6, "rdp").value > target


def test_a_smaller_target_never_asks_for_less_noise():
    noise = [noise_for(lambda z: SampledGaussian(z, 0.1, 50), target, 1e-6, "rdp") for target in (0.2, 1, 5)]
    assert noise == sorted(noise, reverse=True)


@pytest.mark.parametrize("target", [0.0, -1.0, 1e-12])
def test_what_cannot_be_reached_is_said(target):
    with pytest.raises(ValueError, match="--target-epsilon"):
        noise_for(lambda z: SampledGaussian(z, 1.0, 1), target, 1e-9, "rdp")
