"""The command that trains a run again: on the same users, or it costs others what they were not asked for."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fedprobe.modeler.report.reproduce import command_of
from fedprobe.models.public import load_public
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
    assert "--public-share" not in command, "whose model is not there any more"
    assert """--where 'version == '"'"'2.1'"'"''""" in command and "--public runs/public" in command


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.0425, 0.9])
def test_it_selects_as_much_that_is_unlike_the_public_as_the_run_did(density, share):
    model = load_public(density)
    chosen = rule("unlike-public", public=model.digest, at_most=model.threshold(share))
    config = {
        "command": "train-gan",
        "cohort": {"rule": chosen.to_json(), "public": str(density)},
        "preset": "quick",
        "training": {},
        "architecture": {},
        "shards": ["data"],
    }
    said = dict(option.split(" ", 1) for option in command_of(SimpleNamespace(config=config, path=Path("run")))[1:])
    assert model.threshold(float(said["--public-share"])) == chosen.at_most
    assert len(said["--public-share"]) <= len(str(share))
