"""Work on many users in processes forked from this one, each on one thread, as the rounds of a training are."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

from fedprobe.errors import FedprobeError

Piece, Done = TypeVar("Piece"), TypeVar("Done")
# Fewer pieces a process than this are done sooner than processes are forked.
_LEAST_PIECES = 2


class ProcessError(FedprobeError):
    """A process died, as one does that the system kills for want of memory."""


def in_processes(work: Callable[[Piece], Done], pieces: Sequence[Piece], workers: int | None = None) -> Iterator[Done]:
    """`work` of every one of `pieces`, in their order, by so many forked `workers` (None: one a core).

    What is done must be pickled, pieces too; `work` need not. Torch has one thread everywhere meanwhile, in this
    process too where it does the work itself, so that the result is the same for any number of workers.
    Raises what `work` raises, and ProcessError where a process died.
    """
    workers = min(workers or os.cpu_count() or 1, len(pieces) // _LEAST_PIECES)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if workers <= 1:
            yield from map(work, pieces)
            return
        context = multiprocessing.get_context("fork")
        executor = ProcessPoolExecutor(workers, context, _begin, (work,))
        try:
            yield from executor.map(_call, pieces)
        except BrokenProcessPool:
            raise ProcessError("a process died, perhaps for want of memory; try it with --workers 1") from None
        finally:
            executor.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(threads)


_work: Callable | None = None


def _begin(work: Callable) -> None:
    global _work
    _work = work
    # Ctrl-C is the parent's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A traceback printed from here could hold a value of the data in its message.
    sys.stderr = open(os.devnull, "w")
    torch.set_num_threads(1)


def _call(piece: object) -> object:
    return _work(piece)
