"""What a finding is."""

import math
from dataclasses import dataclass, field, fields

from scipy.stats import binomtest

from fedprobe.modeler.findings.shown import Shown


@dataclass(frozen=True)
class Finding:
    """A hypothesis about what went wrong, held against two sets of synthetic samples.

    `name` is a stable word; `strength` runs from 0 to 1 with a 95% interval (`low`, `high`); `says` is one sentence,
    `evidence` another; `shown` are the samples that show it best. `symptom`: what it does to the primary model, which
    causes may explain.
    """

    name: str
    strength: float
    low: float
    high: float
    says: str
    evidence: str
    shown: Shown | None = field(default=None, compare=False)
    symptom: bool = False

    @property
    def margin(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def to_json(self) -> dict:
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "shown"}
        return plain | {"shown": None if self.shown is None else self.shown.to_json()}


def difference_of_shares(
    hits: int, count: int, base_hits: int, base_count: int, confidence: float = 0.95
) -> tuple[float, float, float]:
    """hits/count - base_hits/base_count and its interval, from the Wilson intervals of both.

    Source: Newcombe 1998, method 10.
    """
    first = binomtest(hits, count).proportion_ci(confidence, method="wilson")
    second = binomtest(base_hits, base_count).proportion_ci(confidence, method="wilson")
    p, q = hits / count, base_hits / base_count
    low = p - q - math.hypot(p - first.low, second.high - q)
    high = p - q + math.hypot(first.high - p, q - second.low)
    return p - q, max(-1.0, low), min(1.0, high)
