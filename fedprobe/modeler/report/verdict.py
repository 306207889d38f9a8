"""What every section of samples has in common: the runs in it, and what was tested between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.two_sample import TwoSample
from fedprobe.runs import Run


@dataclass(frozen=True)
class Opened:
    """A run as it was given: `name` is what the report calls it, `kind` what it makes.

    `sampler` draws from the checkpoint of `round`; None for a kind without samples.
    """

    run: Run
    round: int
    given: Path
    kind: str
    sampler: Any
    name: str = ""


@dataclass(frozen=True)
class Verdict:
    """What was tested between two runs: the healthy one `a`, or the one before, and `b`; `names` were looked for.

    `two_sample` is None where they are no samples, but released words.
    """

    names: Sequence[str]
    a: str
    b: str
    two_sample: TwoSample | None
    findings: Sequence[Finding]

    @property
    def looked_for(self) -> str:
        return ", ".join(self.names)
