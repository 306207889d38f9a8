"""Where torchrun started a command once a rank: the first of them is the command, the others work for it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def started_by_torchrun() -> bool:
    """Whether this process is a rank of a job that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def restarted_by_torchrun() -> bool:
    """Whether torchrun has started this command before, and starts it again as a rank was lost."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


@contextmanager
def first_rank() -> Iterator[None]:
    """The block runs in the first rank of a job, or in the only process; the other ranks work for it, and exit."""
    if not started_by_torchrun():
        yield
        return
    from fedprobe.server.engines.distributed import ranks

    try:
        with ranks():
            yield
    except SystemExit:
        leave(0)


def leave(code: int) -> None:
    """End this process with `code`; in a job of torchrun without taking Python down first.

    A thread of torch.distributed that asks for the interpreter's lock while that ends aborts the process now and then.
    """
    if started_by_torchrun():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
