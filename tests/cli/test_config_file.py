"""Where options come from: flag, then FEDPROBE_*, then fedprobe.toml, then default."""

from pathlib import Path

import numpy as np
import pytest

from fedprobe.server.language_presets import CHAR_PRESETS

# A plan without noise is accounted for at once, and opens no shard.
DRY = ["train-gan", "--dry-run", "--population", "100", "--noise-multiplier", "0", "--json"]


@pytest.fixture
def configure(tmp_path):
    return (tmp_path / "fedprobe.toml").write_text


@pytest.mark.parametrize("flag", [False, True], ids=["", "flag"])
@pytest.mark.parametrize("variable", [False, True], ids=["", "variable"])
@pytest.mark.parametrize("file", [False, True], ids=["", "file"])
def test_the_nearest_source_wins(fedprobe, configure, flag, variable, file):
    if file:
        configure("[train-gan]\nrounds = 11\n")
    done = fedprobe(
        *DRY, *(["--rounds", 13] if flag else []), **({"FEDPROBE_TRAIN_GAN_ROUNDS": "12"} if variable else {})
    )
    assert done.code == 0
    assert done.json["rounds"] == (13 if flag else 12 if variable else 11 if file else 600)


@pytest.mark.parametrize("spelled", ["users-per-round", "users_per_round"])
def test_keys_are_spelled_as_options_are_with_either_dash(fedprobe, configure, spelled):
    configure(f"[train-gan]\n{spelled} = 7\n")
    assert fedprobe(*DRY).json["users_per_round"] == 7


def test_the_file_is_found_above_and_its_paths_are_its_own(fedprobe, configure, copied):
    configure('[dataset]\nshards = "shards/*.h5"\n[primary]\nmodel = "primary"\n')
    (copied / "deep" / "down").mkdir(parents=True)
    done = fedprobe("select", "--cohort", "low-accuracy", "--json", within="deep/down")
    assert done.json["count"] == 4
    assert (copied / "deep/down/cohorts/low-accuracy.json").exists()


def test_several_shards_may_be_named(fedprobe, configure, tmp_path, write_shard, patches):
    for number, name in enumerate("ab"):
        write_shard(tmp_path / f"{name}.h5", patches(2, seed=number))
    configure('[dataset]\nshards = ["a.h5", "b.h5"]\n')
    assert fedprobe("data", "describe", "--json").json["users"] == 4
    assert fedprobe("data", "describe", "a.h5", "--json").json["users"] == 2, "an argument wins over the file"


def test_a_flag_wins_over_the_files_primary_model(fedprobe, configure, copied):
    configure('[primary]\nmodel = "no such model"\n')
    command = ["select", "shards", "--cohort", "low-accuracy", "--json"]
    assert fedprobe(*command).code == 3
    assert fedprobe(*command, "--primary", "primary").json["count"] == 4


def test_a_provenance_in_the_file_decides_what_epsilon_covers_of_its_model(fedprobe, configure, copied, tiny):
    command = ["train-gan", "shards", "--cohort", "low-accuracy", *tiny, "--json"]
    for provenance, conditional in (("public", False), ("conditional", True)):
        configure(f'[primary]\nmodel = "primary"\nprovenance = "{provenance}"\n')
        assert fedprobe(*command).json["privacy"]["conditional"] is conditional


def test_the_example_of_the_documentation_works(fedprobe, configure):
    configure(
        """
        [dataset]
        shards = "shards/*.h5"
        [primary]
        model = "runs/primary"
        provenance = "public"
        [privacy]
        budget_epsilon = 4.0
        [train-gan]
        rounds = 1000
        """
    )
    assert fedprobe(*DRY).json["rounds"] == 1000


def test_a_folder_that_was_deleted_is_an_error_of_one_line(fedprobe, monkeypatch):
    def deleted():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "cwd", deleted)
    done = fedprobe("data", "describe", "s.h5")
    assert done.code == 2 and "no longer exists" in done.line


def test_init_writes_a_file_that_configures_the_folder_and_keeps_the_one_that_is_there(
    fedprobe, tmp_path, write_shard, patches
):
    write_shard(tmp_path / "my shards №1" / "a.h5", patches(2))
    assert fedprobe("init", "my shards №1").code == 0
    assert fedprobe("data", "describe", "--json").json["users"] == 2
    (tmp_path / "fedprobe.toml").write_text("# mine")
    assert fedprobe("init", "my shards №1").code == 0
    assert (tmp_path / "fedprobe.toml").read_text() == "# mine"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train-gan]\nround = 3\n", "did you mean rounds?"),
        ("[train-gan]\nuser_per_round = 3\n", "did you mean users-per-round?"),
        ("[train-gam]\nrounds = 3\n", "did you mean train-gan?"),
        ("[dataset]\nshard = 'x'\n", "did you mean shards?"),
        ("[primary]\nmodels = 'x'\n", "did you mean model?"),
        ("[privacy]\nbudget = 3\n", "did you mean budget-epsilon?"),
        ("[dataset]\nzzz = 'x'\n", "choose one of column, shards, tokenizer"),
        ("rounds = 3\n", "rounds"),
        ("dataset = 3\n", "[dataset]"),
        ("[primary]\nprovenance = 'hearsay'\n", "public, dp, conditional"),
        ("[dataset\n", "TOML"),
        ("[train-gan]\nrounds = 'many'\n", "--rounds"),
        ("[dataset]\nshards = 3\n", "shards"),
        ("[dataset]\nshards = [1, 2]\n", "shards"),
        ("[primary]\nmodel = 3\n", "model"),
        ("[privacy]\nbudget_epsilon = 'much'\n", "budget"),
        ("[dataset]\ncolumm = 'x'\n", "did you mean column?"),
        ("[dataset]\ntokeniser = 'words'\n", "did you mean tokenizer?"),
        ("[dataset]\ncolumn = 3\n", "column"),
        ("[dataset]\ntokenizer = ['words']\n", "tokenizer"),
        ("[vocabulary]\nfiles = 'x'\n", "did you mean file?"),
        ("[vocabulary]\nprovenence = 'public'\n", "did you mean provenance?"),
        ("[vocabulary]\nprovenance = 'hearsay'\n", "public, dp, conditional"),
        ("[vocabulary]\nfile = 3\n", "file"),
        ("[vocabularies]\nfile = 'x'\n", "did you mean vocabulary?"),
        ("[train-wordlm]\nlayer = 1\n", "did you mean layers?"),
        ("[train-charml]\nlayers = 1\n", "did you mean train-charlm?"),
    ],
    ids=lambda value: value.replace("\n", " "),
)
def test_a_file_that_cannot_be_used_is_one_line_and_a_usage_error(fedprobe, configure, text, words):
    configure(text)
    done = fedprobe(*DRY[:-1])
    assert (done.code, done.out) == (2, "")
    assert words in done.line


def test_a_variable_that_does_not_fit_is_a_usage_error(fedprobe):
    done = fedprobe(*DRY[:-1], FEDPROBE_TRAIN_GAN_ROUNDS="many")
    assert (done.code, done.out) == (2, "")
    assert "--rounds" in done.line


TEXT_DRY = ["train-charlm", "--dry-run", "--population", "100", "--noise-multiplier", "0", "--json"]


def test_the_nearest_source_wins_for_language_models_too(fedprobe, configure):
    assert fedprobe(*TEXT_DRY).json["rounds"] == CHAR_PRESETS["quick"].rounds
    configure("[train-charlm]\nrounds = 11\n[train-wordlm]\nrounds = 9\n")
    assert fedprobe(*TEXT_DRY).json["rounds"] == 11
    assert fedprobe(*TEXT_DRY, FEDPROBE_TRAIN_CHARLM_ROUNDS="12").json["rounds"] == 12
    assert fedprobe(*TEXT_DRY, "--rounds", 13, FEDPROBE_TRAIN_CHARLM_ROUNDS="12").json["rounds"] == 13


@pytest.fixture
def columns(tmp_path, write_shard, fedprobe):
    """Shards whose column `raw` is text as people write it, and whose column `tokens` is something else."""
    raw, tokens = np.array(["The WHALE, the sea."] * 3, object), np.array(["a b"] * 3, object)
    write_shard(tmp_path / "shards" / "s.h5", {f"user {number}": {"raw": raw, "tokens": tokens} for number in range(3)})
    assert fedprobe("init", "shards", "--kind", "simulation").code == 0


@pytest.mark.parametrize(
    ("keys", "flags", "words"),
    [
        ("", [], ["a", "b"]),
        ("column = 'raw'", [], ["sea.", "the", "The", "WHALE,"]),
        ("column = 'raw'\ntokenizer = 'words'", [], ["the", "whale", "sea", ",", "."]),
        ("column = 'raw'\ntokenizer = 'words'", ["--tokenizer", "whitespace"], ["sea.", "the", "The", "WHALE,"]),
        ("column = 'raw'", ["--column", "tokens"], ["a", "b"]),
        ("", ["--column", "raw", "--tokenizer", "words"], ["the", "whale", "sea", ",", "."]),
    ],
)
def test_column_and_tokenizer_come_from_the_file_unless_flags_say_otherwise(
    fedprobe, configure, columns, tmp_path, keys, flags, words
):
    configure(f"[dataset]\nshards = 'shards'\n{keys}\n")
    assert fedprobe("data", "vocabulary", *flags).code == 0
    assert sorted((tmp_path / "vocabulary.txt").read_text().split()) == sorted(words)


@pytest.mark.parametrize(("keys", "code"), [("column = 'nonsense'", 3), ("tokenizer = 'nonsense'", 2)])
def test_a_column_or_tokenizer_of_the_file_that_is_not_there_is_one_line(fedprobe, configure, columns, keys, code):
    configure(f"[dataset]\nshards = 'shards'\n{keys}\n")
    done = fedprobe("data", "vocabulary")
    assert (done.code, done.out) == (code, "") and done.line


def test_a_vocabulary_is_taken_from_the_file_wherever_it_lies(fedprobe, configure, copied_text):
    (copied_text / "deep" / "down").mkdir(parents=True)
    (copied_text / "few.txt").write_text("the\n")
    configure('[dataset]\nshards = "shards"\n[vocabulary]\nfile = "vocabulary.txt"\n')
    select = ["select", "--cohort", "oov-words", "--json"]
    rate = fedprobe(*select, within="deep/down").json["oov_rate"]
    assert rate == fedprobe(*select, "--vocabulary", "vocabulary.txt").json["oov_rate"]
    assert fedprobe(*select, "--vocabulary", "few.txt").json["oov_rate"] > rate


@pytest.mark.parametrize("command", ["train-wordlm", "train-charlm"])
def test_a_provenance_in_the_file_decides_what_epsilon_covers_of_its_vocabulary(
    fedprobe, configure, copied_text, tiny_text, command
):
    """A vocabulary that was counted on these very users knows them, whatever is said of it."""
    (copied_text / "public.txt").write_text("the\nof\nzebra\nquartz\nlynx\n")
    (copied_text / "other.txt").write_text("lynx\nquartz\nzebra\nof\nthe\n")
    for file, said, conditional in (
        ("public.txt", 'provenance = "public"', None),
        ("public.txt", 'provenance = "dp"', "vocabulary"),
        ("public.txt", 'provenance = "conditional"', "vocabulary"),
        ("public.txt", "", "vocabulary"),
        ("vocabulary.txt", 'provenance = "public"', "vocabulary"),
    ):
        configure(f'[dataset]\nshards = "shards"\n[vocabulary]\nfile = "{file}"\n{said}\n')
        privacy = fedprobe(command, *tiny_text, "--rounds", 1, "--json").json["privacy"]
        assert (privacy["conditional"], privacy["conditional_on"]) == (conditional is not None, conditional)
    # What is said of one file is not said of another.
    configure('[dataset]\nshards = "shards"\n[vocabulary]\nfile = "public.txt"\nprovenance = "public"\n')
    other = fedprobe(command, *tiny_text, "--rounds", 1, "--vocabulary", "other.txt", "--json").json["privacy"]
    assert other["conditional_on"] == "vocabulary"
    dry = [command, "--dry-run", "--population", 9, "--json"]
    assert fedprobe(*dry).json["conditional_on"] is None
    assert fedprobe(*dry, "--vocabulary", "other.txt").json["conditional_on"] == "vocabulary"


def test_a_bad_value_names_the_file_or_the_variable_that_it_came_from(fedprobe, configure):
    configure('[train-gan]\nrounds = "ten"\n')
    done = fedprobe(*DRY)
    assert (done.code, done.out) == (2, "")
    assert "fedprobe.toml: " in done.line and "--rounds" in done.line
    done = fedprobe(*DRY, FEDPROBE_TRAIN_GAN_ROUNDS="ten")
    assert done.code == 2 and "FEDPROBE_TRAIN_GAN_ROUNDS: " in done.line and "fedprobe.toml" not in done.line
    done = fedprobe(*DRY, "--rounds", "ten")
    assert done.code == 2 and "--rounds" in done.line
    assert "fedprobe.toml" not in done.line and "FEDPROBE" not in done.line
