"""Rounds in this process and workers forked from it, each on one thread.

Contributions are int64, so their sum is the same for any number of workers and any order. Whoever is done with a user
takes the next one: users have more and fewer examples, and cores are not equally fast. One thread a worker: the models
are small, and two processes of one thread beat one process of two.
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
# What a worker takes in the place of a member when all are taken.
_NOBODY = -1
_INTEGER = np.dtype(np.int64)
# Users of a worker between two reports.
_BETWEEN_REPORTS = 32


class EngineError(FedprobeError):
    """A worker died: its round is lost, the checkpoint before it is not."""


class LocalEngine:
    """Maps a client update over a round's users. Use it as `with local_engine(...) as engine`."""

    def __init__(
        self,
        update: ClientUpdate,
        connections: Sequence[Connection],
        queue: int,
        on_users: Callable[[int], None] | None = None,
    ) -> None:
        self._update = update
        self._connections = connections
        self._queue = queue
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
        try:
            for connection in self._connections:
                send(connection, round, arrays)
            self._deal(members)
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

    def _deal(self, members: Sequence[int]) -> None:
        """Let the workers take `members`, one after the other, until there is nobody left for each of them."""
        queue = np.array([*members, *[_NOBODY] * len(self._connections)], dtype=_INTEGER)
        left = memoryview(queue).cast("B")
        while len(left):
            left = left[os.write(self._queue, left) :]


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
    # A pipe, and not a queue with a lock, which a worker that is killed would keep.
    taken_from, queue = os.pipe()
    try:
        if workers > 1:
            context = multiprocessing.get_context("fork")
            for _ in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_work, args=(update, theirs, taken_from, [ours, *connections], queue), daemon=True
                )
                process.start()
                theirs.close()
                processes.append(process)
                connections.append(ours)
        # Once they are all gone, nobody reads: the engine must not wait for it.
        os.close(taken_from)
        yield LocalEngine(update, connections, queue, on_users)
    finally:
        os.close(queue)
        for connection in connections:
            connection.close()
        for process in processes:
            process.join()
        torch.set_num_threads(threads)


def _work(
    update: ClientUpdate, connection: Connection, taken_from: int, inherited: Sequence[Connection], queue: int
) -> None:
    # Ctrl-C is the parent's to answer: it lets the round end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A traceback printed from here could hold a value of the data in its message.
    sys.stderr = open(os.devnull, "w")
    for other in inherited:
        other.close()
    os.close(queue)
    torch.set_num_threads(1)
    keep_freed_memory()
    while True:
        try:
            round, arrays = receive(connection)
        except EOFError:
            return
        public = {name: torch.from_numpy(array) for name, array in arrays.items()}
        members = _taken(taken_from)
        try:
            result = update(public, members, round)
        except DataError as error:
            result = error
        # After a DataError the round is lost: nobody need train the others.
        for _ in members:
            pass
        if isinstance(result, np.ndarray):
            send(connection, None, {_SUM: result})
        else:
            send(connection, result, {})


def _taken(queue: int) -> Iterator[int]:
    """The members that this worker takes, until nobody is left."""
    # The kernel lets one process at a time read, so that an integer is never split between two.
    while token := os.read(queue, _INTEGER.itemsize):
        member = int.from_bytes(token, sys.byteorder, signed=True)
        if member == _NOBODY:
            return
        yield member
    # The parent is gone.
    raise EOFError
