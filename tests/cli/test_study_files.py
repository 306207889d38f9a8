"""A study's file: what `ledger declare` reserves, or a usage error that says what is wrong with it."""

from pathlib import Path

import pytest
import typer

from fedprobe.cli.ledger import read_study
from fedprobe.models.vocabulary import VocabularyError, read_vocabulary
from fedprobe.privacy.entries import Cell
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.ledger import BudgetRefusal, create
from fedprobe.privacy.population import Population
from fedprobe.privacy.rules import rule

GOOD = """
name = "invert"
delta = 1e-7

[[plan]]
command = "select"
noise_multiplier = 20

[[plan]]
name = "low"
command = "train-gan"
cohort = "low-accuracy"
below = 0.4
rounds = 3
users_per_round = 10
population = 200
noise_multiplier = 0.25

[[plan]]
command = "train-gan"
cohort = "high-accuracy"
rounds = 3
users_per_round = 10
population = 200
noise_multiplier = 0.5
participation = "fixed"

[[plan]]
command = "train-charlm"
cohort = "oov-words"
vocabulary = "words/few.txt"
min_examples = 2
rounds = 2
users_per_round = 300
population = 200
noise_multiplier = 0.25
participation = "none"
"""
TRAINING = """
name = "one"
[[plan]]
command = "train-gan"
rounds = 3
users_per_round = 10
population = 200
noise_multiplier = 0.25
"""


@pytest.fixture
def written(tmp_path):
    """A function that writes a study beside a vocabulary and returns its path."""

    def write(text: str | bytes) -> Path:
        (tmp_path / "words").mkdir(exist_ok=True)
        (tmp_path / "words" / "few.txt").write_text("the\na\n")
        path = tmp_path / "STUDY.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_its_plans_are_what_the_commands_will_ask_for(written):
    path = written(GOOD)
    name, parts, delta = read_study(path)
    assert (name, delta) == ("invert", 1e-7)
    assert [part.command for part in parts] == ["select", "train-gan", "train-gan", "train-charlm"]
    assert [part.name for part in parts] == ["select 1", "low", "train-gan 3", "train-charlm 4"]
    words = read_vocabulary(path.parent / "words" / "few.txt").digest
    assert [part.rule for part in parts] == [
        {},
        rule("low-accuracy", below=0.4).to_json(),
        rule("high-accuracy").to_json(),
        rule("oov-words", vocabulary=words, min_examples=2).to_json(),
    ]
    # Counts are one release of every user; fixed rounds count half of their noise, open draws do not amplify.
    assert [part.events for part in parts] == [
        (SampledGaussian(20, 1.0, 1),),
        (SampledGaussian(0.25, 0.05, 3),),
        (SampledGaussian(0.25, 0.05, 3),),
        (SampledGaussian(0.25, 1.0, 2),),
    ]


def test_a_delta_may_be_left_to_the_ledger_and_a_cohort_is_everybody(written):
    name, parts, delta = read_study(written(TRAINING))
    assert (name, delta, len(parts)) == ("one", None, 1)
    assert parts[0].rule == rule("random").to_json() and parts[0].cell is None


def test_what_it_reserves_is_what_the_commands_take(written, tmp_path):
    """The way of a plan from the file through the ledger's into `reserve`, with rules as a run's config has them."""
    name, parts, delta = read_study(written(GOOD))
    (tmp_path / "abc").mkdir()
    ledger = create(Population("abc", "private", 1000.0, 1e-6, ledger=str(tmp_path / "abc")), [tmp_path / "s.h5"])
    entry = ledger.declare(name, parts, delta=delta)
    assert entry.parts == tuple(parts) == ledger.entries()[0].parts
    for part in parts:
        cell = None if part.cell is None else Cell("measured", part.cell.below, part.cell.above)
        taken = ledger.reserve(part.command, part.events, study=name, rule=dict(part.rule), cell=cell)
        assert ledger.rounds_left(taken.run, part.events[0], cell) == part.events[0].rounds
    with pytest.raises(BudgetRefusal):
        ledger.reserve("select", parts[0].events, study=name, rule={})
    assert ledger.spent().epsilon == entry.epsilon


def refused(path: Path) -> str:
    with pytest.raises(typer.BadParameter) as caught:
        read_study(path)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("text", ["name = ", "[[plan]", b"\xff\xfe", b"name = '\x00'"])
def test_what_is_no_toml_is_refused(written, text):
    assert "not a readable TOML" in refused(written(text))


def test_one_that_is_not_there_is_refused(tmp_path):
    for path in (tmp_path / "nowhere.toml", tmp_path):
        assert str(path) in refused(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name = 'one'",
        "name = 'one'\nplan = []",
        "name = 'one'\nplan = 3",
        TRAINING.replace("name = ", "title = "),
        TRAINING.replace('"one"', "1"),
        "epsilon = 4\n" + TRAINING,
    ],
)
def test_it_has_a_name_and_plans_and_nothing_else(written, text):
    assert "a study has a name" in refused(written(text))


@pytest.mark.parametrize("number", ["rounds", "users_per_round", "population", "noise_multiplier"])
def test_a_missing_number_is_named(written, number):
    lines = [line for line in TRAINING.splitlines() if not line.startswith(number)]
    said = refused(written("\n".join(lines)))
    assert f"plan 1: {number} must be given" in said
    for other in {"rounds", "users_per_round", "population", "noise_multiplier"} - {number}:
        assert other not in said


def test_counts_need_their_noise_only(written):
    plan = "name = 'one'\n[[plan]]\ncommand = 'select'\n"
    assert "noise_multiplier" in refused(written(plan))
    assert len(read_study(written(plan + "noise_multiplier = 3.5"))[1]) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("round = 3", "unknown key round; did you mean rounds?"),
        ("seed = 3", "unknown key seed"),
        ("clip_norm = 1", "unknown key clip_norm"),
        ("below = 0.4", "--below"),
        ('cohort = "nobody"', "unknown cohort"),
        ("cohort = 5", "unknown cohort"),
        ("participation = 7", "unknown participation"),
        ('cohort = "low-accuracy"\nbelow = 1.4', "between 0 and 1"),
        ('cohort = "low-accuracy"\nbelow = nan', "between 0 and 1"),
        ('cohort = "low-accuracy"\nabove = 0.5', "--above"),
        ('cohort = "misclassified"\nmin_examples = 0', "at least 1"),
        ('cohort = "oov-words"', "--vocabulary"),
        ('cohort = "random"\nvocabulary = "words/few.txt"', "--vocabulary"),
        ("share = 0", "--share"),
        ('participation = "often"', "unknown participation"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(written, line, says):
    assert says in refused(written(TRAINING + line))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"train-gan"', '"audit"'),
        ('"train-gan"', '""'),
        ("rounds = 3", "rounds = -1"),
        ("rounds = 3", "rounds = nan"),
        ("rounds = 3", 'rounds = "three"'),
        ("users_per_round = 10", "users_per_round = 0"),
        ("population = 200", "population = 0"),
        ("noise_multiplier = 0.25", "noise_multiplier = -1.0"),
        ("noise_multiplier = 0.25", "noise_multiplier = inf"),
        ("noise_multiplier = 0.25", "noise_multiplier = nan"),
    ],
)
def test_numbers_and_commands_that_cannot_be_are_refused(written, old, new):
    refused(written(TRAINING.replace(old, new)))


def test_a_plan_without_a_command_is_refused(written):
    assert "command is one of train-gan" in refused(written(TRAINING.replace('command = "train-gan"', "")))


def test_a_vocabulary_that_is_not_there_is_named(written):
    with pytest.raises(VocabularyError, match="nowhere"):
        read_study(written(TRAINING + 'cohort = "oov-words"\nvocabulary = "nowhere.txt"'))
