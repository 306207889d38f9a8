"""Where a file about several runs goes that nobody named."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from fedprobe.runs import Run

_LONGEST = 100


def beside_the_first(runs: Sequence[Run], command: str, suffix: str, more: Sequence[str] = ()) -> Path:
    """`command`-A-B...`suffix` beside the first run: all runs are in the name, and what `more` says.

    Where that is too long for a name, the first run, how many others, and a digest of all.
    """
    names = [*dict.fromkeys(run.name for run in runs), *more]
    joined = "-".join(names)
    if len(joined) > _LONGEST:
        digest = sha256("\n".join(names).encode()).hexdigest()[:8]
        joined = f"{names[0][: _LONGEST // 2]}-and-{len(names) - 1}-others-{digest}"
    return runs[0].path.parent / f"{command}-{joined}{suffix}"
