"""What a finding is."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Finding:
    """A hypothesis about what went wrong, held against two sets of synthetic samples.

    `name` is a stable word; `strength` runs from 0 to 1 with a 95% interval (`low`, `high`); `says` is one sentence,
    `evidence` another.
    """

    name: str
    strength: float
    low: float
    high: float
    says: str
    evidence: str

    def to_json(self) -> dict:
        return asdict(self)
