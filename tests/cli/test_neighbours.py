"""Two populations that differ in one user, or in one pixel or word of hers: nothing differs but what is released.

On a fixed draw of users and with the noise off, so that a byte more or less could only come from the data.
"""

from pathlib import Path

import numpy as np
import pytest

from fedprobe.privacy import ledger, noise
from fedprobe.server.participation import EveryUser, PoissonParticipation

USERS = 8
TRAIN = "--rounds 1 --users-per-round 3 --population 3 --noise-multiplier 9 --workers 1 --no-progress".split()
ONCE = "--method one-round --noise-multiplier 9 --workers 1 --no-progress".split()
TINY_LM = "--embedding 8 --hidden 12 --projection 8 --layers 1".split()
RULE = ["--cohort", "high-accuracy", "--above", "0.5", "--primary", "../primary"]
COMMANDS = {
    "images": [
        ["init", "data", "--budget-epsilon", 100],
        ["select", "data", *RULE, "-v", "-o", "high.json"],
        ["select", "data", "--cohort", "misclassified", "--primary", "../primary", "--json"],
        ["train-gan", "data", "--cohort", "high.json", *TRAIN, "-v", "-o", "runs/high"],
        ["train-gan", "data", *RULE, *TRAIN, "-o", "runs/named", "--json"],
        ["train-classifier", "data", "--classes", 2, *TRAIN, "--local-batch-size", 4, "-o", "runs/primary"],
        ["train-gan", "data", *RULE, *ONCE, "-o", "runs/once", "--json"],
        ["privacy", "runs/high", "runs/named", "runs/once"],
        ["ledger", "data", "--json"],
    ],
    "text": [
        ["init", "data", "--budget-epsilon", 100],
        ["select", "data", "--cohort", "oov-words", "--vocabulary", "../v.txt", "-o", "oov.json"],
        ["train-charlm", "data", "--vocabulary", "../v.txt", *TRAIN, *TINY_LM, "-o", "runs/words", "--json"],
        ["train-wordlm", "data", "--vocabulary", "../v.txt", *TRAIN, *TINY_LM, "-v", "-o", "runs/sentences"],
        ["train-charlm", "data", "--vocabulary", "../v.txt", *ONCE, "-o", "runs/words-once"],
        ["ledger", "data"],
    ],
}
# What was seen of worlds without a change, by kind and draw.
UNCHANGED: dict[tuple, dict[str, bytes]] = {}
RELEASED = ("checkpoints", "samples", "metrics.jsonl", "model")


def more(users):
    """One user more comes from what `users` are made by."""


def pixel(value):
    def change(users):
        users[list(users)[-1]]["pixels"][0, 2, 3] = value

    return change


def word(users):
    users[list(users)[-1]]["tokens"][0] = "the oak-street-mended of"


CHANGES = {
    "a user more": ("images", more),
    "a pixel": ("images", pixel(0.25)),
    "a pixel that is no number": ("images", pixel(np.nan)),
    "a user of text more": ("text", more),
    "a word": ("text", word),
}


@pytest.fixture
def world(tmp_path, fedprobe, write_shard, patches, sentences, primary, monkeypatch):
    """Run all commands of a kind on users, of whom `drawn` take part; return streams and files, by their names."""
    (tmp_path / "primary").symlink_to(primary)
    (tmp_path / "v.txt").write_text("the\na\nto\nof\n")
    monkeypatch.setattr(noise, "gaussian", lambda count, deviation: np.zeros(count, np.int64))
    monkeypatch.setattr(ledger, "_now", lambda: "2026-01-01T00:00:00+00:00")

    def live(name: str, kind: str, change, drawn: list[int]) -> dict[str, bytes]:
        if change is None and (kind, *drawn) in UNCHANGED:
            return UNCHANGED[(kind, *drawn)]
        users = (patches if kind == "images" else sentences)(USERS + (change is more))
        if change is not None:
            change(users)
        ids = iter(range(10**6))
        monkeypatch.setattr("secrets.token_hex", lambda size: f"{next(ids):0{2 * size}x}")
        for participation in (PoissonParticipation, EveryUser):
            monkeypatch.setattr(participation, "draw", lambda self, members: np.array(drawn))
        write_shard(tmp_path / name / "data" / "s.h5", users)
        seen = {}
        for command in COMMANDS[kind]:
            done = fedprobe(*command, within=name)
            assert done.code == 0, done.err
            said = (done.out + done.err).replace(name, "").replace(str(tmp_path), "")
            seen[f"{command[0]} {command[-1]}"] = said.encode()
        for path in sorted((tmp_path / name).rglob("*")):
            inside = path.relative_to(tmp_path / name)
            if path.is_file() and inside.parts[0] != "data":
                seen[str(inside)] = path.read_bytes()
        if change is None:
            UNCHANGED[(kind, *drawn)] = seen
        return seen

    return live


@pytest.mark.parametrize("name", CHANGES)
def test_whoever_takes_part_in_no_round_leaves_no_trace(world, name):
    kind, change = CHANGES[name]
    before, after = (world(which, kind, one, [0, 1, 2]) for which, one in (("world-1", None), ("world-2", change)))
    assert any(Path(file).match("checkpoints/*/tensors.safetensors") for file in before)
    assert before == after


@pytest.mark.parametrize("name", CHANGES)
def test_whoever_does_leaves_one_in_releases_only(world, name):
    kind, change = CHANGES[name]
    # The one who came is the ninth; of the others, the last is who changed.
    before, after = ([0, 1, 2], [0, 1, 2, USERS]) if change is more else ([0, 1, USERS - 1],) * 2
    if name == "a pixel that is no number":
        # She is a member no longer; the draw that had her has two users now.
        after = [0, 1]
    seen = [
        world(which, kind, one, drawn) for which, one, drawn in (("world-1", None, before), ("world-2", change, after))
    ]
    assert set(seen[0]) == set(seen[1])
    different = {file for file in seen[0] if seen[0][file] != seen[1][file]}
    assert any(file.endswith("tensors.safetensors") for file in different), "the attack would have seen nothing"
    said = {file for file in different if not set(Path(file).parts) & set(RELEASED)}
    # What -v shows of a round are its released figures.
    assert {file for file in said if b"round 1: {" not in seen[0][file]} == set()
