"""What every error that a user can cause has in common; no room of its own, and it imports nothing."""


class FedprobeError(Exception):
    """An error to show as one line. `exit_code` is the command's (see the README); the message ends with what to do.

    A message never holds a value from the data, a user id, or a path inside the data.
    """

    exit_code = 1


class RequestError(FedprobeError):
    """What was asked for cannot be done as it was asked."""

    exit_code = 2
