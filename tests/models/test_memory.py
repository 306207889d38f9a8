"""Memory that is freed stays with the process."""

import ctypes
import json
import subprocess
import sys

import pytest

# How many tensors of 16 MB the system was asked for one by one, and how much of them is kept once they are freed.
ASKED = """
import ctypes
import json
import torch
from fedprobe.models.memory import keep_freed_memory

NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES.split()]

info = ctypes.CDLL(None).mallinfo2
info.restype = Info
if {keep}:
    keep_freed_memory()
before = info()
tensors = [torch.zeros(4_000_000) for _ in range(8)]
asked = info().hblks - before.hblks
del tensors
print(json.dumps([asked, info().fordblks - before.fordblks]))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is no glibc of 2.33 or newer")
@pytest.mark.parametrize("keep", [False, True])
def test_a_process_keeps_what_it_frees(keep):
    # In a new process: what one keeps those that it forks keep, too.
    said = subprocess.run([sys.executable, "-c", ASKED.format(keep=keep)], capture_output=True, text=True, check=True)
    asked, kept = json.loads(said.stdout)
    assert asked == (0 if keep else 8)
    assert (kept > 7 * 16_000_000) == keep
