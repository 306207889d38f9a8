"""What the command line says of itself, and what it loads to say it."""

import re
import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer

from fedprobe.cli.main import app


def commands(group=None, path=()) -> dict[tuple[str, ...], object]:
    """Every command, by the words that name it."""
    group = group or typer.main.get_command(app)
    found = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found |= commands(command, (*path, name)) if inner else {(*path, name): command}
    return found


COMMANDS = commands()
GROUPS = [(), ("data",)]


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(fedprobe, path):
    done = fedprobe(*path, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Example: fedprobe {' '.join(path)}" in flat(done.out)
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts if option.startswith("-")}
    assert not {option for option in options if option not in done.out}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_examples_options_exist(path):
    example = flat(re.search(r"Example: (.*)", COMMANDS[path].help, re.DOTALL)[1])
    words = shlex.split(example)
    assert words[: len(path) + 1] == ["fedprobe", *path]
    known = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("path", GROUPS, ids=["fedprobe", "data"])
@pytest.mark.parametrize("asked", [["--help"], ["-h"], []], ids=["--help", "-h", "nothing"])
def test_a_group_lists_its_commands(fedprobe, path, asked):
    done = fedprobe(*path, *asked)
    assert (done.code, done.err) == (0, "")
    for name in {command[len(path)] for command in COMMANDS if command[: len(path)] == path}:
        assert f"\n  {name} " in done.out


def test_the_version_is_the_package_s_whatever_variables_are_set(fedprobe, monkeypatch):
    monkeypatch.setenv("FEDPROBE_VERSION", "7")
    done = fedprobe("--version")
    assert (done.code, done.out, done.err) == (0, f"fedprobe {version('fedprobe')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train-gen"], "train-gan"),
        (["data", "descripe"], "describe"),
        (["describe", "shards"], "no such command 'describe'; fedprobe data describe is one. see"),
        (["--bogus", "describe"], "no such option: --bogus. see"),
        (["data", "compare"], "no such command 'compare'. see"),
        (["train-gan", "--round", "3"], "--rounds"),
        (["sample", "runs/x", "-n", "many"], "--count"),
        (["sample", "runs/x", "-n", "0"], "--count"),
        (["sample"], "argument 'run'"),
        (["compare"], "argument 'a b [...]'"),
        (["compare", "one"], "two runs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistyped_command_is_one_line_that_names_the_help(fedprobe, arguments, words):
    done = fedprobe(*arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.line.lower() and done.line.endswith("--help")


def python(*arguments: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **kwargs)


def test_nothing_heavy_is_loaded_before_a_command_runs(tmp_path):
    heavy = {"torch", "h5py", "numpy", "pandas", "scipy", "sklearn", "opacus", "dp_accounting", "PIL", "cryptography"}
    done = python("-c", "import sys, fedprobe.cli.main; print(*sys.modules)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not heavy & set(done.stdout.split())


def test_the_module_runs_as_the_program_does(tmp_path):
    done = python("-m", "fedprobe", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: fedprobe" in done.stdout
    done = python("-m", "fedprobe", "data", "describe", "nowhere.h5", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: no shards at nowhere.h5") and done.stderr.count("\n") == 1
