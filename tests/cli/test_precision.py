"""`--precision`: what it is for, and that a run keeps it."""

import json

import pytest
import torch

from fedprobe.cli.output import Output
from fedprobe.cli.training import say_precision

FEDAVG = ["train-classifier", "shards", "--method", "fedavg", "--users-per-round", 3, "--noise-multiplier", 0]
TRAIN = [*FEDAVG, "--workers", 1, "--no-progress", "-o", "runs/classifier"]


def test_a_run_says_its_precision_and_keeps_it(fedprobe, copied):
    assert fedprobe(*TRAIN, "--rounds", 1, "--precision", "bf16").code == 0
    run = copied / "runs/classifier"
    assert json.loads((run / "config.json").read_text())["precision"] == "bf16"
    assert "| precision | bf16 |" in (run / "card.md").read_text()
    done = fedprobe(*TRAIN, "--rounds", 2, "--resume")
    assert done.code == 2 and "precision" in done.line


@pytest.mark.parametrize("has", [{}, {"avx512_bf16": True}, {"amx_bf16": True}, {"architecture": "aarch64"}])
@pytest.mark.parametrize(("precision", "device"), [("bf16", "cpu"), ("float32", "cpu"), ("bf16", "cuda")])
def test_it_is_said_where_bfloat16_is_slow(has, precision, device, monkeypatch, capsys):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64"} | has)
    say_precision(Output(), precision, device)
    slow = not has and (precision, device) == ("bf16", "cpu")
    assert slow == ("has no bfloat16" in capsys.readouterr().err)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ([*FEDAVG, "--precision", "int4"], "float32 or bf16"),
        (["train-classifier", "shards", "--method", "pooled", "--precision", "bf16"], "--precision is for"),
        (["train-charlm", "shards", "--method", "one-round", "--precision", "bf16"], "--precision is for"),
    ],
)
def test_where_it_makes_no_sense_it_is_a_usage_error(fedprobe, copied, command, says):
    done = fedprobe(*command)
    assert (done.code, done.out) == (2, "") and says in done.line
