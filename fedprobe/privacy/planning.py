"""From an epsilon that may be spent to the noise that a plan needs."""

from collections.abc import Callable

from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.events import SampledGaussian

# The answer is at most so much above the least noise that does.
_PRECISION = 1e-3
_LEAST, _MOST = 0.3, 1e5


def noise_for(
    event: Callable[[float], SampledGaussian], target_epsilon: float, delta: float, accountant: str = "auto"
) -> float:
    """The noise multiplier z with which `event(z)` costs at most `target_epsilon` at `delta`, to three digits.

    Found by bisection, since epsilon falls as z grows; on the safe side. Raises ValueError where no z from 0.3 to
    100,000 is the answer.
    """
    if not target_epsilon > 0:
        raise ValueError("--target-epsilon must be above 0")

    def enough(noise_multiplier: float) -> bool:
        return epsilon([event(noise_multiplier)], delta, accountant).value <= target_epsilon

    high = 1.0
    while not enough(high):
        high *= 2
        if high > _MOST:
            raise ValueError("no noise gets this plan to --target-epsilon; plan fewer rounds or users a round")
    low = high / 2
    while low > _LEAST and enough(low):
        low, high = low / 2, low
    while high / low > 1 + _PRECISION:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
