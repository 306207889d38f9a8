"""`fedprobe train-classifier` through the mechanism: in a simulation by choice, on private data the only way."""

import json
import re

import numpy as np
import pytest

from fedprobe.models.primary import load_primary

USERS = 23
TINY = "--rounds 3 --users-per-round 6 --workers 1 --no-progress".split()
FEDAVG = ["train-classifier", "data", "--method", "fedavg", *TINY]
# Noise enough for a small epsilon of three rounds, and a budget that admits it.
PAID = ["--population", 1000, "--noise-multiplier", 2, "--classes", 2]
PRIVATE = ["train-classifier", "data", *TINY, *PAID]


@pytest.fixture
def simulated(simulation, patches):
    simulation(patches(12))


@pytest.fixture
def private(tmp_path, fedprobe, write_shard, patches):
    """A private population in `data`, with a budget of 4."""
    write_shard(tmp_path / "data" / "s.h5", patches(USERS))
    assert fedprobe("init", "data", "--budget-epsilon", 4).code == 0


def entries(fedprobe) -> list[dict]:
    return fedprobe("ledger", "data", "--json").json["entries"]


def model_of(folder) -> tuple[str, dict]:
    """The digest of a primary model's weights, and its description."""
    _, description = load_primary(folder)
    return description["tensors_sha256"], description


def test_it_learns_what_the_users_know_and_says_how_well_exactly(fedprobe, simulated, tmp_path):
    done = fedprobe(*FEDAVG, "--noise-multiplier", 0, "--rounds", 40, "--model-average", 0, "-o", "run")
    assert done.code == 0, done.err
    _, description = model_of(tmp_path / "run")
    assert description["test_accuracy"] == 1 and description["test_examples"] > 0
    said = " ".join(done.out.split())
    assert f"test accuracy 1.000 on {description['test_examples']} examples (exact: a simulation)" in said
    assert "model in run/model" in said
    assert "--primary run" in done.err and "fedprobe sample" not in done.err


def test_it_leaves_a_run_whose_folder_is_a_primary_model(fedprobe, simulated, tmp_path):
    done = fedprobe(*FEDAVG, "--json", "-o", "run")
    assert done.code == 0, done.err
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.json", "privacy.json", "metrics.jsonl", "checkpoints", "card.md", "model"} <= left
    assert done.json["run"] == "run" and done.json["rounds"] == 3
    assert fedprobe("privacy", "run", "--json").json == done.json["privacy"]
    card = (tmp_path / "run" / "card.md").read_text()
    assert "Algorithm 2" in card and "The paper's CNN for 20 x 20 x 1 images and 2 classes" in card
    chosen = fedprobe("select", "data", "--cohort", "correct", "--min-examples", 1, "--primary", "run", "--json")
    assert chosen.code == 0, chosen.err
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3


def test_examples_that_were_held_out_are_no_part_of_what_was_trained_on(fedprobe, simulated, tmp_path):
    # The run is tested on itself, then on the shards themselves, where nothing is held out.
    examples = 0
    for name, more in (("held", []), ("given", ["--test", "data"])):
        assert fedprobe(*FEDAVG, *more, "--noise-multiplier", 0, "-o", name).code == 0
        digest, description = model_of(tmp_path / name)
        held_out = json.loads((tmp_path / name / "config.json").read_text())["training"]["held_out"]
        if name == "held":
            examples, first = description["test_examples"], digest
            assert held_out == 0.1
        else:
            assert held_out == 0 and description["test_examples"] > 3 * examples > 0 and digest != first


def test_a_simulation_is_trained_on_pooled_examples_unless_it_is_asked_otherwise(fedprobe, simulated, tmp_path):
    assert fedprobe("train-classifier", "data", "--epochs", 1, "-o", "pooled", "--no-progress").code == 0
    assert not (tmp_path / "pooled" / "config.json").exists()
    assert model_of(tmp_path / "pooled")[1]["provenance"] == "public"


@pytest.mark.parametrize("noise, provenance, conditional", [(0, "conditional", True), (0.5, "dp", False)])
def test_what_a_cohort_is_decided_with_is_charged_in_the_ledger_or_makes_epsilon_conditional(
    fedprobe, simulation, patches, tiny, tmp_path, noise, provenance, conditional
):
    simulation(patches(12, mislabelled=4))
    assert fedprobe(*FEDAVG, "--noise-multiplier", noise, "--accountant", "rdp", "-o", "run").code == 0
    _, description = model_of(tmp_path / "run")
    assert description["provenance"] == provenance
    records = [json.loads(path.read_text()) for path in (tmp_path / "data").rglob("record.json")]
    assert description["population"] == records[0]["id"]
    charged = entries(fedprobe)
    assert [(entry["what"], entry["run"]) for entry in charged] == [("train-classifier", description["run_id"])]
    # Some users contradict the others, so that no model is right about everybody.
    cohort = ["--cohort", "low-accuracy", "--below", 1, "--primary", "run"]
    gan = fedprobe("train-gan", "data", *cohort, *tiny, "--json")
    assert gan.code == 0, gan.err
    assert gan.json["privacy"]["conditional"] is conditional


def test_going_on_equals_training_without_a_stop(fedprobe, simulated, tmp_path):
    clear = ["--noise-multiplier", 0]
    assert fedprobe(*FEDAVG, *clear, "-o", "whole").code == 0
    assert fedprobe(*FEDAVG, *clear, "--rounds", 2, "-o", "run").code == 0
    before = model_of(tmp_path / "run")
    done = fedprobe(*FEDAVG, *clear, "--rounds", 3, "-o", "run", "--resume")
    assert done.code == 0, done.err
    after = model_of(tmp_path / "run")
    assert after[0] == model_of(tmp_path / "whole")[0] != before[0]
    assert (before[1]["rounds"], after[1]["rounds"]) == (2, 3)


def test_private_data_is_charged_and_no_figure_of_it_is_shown(fedprobe, private, tmp_path):
    done = fedprobe(*PRIVATE, "-v", "-o", "run")
    assert done.code == 0, done.err
    (entry,) = entries(fedprobe)
    assert entry["what"] == "train-classifier" and 0 < entry["epsilon"] < 4
    said = done.out + done.err
    assert "accuracy" not in said.replace("--cohort low-accuracy", "") and "provenance dp" in said
    assert not {str(USERS), str(USERS - 1)} & set(re.findall(r"\d+(?:\.\d+)?", said))
    _, description = model_of(tmp_path / "run")
    assert description["provenance"] == "dp" and "test_accuracy" not in description
    assert not any(b"Oak Street" in path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    # Who is below a public threshold under it is free, and conditional on nothing.
    free = fedprobe("select", "data", "--cohort", "low-accuracy", "--below", 0.5, "--primary", "run", "--json")
    assert free.code == 0, free.err
    assert free.json["epsilon"] == 0 and len(entries(fedprobe)) == 1


@pytest.mark.parametrize("what, value", [("pixels", np.nan), ("label", -1), ("label", 2)])
def test_bad_content_of_a_private_user_stops_nothing_and_is_not_spoken_of(
    fedprobe, tmp_path, write_shard, patches, what, value
):
    users = patches(USERS)
    said = []
    for name in ("good", "bad"):
        write_shard(tmp_path / name / "s.h5", users)
        assert fedprobe("init", name, "--budget-epsilon", 4).code == 0
        done = fedprobe("train-classifier", name, *TINY, *PAID, "-o", "run", "-q", within=".")
        assert done.code == 0, done.err
        said.append(re.sub(r"\d+ s \([\d.e+]+ rounds/s\)", "", done.out + done.err))
        (tmp_path / "run").rename(tmp_path / f"run of {name}")
        next(iter(users.values()))[what][0] = value
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "without, words, code",
    [("--classes", "--classes", 2), ("--population", "--population", 4), ("--noise-multiplier", "--target-epsilon", 4)],
)
def test_private_data_is_not_looked_at_for_what_was_not_said(
    fedprobe, unreadable, leaves_nothing, without, words, code
):
    at = PRIVATE.index(without)
    with leaves_nothing():
        done = fedprobe(*PRIVATE[:at], *PRIVATE[at + 2 :], "-o", "run")
    assert (done.code, done.out) == (code, "") and words in done.line
    assert entries(fedprobe) == []


@pytest.mark.parametrize(
    "asked",
    [
        *(["--noise-multiplier", 0], ["--noise-multiplier", 0.001]),
        *(["--method", "pooled", "--test", "data"], ["--method", "pooled", "--dry-run"]),
    ],
)
def test_private_data_is_not_trained_on_in_the_clear_or_over_budget(fedprobe, private, leaves_nothing, asked):
    given = [*TINY, "--population", 1000, "--classes", 2] if "pooled" not in asked else []
    with leaves_nothing():
        done = fedprobe("train-classifier", "data", *given, *asked, "-o", "run")
    assert done.code == 4 and done.line.startswith("refused: ")
    assert entries(fedprobe) == []


def test_private_shards_to_test_on_are_refused(fedprobe, private, leaves_nothing):
    with leaves_nothing():
        done = fedprobe(*PRIVATE, "--test", "data", "-o", "run")
    assert done.code == 4 and "--test" in done.line


@pytest.mark.parametrize(
    "given, words",
    [
        (["--noise-multiplier", 1], "--noise-multiplier is for --method fedavg"),
        (["--resume"], "--resume is for --method fedavg"),
        (["--method", "pooled", "--rounds", 3], "--rounds is for --method fedavg"),
        (["--method", "fedavg", "--epochs", 3], "--epochs is for --method pooled"),
        (["--method", "central"], "pooled or fedavg"),
        (["--epochs", 1, "--dry-run"], "pooled training has none"),
        (["--method", "pooled", "--dry-run"], "pooled training has none"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_an_option_of_the_other_method_is_refused(fedprobe, simulated, leaves_nothing, given, words):
    with leaves_nothing():
        done = fedprobe("train-classifier", "data", *given, "-o", "run")
    assert (done.code, done.out) == (2, "") and words in done.line


def test_fedprobe_toml_may_hold_defaults_of_both_methods_where_the_command_says_which(fedprobe, simulated, tmp_path):
    (tmp_path / "fedprobe.toml").write_text("[train-classifier]\nepochs = 1\nrounds = 3\nusers-per-round = 6\n")
    done = fedprobe("train-classifier", "data", "-o", "run")
    assert done.code == 2 and "--method fedavg" in done.line
    for method, more in (("pooled", []), ("fedavg", ["--workers", 1])):
        done = fedprobe("train-classifier", "data", "--method", method, *more, "--no-progress", "-o", method)
        assert done.code == 0, done.err


@pytest.mark.parametrize("method", [[], ["--method", "fedavg"]])
def test_a_dry_run_says_what_the_plan_would_cost_and_opens_no_shard(fedprobe, unreadable, leaves_nothing, method):
    with leaves_nothing():
        done = fedprobe("train-classifier", "data", *method, *TINY, *PAID, "--dry-run", "--json", "-o", "run")
    assert done.code == 0, done.err
    assert 0 < done.json["epsilon"] < 4 and done.json["conditional"] is False
    assert entries(fedprobe) == []


def test_a_run_that_has_left_no_model_yet_is_no_primary(fedprobe, walked):
    done = fedprobe("select", walked / "shards", "--cohort", "low-accuracy", "--primary", walked / "runs/low")
    assert done.code == 3 and "holds no classifier" in done.line
