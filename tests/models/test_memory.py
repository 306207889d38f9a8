"""Memory that is freed stays with the process."""

import ctypes
import multiprocessing
import resource

import pytest
import torch

from fedprobe.models.memory import keep_freed_memory


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_a_process_that_keeps_its_memory_does_not_fetch_it_again():
    assert _faults(keep=True) * 20 < _faults(keep=False)


def _faults(keep: bool) -> int:
    """Pages that a new process fetches for the last of many steps, which allocate the same tensors and free them."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_last_of_many_steps, [keep])


def _last_of_many_steps(keep: bool) -> int:
    if keep:
        keep_freed_memory()
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensors = [torch.zeros(2_000_000) for _ in range(8)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
