"""What every error that a user can cause has in common; no room of its own, and it imports none."""

from collections.abc import Collection
from difflib import get_close_matches


class FedprobeError(Exception):
    """An error to show as one line. `exit_code` is the command's (see the README); the message ends with what to do.

    A message never holds a value from the data, a user id, or a path inside the data.
    """

    exit_code = 1


class RequestError(FedprobeError):
    """What was asked for cannot be done as it was asked."""

    exit_code = 2


def instead_of(word: object, known: Collection[str]) -> str:
    """What to give instead of a `word` that is none of the `known`: the one that is nearest, or any."""
    # What a file calls a name may be a number.
    near = get_close_matches(str(word), known, n=1)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
