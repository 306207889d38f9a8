"""Where options come from: flag, then FEDPROBE_*, then fedprobe.toml, then default."""

import pytest

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
        ("[dataset]\nzzz = 'x'\n", "known are: shards"),
        ("rounds = 3\n", "rounds"),
        ("dataset = 3\n", "[dataset]"),
        ("[primary]\nprovenance = 'hearsay'\n", "public, dp, conditional"),
        ("[dataset\n", "TOML"),
        ("[train-gan]\nrounds = 'many'\n", "--rounds"),
        ("[dataset]\nshards = 3\n", "shards"),
        ("[dataset]\nshards = [1, 2]\n", "shards"),
        ("[primary]\nmodel = 3\n", "model"),
        ("[privacy]\nbudget_epsilon = 'much'\n", "budget"),
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
