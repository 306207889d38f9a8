"""The command that trains a run again: on the same users, or it costs others what they were not asked for."""

from pathlib import Path
from types import SimpleNamespace

from fedprobe.modeler.report.reproduce import command_of
from fedprobe.privacy.rules import rule


def test_it_narrows_the_cohort_as_the_run_did():
    chosen = rule("unlike-public", public="digest", at_most=-3.0, where="version == '2.1'")
    config = {
        "command": "train-gan",
        "cohort": {"rule": chosen.to_json(), "public": "runs/public"},
        "preset": "quick",
        "training": {"rounds": 3},
        "architecture": {},
        "shards": ["data"],
    }
    command = command_of(SimpleNamespace(config=config, path=Path("runs/one")))
    assert """--where 'version == '"'"'2.1'"'"''""" in command and "--public runs/public" in command
