"""Rounds dealt to the ranks of a job that torchrun started, on one machine or on several.

Rank 0 is the command: it alone opens rounds, draws who takes part, draws noise, writes and prints. The others work for
it. They get the client update once, then for every round the public parameters and its members, train and clip their
share of them, and give back an integer sum. Contributions are int64, so the reduction is the same for any number of
ranks and any order. What the ranks send each other are sums without noise: the network between them is as private as
the shards.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from fedprobe.clients.updates import ClientUpdate, DataError, Public
from fedprobe.models.memory import keep_freed_memory
from fedprobe.server.engines.local import EngineError

# A rank that died shows at once; one that waits for rank 0 to measure a cohort may wait for long.
_PATIENCE = timedelta(days=365)


def joined() -> bool:
    """Whether this process is rank 0 of a job with others to work for it."""
    return dist.is_available() and dist.is_initialized()


@contextmanager
def ranks(init_method: str = "env://") -> Iterator[None]:
    """Join the job: on rank 0 the block runs; on the others it never does, they work until it ends, and exit.

    Raises EngineError inside the block once torchrun stops the job, as it does where a rank was lost.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, init_method, timeout=_PATIENCE, **_place(init_method))
    if dist.get_rank() > 0:
        _work()
        sys.exit(0)
    before = signal.signal(signal.SIGTERM, _stopped)
    keep_freed_memory()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _dismiss()


class DistributedEngine:
    """Maps a client update over a round's users, dealt to all ranks. For rank 0; `ranks` is what the others do."""

    def __init__(self, update: ClientUpdate) -> None:
        self._update = update

    def sum(self, public: Public, members: Sequence[int], round: int) -> np.ndarray | Counter[str]:
        """The sum of the updates of `members` (positions in the cohort) from `public` parameters.

        int64 [P], or of words a sparse one: integers by word. Raises EngineError where a rank was lost.
        """
        layout = {name: (tensor.shape, tensor.dtype, tensor.device.type) for name, tensor in public.items()}
        with ExitStack() as unless_it_ends_well:
            # In the middle of a round nobody waits for the same thing any more: whoever is left gives up.
            unless_it_ends_well.callback(dist.destroy_process_group)
            with _no_rank_lost():
                _say("round", layout, members, round)
                for tensor in public.values():
                    dist.broadcast(tensor.contiguous(), 0)
            try:
                total = _sum(self._update, public, members, round)
            except DataError:
                # All ranks know of it.
                unless_it_ends_well.pop_all()
                raise
            unless_it_ends_well.pop_all()
            return total


@contextmanager
def distributed_engine(update: ClientUpdate) -> Iterator[DistributedEngine]:
    """An engine over all ranks of the job, each on one thread. Raises DataError where they have different shards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _no_rank_lost():
            _say("update", update)
            _all_of(None)
        yield DistributedEngine(update)
    finally:
        torch.set_num_threads(threads)


def _work() -> None:
    """What every rank but the first does: rounds, until it is told that there are no more, or the others are gone."""
    # Ctrl-C is rank 0's to answer: it lets the round end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever prints here, torch's own code among it: a traceback could hold a value of the data.
    sys.stdout = sys.stderr = nowhere = open(os.devnull, "w")
    os.dup2(nowhere.fileno(), 1)
    os.dup2(nowhere.fileno(), 2)
    torch.set_num_threads(1)
    keep_freed_memory()
    update: ClientUpdate | None = None
    while True:
        fault = None
        try:
            with _no_rank_lost():
                what, *told = _hear()
        except DataError as error:
            # What was to be heard is an update, of shards that are not those of rank 0.
            what, told, fault = "update", [None], error
        if what == "end":
            dist.destroy_process_group()
            return
        # Rank 0 gets a DataError as well, and may go on.
        with suppress(DataError):
            if what == "update":
                (update,) = told
                with _no_rank_lost():
                    _all_of(fault)
                continue
            layout, members, round = told
            with _no_rank_lost():
                public = {name: _received(*of) for name, of in layout.items()}
            _sum(update, public, members, round)


def _sum(update: ClientUpdate, public: Public, members: Sequence[int], round: int) -> Any:
    """This rank's share of a round; on rank 0 return the sum over all. Raises the first DataError of any rank."""
    count = dist.get_world_size()
    fault = None
    try:
        result = update(public, members[dist.get_rank() :: count], round)
    except DataError as error:
        result, fault = None, error
    with _no_rank_lost():
        _all_of(fault)
        if isinstance(result, np.ndarray):
            device = next((tensor.device for tensor in public.values()), torch.device("cpu"))
            total = torch.from_numpy(result).to(device)
            dist.reduce(total, 0, dist.ReduceOp.SUM)
            return total.cpu().numpy()
        tables: list[Any] | None = [None] * count if dist.get_rank() == 0 else None
        dist.gather_object(result, tables)
        return None if tables is None else reduce(add, tables)


def _all_of(fault: DataError | None) -> None:
    """Wait for all ranks. Raises the first DataError that one of them has."""
    faults: list[DataError | None] = [None] * dist.get_world_size()
    dist.all_gather_object(faults, fault)
    for one in faults:
        if one is not None:
            raise one


def _place(init_method: str) -> dict[str, int]:
    """Which rank this is of how many, where the way to meet does not say it."""
    if init_method == "env://":
        return {}
    return {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}


def _received(shape: torch.Size, dtype: torch.dtype, device: str) -> torch.Tensor:
    tensor = torch.empty(shape, dtype=dtype, device=device)
    dist.broadcast(tensor, 0)
    return tensor


def _say(*words: Any) -> None:
    dist.broadcast_object_list([words], 0)


def _hear() -> tuple:
    heard: list[Any] = [None]
    dist.broadcast_object_list(heard, 0)
    return heard[0]


def _dismiss() -> None:
    """Let the other ranks end, if they are still there."""
    if joined():
        try:
            _say("end")
            dist.destroy_process_group()
        except RuntimeError:
            # Somebody was lost after the last round, when there was nothing left to lose.
            return


def _stopped(signum: int, frame: Any) -> None:
    # Where the job is given up already, the command is about to end, and is let say why.
    if joined():
        raise _lost()


def _lost() -> EngineError:
    return EngineError(
        "a rank of torchrun was lost, or the job was stopped: its round is lost and stays counted; go on with --resume"
    )


@contextmanager
def _no_rank_lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _lost() from error
