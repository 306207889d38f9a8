"""Rounds in this process and workers forked from it, each on one thread.

Contributions are int64, so their sum is the same for any number of workers and any order. One thread a worker:
the models are small, and two processes of one thread beat one process of two.
"""

import multiprocessing
import operator
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from multiprocessing.connection import Connection

import numpy as np
import torch

from fedprobe.clients.updates import ClientUpdate, DataError, Public
from fedprobe.errors import FedprobeError
from fedprobe.models.memory import keep_freed_memory
from fedprobe.server.engines.arrays import receive, send

_SUM = "sum"
# Users of a worker between two reports.
_BETWEEN_REPORTS = 32


class EngineError(FedprobeError):
    """A worker died: its round is lost, the checkpoint before it is not."""


class LocalEngine:
    """Maps a client update over a round's users. Use it as `with local_engine(...) as engine`."""

    def __init__(
        self, update: ClientUpdate, connections: Sequence[Connection], on_users: Callable[[int], None] | None = None
    ) -> None:
        self._update = update
        self._connections = connections
        self._on_users = on_users

    def sum(self, public: Public, members: Sequence[int], round: int) -> np.ndarray | Counter[str]:
        """The sum of the updates of `members` (positions in the cohort) from `public` parameters.

        int64 [P], or of words a sparse one: integers by word.
        """
        if self._on_users is None:
            return self._sum(public, members, round)
        # Integers: the same sum, however many are summed at once.
        at_once = _BETWEEN_REPORTS * max(1, len(self._connections))
        total = self._sum(public, members[:at_once], round)
        self._on_users(min(at_once, len(members)))
        for start in range(at_once, len(members), at_once):
            total = operator.iadd(total, self._sum(public, members[start : start + at_once], round))
            self._on_users(min(start + at_once, len(members)))
        return total

    def _sum(self, public: Public, members: Sequence[int], round: int) -> np.ndarray | Counter[str]:
        if not self._connections:
            return self._update(public, members, round)
        arrays = {name: tensor.cpu().numpy() for name, tensor in public.items()}
        shares = [members[number :: len(self._connections)] for number in range(len(self._connections))]
        try:
            for connection, share in zip(self._connections, shares, strict=True):
                send(connection, (share, round), arrays)
            answers = [receive(connection) for connection in self._connections]
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise EngineError(
                "a worker process died; go on with --resume, and with --workers 1 to see where it fails"
            ) from error
        sums = [received.get(_SUM, message) for message, received in answers]
        for result in sums:
            if isinstance(result, DataError):
                raise result
        return reduce(operator.iadd, sums)


@contextmanager
def local_engine(
    update: ClientUpdate, workers: int | None = None, on_users: Callable[[int], None] | None = None
) -> Iterator[LocalEngine]:
    """An engine with `workers` forked processes (default: one a core); 1 stays in this process.

    `on_users`, where it is given, is told within a round how many of its users are done: of a simulation alone.
    The parent's torch threads are set to one while it runs, so that every update is computed alike.
    """
    workers = workers or os.cpu_count() or 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    processes, connections = [], []
    try:
        if workers > 1:
            context = multiprocessing.get_context("fork")
            for _ in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(update, theirs, [ours, *connections]), daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
                connections.append(ours)
        yield LocalEngine(update, connections, on_users)
    finally:
        for connection in connections:
            connection.close()
        for process in processes:
            process.join()
        torch.set_num_threads(threads)


def _work(update: ClientUpdate, connection: Connection, inherited: Sequence[Connection]) -> None:
    # Ctrl-C is the parent's to answer: it lets the round end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A traceback printed from here could hold a value of the data in its message.
    sys.stderr = open(os.devnull, "w")
    for other in inherited:
        other.close()
    torch.set_num_threads(1)
    keep_freed_memory()
    while True:
        try:
            (members, round), arrays = receive(connection)
        except EOFError:
            return
        public = {name: torch.from_numpy(array) for name, array in arrays.items()}
        try:
            result = update(public, members, round)
        except DataError as error:
            result = error
        if isinstance(result, np.ndarray):
            send(connection, None, {_SUM: result})
        else:
            send(connection, result, {})
