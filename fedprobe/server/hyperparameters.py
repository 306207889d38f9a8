"""What every training's hyperparameters are held to, before anything is planned with them."""

from collections.abc import Sequence
from dataclasses import asdict


def require_in_range(training: object, at_least_one: Sequence[str], below_one: Sequence[str]) -> None:
    """Raise ValueError, which names the option, for a number of the dataclass `training` that makes no sense.

    No number may be negative or infinite; those named in `at_least_one` and `below_one` are bounded so, too.
    """
    for name, value in asdict(training).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, int | float) and not 0 <= value < float("inf"):
            raise ValueError(f"{option} cannot be negative or infinite")
        if name in at_least_one and value < 1:
            raise ValueError(f"{option} must be at least 1")
        if name in below_one and value >= 1:
            raise ValueError(f"{option} must be below 1")
