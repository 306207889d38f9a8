"""The device that torch computes on."""

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = ("float32", "bf16")


def prepare(device: str) -> str:
    """Return `device` if torch can compute there, with CPU work on one thread; ValueError if it cannot.

    One thread: these models are so small that a second one gains little when the machine is idle and costs a lot when
    it is not; other cores are used by other processes.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"torch cannot use the device {device}; try --device cpu") from error
    torch.set_num_threads(1)
    return device


def computing_in(precision: str, device: str) -> AbstractContextManager:
    """Where matrix products and convolutions are computed in `precision`; parameters and updates stay float32.

    Raises ValueError for one that is not of PRECISIONS.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"--precision is {' or '.join(PRECISIONS)}")
    if precision == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)
