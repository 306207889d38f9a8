"""Ctrl-C, --resume, damaged runs, internal errors: what is on disk afterwards is whole, and nothing is given away."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from fedprobe.clients import classifier_training
from fedprobe.clients.updates import CriticUpdate
from fedprobe.models.stored import load_stored

ROUNDS = ["--rounds", 5, "--users-per-round", 3, "--noise-multiplier", 0, "--workers", 1, "--no-progress"]
COMMAND = ["train-gan", "shards", *ROUNDS]


def final(run) -> dict[str, torch.Tensor]:
    """The tensors of a run's last checkpoint."""
    return load_stored(max((run / "checkpoints").iterdir()))[0]


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture
def ctrl_c(monkeypatch):
    """Send `times` SIGINTs to this process while the devices of `round` are at work."""

    def during(round: int, times: int = 1):
        update = CriticUpdate.__call__

        def interrupted(self, public, members, now):
            total = update(self, public, members, now)
            for _ in range(times if now == round else 0):
                os.kill(os.getpid(), signal.SIGINT)
            return total

        monkeypatch.setattr(CriticUpdate, "__call__", interrupted)

    return during


@pytest.fixture
def uninterrupted(fedprobe, copied):
    assert fedprobe(*COMMAND, "-o", "runs/whole").code == 0
    return final(copied / "runs/whole")


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_after_the_round_and_resume_goes_on_as_if_nothing_had_been(
    fedprobe, copied, uninterrupted, ctrl_c, monkeypatch, workers
):
    with monkeypatch.context():
        ctrl_c(2)
        done = fedprobe(*COMMAND, "-o", "runs/cut", "--json")
    assert done.code == 130
    assert done.json["rounds"] == 2 and "--resume" in done.err
    assert [path.name for path in (copied / "runs/cut/checkpoints").iterdir()] == ["round_000002"]

    monkeypatch.undo()
    done = fedprobe(*COMMAND, "--workers", workers, "-o", "runs/cut", "--resume", "--json")
    assert (done.code, done.json["rounds"]) == (0, 5)
    assert_same(final(copied / "runs/cut"), uninterrupted)
    lines = (copied / "runs/cut/metrics.jsonl").read_text().splitlines()
    assert lines == (copied / "runs/whole/metrics.jsonl").read_text().splitlines()


def test_a_second_ctrl_c_stops_at_once_and_resume_goes_on_from_the_checkpoint_before(
    fedprobe, copied, uninterrupted, ctrl_c, monkeypatch
):
    ctrl_c(3, times=2)
    done = fedprobe(*COMMAND, "-o", "runs/cut", "--checkpoint-every", 2)
    assert done.code == 130
    assert [path.name for path in (copied / "runs/cut/checkpoints").iterdir()] == ["round_000002"]
    monkeypatch.undo()
    done = fedprobe(*COMMAND, "-o", "runs/cut", "--resume", "--json")
    assert done.code == 0
    assert_same(final(copied / "runs/cut"), uninterrupted)
    # The lost round stays counted: its users were asked.
    assert done.json["privacy"]["rounds_opened"] == 6


def test_a_run_stopped_before_its_first_checkpoint_starts_again(fedprobe, copied, uninterrupted, ctrl_c, monkeypatch):
    ctrl_c(1, times=2)
    assert fedprobe(*COMMAND, "-o", "runs/cut").code == 130
    monkeypatch.undo()
    assert fedprobe("sample", "runs/cut").code == 2
    assert fedprobe(*COMMAND, "-o", "runs/cut", "--resume").code == 0
    assert_same(final(copied / "runs/cut"), uninterrupted)


def test_more_rounds_go_on_and_fewer_are_refused(fedprobe, copied, uninterrupted):
    short = [*COMMAND, "--rounds", 2, "-o", "runs/grown"]
    assert fedprobe(*short).code == 0
    assert fedprobe(*COMMAND, "-o", "runs/grown", "--resume").code == 0
    assert_same(final(copied / "runs/grown"), uninterrupted)
    done = fedprobe(*short, "--resume")
    assert done.code == 2 and "fewer" in done.line
    # Once more with nothing left to do: nothing changes.
    before = (copied / "runs/grown/metrics.jsonl").read_text()
    assert fedprobe(*COMMAND, "-o", "runs/grown", "--resume").code == 0
    assert (copied / "runs/grown/metrics.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seed", 1),
        ("--clip-norm", 0.5),
        ("--preset", "paper"),
        ("--cohort", "cohorts/low.json"),
        ("--population", 99),
        ("--delta", 1e-3),
    ],
)
def test_a_resumed_run_keeps_what_it_was_started_with(fedprobe, copied, uninterrupted, option, value):
    run = copied / "runs/whole"
    before = [(run / name).read_bytes() for name in ("config.json", "privacy.json")]
    done = fedprobe(*COMMAND, "-o", "runs/whole", "--rounds", 6, option, value, "--resume")
    assert done.code == 2
    assert option.removeprefix("--").replace("-", "_") in done.line
    assert [(run / name).read_bytes() for name in ("config.json", "privacy.json")] == before


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def alter(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"round": 2}))


CHECKPOINT = {
    "tensors cut short": ("tensors.safetensors", cut),
    "tensors altered": ("tensors.safetensors", alter),
    "tensors gone": ("tensors.safetensors", lambda path: path.unlink()),
    "manifest cut short": ("manifest.json", lambda path: path.write_text(path.read_text()[:20])),
    "manifest altered": ("manifest.json", edit),
    "manifest no object": ("manifest.json", lambda path: path.write_text("[]")),
    "manifest gone": ("manifest.json", lambda path: path.unlink()),
}
READERS = {
    "sample": ["sample", "runs/low", "-o", "p.png"],
    "sample the checkpoint": ["sample", "runs/low/checkpoints/round_000003", "-o", "p.png"],
    "compare": ["compare", "runs/high", "runs/low", "-o", "p.png"],
    "resume": [
        *["train-gan", "shards", "--cohort", "low-accuracy", "--primary", "primary", *ROUNDS],
        *["-o", "runs/low", "--resume"],
    ],
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", CHECKPOINT)
def test_a_damaged_checkpoint_is_refused_and_the_run_left_as_it_was(fedprobe, copied, leaves_nothing, damage, reader):
    run = copied / "runs/low"
    name, spoil = CHECKPOINT[damage]
    spoil(run / "checkpoints/round_000003" / name)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with leaves_nothing():
        done = fedprobe(*READERS[reader])
    assert (done.code, done.out) == (3, "")
    assert "round_000003" in done.line
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_checkpoint_under_another_name_is_refused(fedprobe, copied):
    folder = copied / "runs/low/checkpoints"
    shutil.copytree(folder / "round_000003", folder / "round_000009")
    assert fedprobe("sample", "runs/low").code == 3
    assert fedprobe("sample", folder / "round_000003", "-o", "p.png").code == 0


RUN = {
    "config cut short": lambda run: cut(run / "config.json") or cut(run / "config.json"),
    "config empty": lambda run: (run / "config.json").write_text("{}"),
    "config no object": lambda run: (run / "config.json").write_text("[]"),
    "checkpoints gone": lambda run: shutil.rmtree(run / "checkpoints"),
}


@pytest.mark.parametrize("reader", ["sample", "compare", "resume"])
@pytest.mark.parametrize("damage", RUN)
def test_a_damaged_run_is_an_error_and_no_accident(fedprobe, copied, damage, reader):
    RUN[damage](copied / "runs/low")
    done = fedprobe(*READERS[reader])
    if (damage, reader, done.code) == ("checkpoints gone", "resume", 0):
        return  # It began again, as after a stop in its first round.
    assert done.code in (2, 3)
    assert done.line.startswith("error: ") and "runs/low" in done.line


def test_a_log_cut_short_by_a_crash_does_not_keep_a_run_from_going_on(fedprobe, copied):
    log = copied / "runs/low/metrics.jsonl"
    log.write_text(log.read_text() + '{"round": 4, "rele')
    assert fedprobe(*READERS["resume"]).code == 0
    assert [json.loads(line)["round"] for line in log.read_text().splitlines()] == [1, 2, 3, 4, 5]


def test_a_privacy_record_that_was_altered_is_refused(fedprobe, copied):
    path = copied / "runs/low/privacy.json"
    for change in ({"event": {"event": "magic"}}, {"event": None}, {"event": 5}):
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        done = fedprobe("privacy", "runs/low")
        assert (done.code, done.out) == (3, "") and "privacy.json" in done.line


def test_ctrl_c_in_a_classifier_leaves_nothing(fedprobe, copied, monkeypatch, leaves_nothing):
    monkeypatch.setattr(classifier_training, "predict", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with leaves_nothing():
        done = fedprobe("train-classifier", "shards", "-o", "model", "--epochs", 1, "--no-progress")
    assert (done.code, done.out) == (130, "")


# Something deep inside fails with a message that holds a value of the data.
CRASH = """
import sys
from fedprobe.clients import cohorts

def crash(*_, **__):
    try:
        raise KeyError("secret-user-id")
    except KeyError as error:
        raise {error}("secret pixel") from error

cohorts.measure = crash
from fedprobe.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("error", "more"), [("KeyError", []), ("OSError", []), ("ValueError", []), ("ValueError", ["--json"])]
)
def test_an_internal_error_never_shows_its_message(copied, error, more):
    command = ["select", "shards", "--cohort", "low-accuracy", "--primary", "primary", "--quiet", *more]
    done = subprocess.run(
        [sys.executable, "-c", CRASH.format(error=error), *command], capture_output=True, text=True, cwd=copied
    )
    assert "secret" not in done.stdout + done.stderr
    assert (done.returncode, done.stdout) == (1, "")
    assert "in select" in done.stderr and f"internal error: {error}" in done.stderr


def test_ctrl_c_at_a_terminal_reaches_the_workers_too_and_still_ends_whole(copied):
    """The whole group of processes gets the signal, as from a keyboard."""
    command = ["train-gan", "shards", "--rounds", "1000000", "--workers", "2", "-v", "-o", "runs/cut", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fedprobe", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=copied,
        start_new_session=True,
    )
    try:
        assert any("round 2" in line for line in process.stderr), "it ended by itself"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    done = json.loads(out)["rounds"]
    assert [path.name for path in (copied / "runs/cut/checkpoints").iterdir()] == [f"round_{done:06d}"]
    assert (copied / "runs/cut/rounds_opened").stat().st_size == done


def test_the_damage_of_a_shard_shows_no_id_on_any_stream(tmp_path, write_shard, patches, damage):
    """In a process of its own: what HDF5 itself might print goes past Python's streams."""
    users = patches(3)
    path = write_shard(tmp_path / "s.h5", users, checksums=True)
    damage(path, users[list(users)[1]]["pixels"])
    done = subprocess.run(
        [sys.executable, "-m", "fedprobe", "data", "describe", "s.h5", "--check", "-q"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1 and "damaged" in done.stderr
    assert "Oak Street" not in done.stdout + done.stderr
