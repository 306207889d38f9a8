"""Running commands in this process, and a folder in which the whole path was walked once."""

import contextlib
import io
import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedprobe.cli.main import main

# Three rounds of nearly nothing, in this process; without noise the seed decides everything.
TINY = "--rounds 3 --users-per-round 3 --noise-multiplier 0 --workers 1 --no-progress".split()
TINY_TEXT = [*TINY, *"--preset quick --embedding 8 --hidden 12 --projection 8 --layers 1".split()]


@dataclass(frozen=True)
class Done:
    """What a command left on its streams, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """The one object on stdout; anything beside it fails the test."""
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line on stderr; more or fewer fail the test."""
        (line,) = self.err.splitlines()
        return line


def run_command(folder: Path, *arguments: object, **variables: str) -> Done:
    """Run `fedprobe *arguments` in `folder` with exactly these FEDPROBE_* `variables`."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        for name in os.environ:
            if name.startswith("FEDPROBE_") or name in ("FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
                patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(sys, "excepthook", sys.excepthook)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
    return Done(stopped.value.code, out.getvalue(), err.getvalue())


@pytest.fixture
def fedprobe(tmp_path):
    """Run a command in the test's own folder, or `within` a folder of it."""

    def run(*arguments: object, within: str = ".", **variables: str) -> Done:
        return run_command(tmp_path / within, *arguments, **variables)

    return run


@pytest.fixture
def simulation(tmp_path, fedprobe, write_shard):
    """Write a shard and register it; init does not look at users: what is wrong with them may be there already."""

    def register(users, name="s.h5"):
        path = write_shard(tmp_path / "data" / name, users)
        assert fedprobe("init", "data", "--kind", "simulation").code == 0
        return path

    return register


@pytest.fixture
def unreadable(tmp_path, fedprobe, write_shard, patches):
    """A private population with a budget, in `data`, whose shard can no longer be opened."""
    path = write_shard(tmp_path / "data" / "s.h5", patches(2))
    assert fedprobe("init", "data", "--budget-epsilon", 4).code == 0
    path.write_bytes(b"garbage")


@pytest.fixture(scope="session")
def walked(tmp_path_factory, write_shard, patches, primary) -> Path:
    """A folder to read and not to change: shards (4 of 12 users mislabelled), a primary model, runs of two cohorts.

    `shards/patches.h5`, `primary`, `cohorts/low.json`, `runs/low`, `runs/high`.
    """
    folder = tmp_path_factory.mktemp("walked")
    write_shard(folder / "shards" / "patches.h5", patches(12, mislabelled=4))
    shutil.copytree(primary, folder / "primary")
    measured = ["shards", "--primary", "primary"]
    for command in (
        ["init", "shards", "--kind", "simulation"],
        ["select", *measured, "--cohort", "low-accuracy", "-o", "cohorts/low.json"],
        ["train-gan", *measured, "--cohort", "low-accuracy", *TINY, "-o", "runs/low"],
        ["train-gan", *measured, "--cohort", "high-accuracy", *TINY, "-o", "runs/high"],
    ):
        done = run_command(folder, *command)
        assert done.code == 0, done.err
    return folder


@pytest.fixture
def copied(tmp_path, walked) -> Path:
    """The same in the test's own folder, to change."""
    shutil.copytree(walked, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="session")
def walked_text(tmp_path_factory, write_shard, sentences) -> Path:
    """A folder to read and not to change: shards of text, copies with a bug in every sentence, models of both.

    `shards/sentences.h5`, `broken/sentences.h5`, `vocabulary.txt` (15 words), `cohorts/oov.json` of the broken ones,
    `runs/{sentences,words}` and `runs/broken-{sentences,words}`. What the commands said is in `said.json`.
    """
    folder = tmp_path_factory.mktemp("walked-text")
    write_shard(folder / "shards" / "sentences.h5", sentences(12))
    words = ["--vocabulary", "vocabulary.txt"]
    said = {}
    for command in (
        ["init", "shards", "--kind", "simulation", "--json"],
        ["data", "vocabulary", "shards", "--size", "15", "--json"],
        ["data", "corrupt", "shards", "broken", "--bug", "join-first-tokens", "--sentences", "1", "--json"],
        ["select", "broken", "--cohort", "oov-words", *words, "-o", "cohorts/oov.json", "--json"],
        ["train-wordlm", "shards", *words, *TINY_TEXT, "-o", "runs/sentences", "--json"],
        ["train-wordlm", "broken", *words, *TINY_TEXT, "-o", "runs/broken-sentences"],
        ["train-charlm", "shards", *words, *TINY_TEXT, "-o", "runs/words", "--json"],
        ["train-charlm", "broken", "--cohort", "cohorts/oov.json", *TINY_TEXT, "-o", "runs/broken-words"],
    ):
        done = run_command(folder, *command)
        assert done.code == 0, done.err
        said[" ".join(command)] = [done.out, done.err]
    (folder / "said.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def copied_text(tmp_path, walked_text) -> Path:
    """The same in the test's own folder, to change."""
    shutil.copytree(walked_text, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C means what it means to a command started from a shell, whoever runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def files(folder: Path) -> set[str]:
    """Every path in `folder`, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def leaves_nothing(tmp_path):
    """Hold that a block writes nothing but fedprobe's own notes beside the data, and those whole."""

    @contextlib.contextmanager
    def hold():
        before = files(tmp_path)
        yield
        new = files(tmp_path) - before
        assert not [path for path in new if ".fedprobe" not in Path(path).parts], "something was left"
        assert not [path for path in files(tmp_path) if "temporary" in path], "something half-written was left"

    return hold


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Options of a train-gan that takes no time."""
    return TINY


@pytest.fixture(scope="session")
def tiny_text() -> list[str]:
    """Options of a train-wordlm or train-charlm that takes no time."""
    return TINY_TEXT
