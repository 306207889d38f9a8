"""Pieces of work come back in their order from any number of processes, and so do their errors, without a trace."""

import os

import pytest
import torch

from fedprobe.clients.data.index import DataError
from fedprobe.clients.processes import ProcessError, in_processes

PIECES = [range(first, first + 3) for first in range(0, 60, 3)]


@pytest.mark.parametrize("workers", [None, 1, 2, 3, 50])
def test_the_work_is_the_same_and_in_order_for_any_number_of_processes(workers):
    offset = 7  # A closure, which no pickle holds.
    threads = torch.get_num_threads()
    done = list(in_processes(lambda piece: (offset + sum(piece), torch.get_num_threads()), PIECES, workers))
    assert done == [(offset + sum(piece), 1) for piece in PIECES]
    assert torch.get_num_threads() == threads


def test_the_work_is_done_elsewhere_and_a_little_of_it_here():
    assert os.getpid() not in set(in_processes(lambda piece: os.getpid(), PIECES, 2))
    assert set(in_processes(lambda piece: os.getpid(), PIECES[:3], 2)) == {os.getpid()}
    assert list(in_processes(lambda piece: piece, [], 2)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_data_reaches_who_asked(workers):
    def work(piece: range) -> int:
        if 30 in piece:
            raise DataError("some text is not UTF-8")
        return piece.start

    done = []
    with pytest.raises(DataError, match="not UTF-8"):
        done.extend(in_processes(work, PIECES, workers))
    assert torch.get_num_threads() >= 1


def test_a_process_that_dies_is_no_endless_wait():
    with pytest.raises(ProcessError, match="--workers 1"):
        list(in_processes(lambda piece: os._exit(9), PIECES, 2))
