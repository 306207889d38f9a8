"""The same commands where torchrun starts them, in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_interrupts import COMMAND, assert_same, final

# A rank other than the first kills itself while the devices of round 3 are at work.
MORTAL = """
import os, signal, sys
from fedprobe.clients.updates import CriticUpdate

update = CriticUpdate.__call__

def mortal(self, public, members, round):
    if round == 3 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return update(self, public, members, round)

CriticUpdate.__call__ = mortal
from fedprobe.cli.main import main
main(sys.argv[1:])
"""
# COMMAND is for one process.
RANKED = [argument for argument in COMMAND if argument not in ("--workers", 1)]


def torchrun(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    """Two ranks of `arguments`."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run([*launcher, *map(str, arguments)], capture_output=True, text=True, cwd=folder)


def test_a_run_that_lost_a_rank_goes_on_and_is_the_same_bit_for_bit(fedprobe, copied):
    assert fedprobe(*COMMAND, "-o", "runs/whole").code == 0
    (copied / "mortal.py").write_text(MORTAL)
    done = torchrun(copied, "mortal.py", *RANKED, "-o", "runs/lost", "--checkpoint-every", 2, "--json")
    assert done.returncode != 0 and done.stdout == ""
    errors = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"schema": "fedprobe.error')]
    assert [error["code"] for error in errors] == [1] and "--resume" in errors[0]["message"]
    assert [path.name for path in (copied / "runs/lost/checkpoints").iterdir()] == ["round_000002"]

    done = torchrun(copied, "-m", "fedprobe", *RANKED, "-o", "runs/lost", "--resume", "--json")
    assert done.returncode == 0, done.stderr
    # The lost round stays counted, and one rank alone has said so.
    assert json.loads(done.stdout)["privacy"]["rounds_opened"] == 6
    assert_same(final(copied / "runs/lost"), final(copied / "runs/whole"))


@pytest.mark.parametrize(
    ("options", "within", "says"),
    [
        (["--engine", "torchrun"], False, "torchrun --nproc_per_node"),
        (["--engine", "mpi"], False, "auto, local or torchrun"),
        (["--engine", "local"], True, "idle"),
        (["--workers", 2], True, "--nproc_per_node"),
    ],
)
def test_an_engine_that_cannot_be_had_is_a_usage_error(
    fedprobe, copied, leaves_nothing, monkeypatch, options, within, says
):
    # As if it were the first of the ranks, with nobody to meet.
    monkeypatch.setattr("fedprobe.cli.training.started_by_torchrun", lambda: within)
    with leaves_nothing():
        done = fedprobe("train-gan", "shards", "--rounds", 2, *options)
    assert (done.code, done.out) == (2, "") and says in done.line
    assert torch.distributed.is_initialized() is False


def test_a_command_that_is_started_again_does_not_spend_its_plan_twice(fedprobe, copied, leaves_nothing, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with leaves_nothing():
        done = fedprobe("train-gan", "shards", "--rounds", 2)
    assert done.code == 2 and "--resume" in done.line
