"""What scripts may rely on: one JSON object on stdout, its promised keys, errors as JSON on stderr, exit codes."""

import json
import shutil
from dataclasses import fields

import pytest
import torch
import typer

from fedprobe.cli.default_file import beside_the_first
from fedprobe.cli.main import app
from fedprobe.cli.output import Output, error
from fedprobe.models.stored import load_stored, store
from fedprobe.runs import Run
from fedprobe.server import cost
from fedprobe.server.engines.local import EngineError
from fedprobe.server.gan_presets import PRESETS, GanTraining

PRIVACY = {
    "schema",
    "epsilon",
    "delta",
    "adjacency",
    "participation",
    "accountant",
    "noise_multiplier",
    "rounds",
    "users_per_round",
    "population",
    "unit",
    "runs",
}


def run_of(done) -> dict:
    """The object of a command that did well and said nothing else on stdout."""
    assert done.code == 0, done.err
    return done.json


def test_select(fedprobe, copied):
    value = run_of(fedprobe("select", "shards", "--cohort", "low-accuracy", "--primary", "primary", "--json"))
    assert value["schema"] == "fedprobe.select/1"
    assert value["criterion"] == "low-accuracy"
    assert value["thresholds"] == {"below": 0.882}
    assert (value["count"], value["count_is"], value["epsilon"]) == (4, "exact-simulation", None)
    assert value["file"] == "cohorts/low-accuracy.json"
    written = json.loads((copied / value["file"]).read_text())
    assert (written["rule"], written["count"]) == ({"criterion": "low-accuracy", "below": 0.882}, 4)


def test_select_on_rehearsed_data_says_how_well_the_cohort_caught_the_bug(fedprobe, copied):
    fedprobe("data", "corrupt", "shards", "struck", "--bug", "invert-pixels", "--users", "0.25")
    value = run_of(fedprobe("select", "struck", "--json"))
    assert value["rehearsal"] == {"struck": 3, "struck_in_cohort": 3, "others_in_cohort": 9}
    assert "rehearsal" not in run_of(fedprobe("select", "shards", "--json"))


@pytest.mark.parametrize("noise", [0, 0.01])
def test_train_gan(fedprobe, copied, tiny, noise):
    done = fedprobe("train-gan", "shards", *tiny, "--noise-multiplier", noise, "-o", "runs/new", "--json")
    value = run_of(done)
    assert value["schema"] == "fedprobe.train/1"
    assert (value["run"], value["rounds"]) == ("runs/new", 3)
    assert value["seconds"] > 0 and value["rounds_per_second"] > 0
    privacy = value["privacy"]
    assert privacy["schema"] == "fedprobe.privacy/1" and privacy.keys() >= PRIVACY
    assert privacy["unit"] == "user" and privacy["participation"] == "poisson"
    assert (privacy["rounds"], privacy["users_per_round"], privacy["population"]) == (3, 3, 12)
    if noise:
        assert privacy["epsilon"] > 0 and "epsilon_is" not in privacy
    else:
        assert privacy["epsilon"] is None and privacy["epsilon_is"] == "infinite"
    # The same question asked of the run, later.
    assert run_of(fedprobe("privacy", "runs/new", "--json")) == privacy


def test_train_classifier(fedprobe, copied):
    value = run_of(fedprobe("train-classifier", "shards", "--epochs", 1, "-o", "model", "--json", "--no-progress"))
    assert value["schema"] == "fedprobe.train/1"
    assert (value["run"], value["rounds"], value["privacy"]) == ("model", 0, None)
    assert 0 <= value["test_accuracy"] <= 1 and value["test_accuracy_is"] == "exact-simulation"


def test_a_primary_model_of_these_very_users_makes_epsilon_conditional(fedprobe, copied, tiny):
    fedprobe("train-classifier", "shards", "--epochs", 6, "--learning-rate", 0.003, "-o", "own")
    command = ["train-gan", "shards", "--cohort", "misclassified", "--min-examples", 1, *tiny, "--json"]
    assert run_of(fedprobe(*command, "--primary", "primary"))["privacy"]["conditional"] is False
    assert run_of(fedprobe(*command, "--primary", "own"))["privacy"]["conditional"] is True
    (copied / "fedprobe.toml").write_text('[primary]\nprovenance = "public"\n')
    assert run_of(fedprobe(*command, "--primary", "own"))["privacy"]["conditional"] is True


def test_sample(fedprobe, walked, tmp_path):
    for path, round in ((walked / "runs/low", 3), (walked / "runs/low/checkpoints/round_000003", 3)):
        value = run_of(fedprobe("sample", path, "-n", 5, "-o", "picture.png", "--json"))
        assert value["schema"] == "fedprobe.sample/1"
        assert (value["kind"], value["count"], value["shape"]) == ("images", 5, [1, 20, 20])
        assert (value["file"], value["round"]) == ("picture.png", round)
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_seed_decides_the_samples(fedprobe, walked, tmp_path):
    pictures = []
    for seed in (0, 0, 1):
        fedprobe("sample", walked / "runs/low", "-n", 4, "-o", "p.png", "--seed", seed)
        pictures.append((tmp_path / "p.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def shade(run, level: float) -> None:
    """Let a run's generator paint nearly everything in one shade: the bias of its last layer."""
    (folder,) = (run / "checkpoints").iterdir()
    tensors, description = load_stored(folder)
    average = tensors["average"].clone()
    average[-1] = level
    del description["tensors_sha256"]
    store(folder, tensors | {"average": average}, description)


@pytest.fixture
def inverted(copied):
    """Two runs whose generators differ in black and white."""
    shade(copied / "runs/high", 3)
    shade(copied / "runs/low", -3)
    return ["compare", "runs/high", "runs/low", "-n", "40", "-o", "both.png"]


def test_compare(fedprobe, inverted, copied):
    value = run_of(fedprobe(*inverted, "--json"))
    assert value["schema"] == "fedprobe.compare/1"
    assert [side["run"] for side in value["runs"]] == ["runs/high", "runs/low"]
    assert [side["cohort"]["criterion"] for side in value["runs"]] == ["high-accuracy", "low-accuracy"]
    assert value["two_sample"]["accuracy"] == 1 and value["two_sample"]["p_value"] < 0.01
    assert value["two_sample"]["mmd"].keys() == {"squared", "p_value", "permutations"}
    assert value["two_sample"]["mmd"]["p_value"] == 1 / (1 + value["two_sample"]["mmd"]["permutations"])
    (finding,) = value["findings"]
    assert (finding["name"], finding["strength"]) == ("inversion", 1)
    assert "black and white" in finding["says"]
    assert finding["shown"]["kind"] == "images" and set(finding["shown"]["samples"]) < set(range(64))
    assert (copied / value["file"]).exists()
    assert value["cohorts_differ"] is True
    # Disjoint cohorts of one frozen measurement: parallel composition.
    assert value["privacy"]["composition"].count("exclude each other") == 1
    assert value["privacy"].keys() >= PRIVACY


def test_comparing_a_run_with_itself_finds_nothing(fedprobe, walked):
    value = run_of(fedprobe("compare", walked / "runs/low", walked / "runs/low", "-n", 40, "-o", "p.png", "--json"))
    assert value["findings"] == []


@pytest.mark.parametrize(
    ("conditions", "code"),
    [
        (["inversion>0.5"], 5),
        ([" inversion > .99 "], 5),
        (["rotation>0.9"], 0),
        (["rotation>0.9", "inversion>0.5"], 5),
        ([], 0),
    ],
)
def test_fail_on_exits_5_where_a_condition_holds_and_still_tells_all(fedprobe, inverted, conditions, code):
    done = fedprobe(*inverted, "--json", *(word for condition in conditions for word in ("--fail-on", condition)))
    assert done.code == code
    found = done.json["findings"][0]
    assert found["name"] == "inversion"
    said = json.loads(done.line)["message"] if code else ""
    assert bool(code) == (f"inversion of {found['of']} has strength {found['strength']:.2f}, above the bound" in said)
    assert bool(code) == bool(done.err)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        *((text, "FINDING>BOUND") for text in ("inversion", "inversion<0.5", "inversion>much", "inversion>0.5.5")),
        ("inversoin>0.5", "take inversion"),
        ("zzz>0.5", "docs/findings.md"),
        ("inversion>1", "a bound below 1"),
        ("inversion>5", "a bound below 1"),
        ("joined-tokens>0.5", "is looked for in words, not in images"),
        ("truncation>0.5", "is looked for in words and sentences, not in images"),
        ("label-confusion>0.5", "is not looked for between these runs; it takes runs with --classes of one"),
    ],
)
def test_a_condition_that_cannot_hold_is_a_usage_error(fedprobe, walked, condition, says):
    done = fedprobe("compare", walked / "runs/high", walked / "runs/low", "--fail-on", condition)
    assert (done.code, done.out) == (2, "")
    assert "--fail-on" in done.line and says in done.line and len(done.line) < 200


def test_a_picture_that_nobody_names_is_of_these_runs_and_no_others(tmp_path):
    runs = [Run(tmp_path / name) for name in ("a", "b", "c")]
    files = [beside_the_first(some, "compare", ".png") for some in (runs, runs[:2], [*runs[::2]])]
    assert [file.name for file in files] == ["compare-a-b-c.png", "compare-a-b.png", "compare-a-c.png"]
    many = [Run(tmp_path / f"{'long' * 20}-{number}") for number in range(20)]
    files = [beside_the_first(some, "compare", ".png") for some in (many, many[:19], [*many[:18], many[19]])]
    assert len({file.name for file in files}) == 3 and all(len(file.name) < 140 for file in files)


def test_privacy_of_a_plan(fedprobe):
    plan = "--users-per-round 10 --population 1000 --noise-multiplier 1 --rounds 10".split()
    value = run_of(fedprobe("privacy", *plan, "--json"))
    assert value.keys() >= PRIVACY and value["schema"] == "fedprobe.privacy/1"
    assert (value["rounds"], value["users_per_round"], value["population"]) == (10, 10, 1000)
    assert (value["noise_multiplier"], value["runs"], value["adjacency"]) == (1, [], "add-or-remove-one")
    assert value["delta"] == 1e-6 and 0 < value["epsilon"] < 1
    done = fedprobe("privacy", *plan[:-2])
    assert done.code == 2 and "--rounds" in done.line


def test_two_runs_together_cost_what_they_say(fedprobe, walked):
    value = run_of(fedprobe("privacy", walked / "runs/low", walked / "runs/high", "--json"))
    assert value["runs"] == [str(walked / "runs/low"), str(walked / "runs/high")]
    assert value["epsilon_is"] == "infinite"


def test_a_dry_run_opens_no_shard_and_costs_what_the_run_will(fedprobe, tiny):
    done = fedprobe(
        "train-gan", "nowhere.h5", *tiny, "--noise-multiplier", 0.01, "--population", 12, "--dry-run", "--json"
    )
    value = run_of(done)
    assert value.keys() >= PRIVACY and value["rounds"] == 3 and value["epsilon"] > 0
    assert value["predicted_seconds"] == pytest.approx(3 * value["predicted_seconds_per_round"])


def test_a_dry_run_predicts_no_time_where_a_cpu_would_not_tell(fedprobe, tiny):
    plan = [*tiny, "--noise-multiplier", 0.01, "--population", 12, "--dry-run", "--json"]
    value = fedprobe("train-gan", "nowhere.h5", *plan, "--device", "cuda").json
    assert value["predicted_seconds"] is None and value["predicted_seconds_per_round"] is None


def test_a_dry_run_whose_worker_dies_still_says_epsilon(fedprobe, tiny, monkeypatch):
    def died(*_):
        raise EngineError("a worker process died")

    monkeypatch.setattr(cost, "predict", died)
    plan = [*tiny, "--noise-multiplier", 0.01, "--population", 12, "--dry-run", "--json"]
    value = fedprobe("train-gan", "nowhere.h5", *plan).json
    assert value["epsilon"] > 0 and value["predicted_seconds"] is None


def test_a_dry_run_times_the_precision_that_is_asked_for(fedprobe, tiny, monkeypatch):
    asked = []

    def timed(training, networks, workers, precision):
        asked.append(precision)

    monkeypatch.setattr(cost, "predict", timed)
    plan = ["--population", 12, "--noise-multiplier", 1, "--dry-run", "--json"]
    assert fedprobe("train-charlm", "nowhere.h5", *plan, "--precision", "bf16").code == 0
    assert fedprobe("train-gan", "nowhere.h5", *plan).code == 0
    assert asked == ["bf16", "float32"]


def test_a_runs_config_holds_all_that_made_it(walked):
    """Whatever option changes what is trained can be read from the run."""
    config = json.loads((walked / "runs/low/config.json").read_text())
    assert (config["command"], config["method"], config["preset"]) == ("train-gan", "fedavg", "quick")
    assert config["cohort"]["rule"] == {"criterion": "low-accuracy", "below": 0.882}
    assert config["cohort"]["count"] == config["population"] == 4
    assert config["training"].keys() == {field.name for field in fields(GanTraining)}
    changed = {"rounds": 3, "users_per_round": 3, "noise_multiplier": 0}
    for field in fields(GanTraining):
        assert config["training"][field.name] == changed.get(field.name, getattr(PRESETS["quick"], field.name))
    elsewhere = {
        "participation",
        "cohort",
        "below",
        "above",
        "min_examples",
        "share",
        # In the cohort's rule, as its threshold and digest.
        "public",
        "public_share",
        "where",
        "delta",
        "accountant",
        "study",
        "target_epsilon",
        # Of the method with one release, whose config is looked at elsewhere.
        "classes",
        "coefficients",
    }
    no_matter = (
        *"workers engine output resume dry_run record as_json quiet verbose".split(),
        *"no_progress samples_every checkpoint_every".split(),
    )
    options = {parameter.name for parameter in typer.main.get_command(app).commands["train-gan"].params}
    assert options - elsewhere - {"primary", *no_matter} <= config.keys() | config["training"].keys()


def test_a_run_directory_names_nobody(walked, patches):
    for path in (walked / "runs").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for id in patches(12):
                assert id.encode() not in content and json.dumps(id)[1:-1].encode() not in content, path


def test_everything_of_a_run_is_there(walked):
    run = walked / "runs/low"
    assert {path.name for path in run.iterdir()} >= {
        "config.json",
        "privacy.json",
        "metrics.jsonl",
        "checkpoints",
        "samples",
        "card.md",
    }
    assert [json.loads(line)["round"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
    assert (run / "samples/final.png").exists()


ERRORS = {
    "usage": (["train-gan", "--nonsense"], 2, "--help"),
    "no shards": (["train-gan"], 2, "--help"),
    "existing run": (["train-gan", "shards", "-o", "runs/low"], 2, "--resume"),
    "no data": (["data", "describe", "nowhere.h5"], 3, "HDF5"),
    "empty cohort": (["train-gan", "shards", "--share", "1e-12", "--no-progress"], 3, "loosen"),
    "not registered": (["train-gan", "strange.h5"], 4, "fedprobe init"),
    "no run": (["sample", "shards"], 2, "train"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_is_one_json_object_on_stderr(fedprobe, copied, error):
    arguments, code, hint = ERRORS[error]
    shutil.copy(copied / "shards" / "patches.h5", copied / "strange.h5")
    (copied / "fedprobe.toml").unlink()
    plain, done = fedprobe(*arguments), fedprobe(*arguments, "--json")
    assert (done.code, done.out) == (plain.code, "") == (code, "")
    value = json.loads(done.line)
    assert value.keys() == {"schema", "code", "message", "hint"}
    assert (value["schema"], value["code"]) == ("fedprobe.error/1", code)
    assert plain.line.endswith(value["message"])
    assert hint in value["hint"] and value["hint"] in value["message"]


def test_quiet_leaves_stderr_to_errors_and_stdout_to_results(fedprobe, copied, tiny):
    done = fedprobe("train-gan", "shards", *tiny, "--quiet")
    (line,) = [line for line in done.out.splitlines() if line.startswith("epsilon ")]
    after = done.out.splitlines()[done.out.splitlines().index(line) + 1]
    assert (done.code, done.err) == (0, "") and "no guarantee" in line and after.startswith("done ")
    done = fedprobe("select", "shards", "--cohort", "low-accuracy", "--primary", "primary", "--json", "--quiet")
    assert (done.code, done.err) == (0, "") and done.json["count"] == 4


def test_an_own_grid_of_samples_is_drawn_as_often_as_asked(fedprobe, copied, tiny):
    run = run_of(fedprobe("train-gan", "shards", *tiny, "--samples-every", 2, "--checkpoint-every", 1, "--json"))["run"]
    assert {path.name for path in (copied / run / "samples").iterdir()} == {"round_000002.png", "final.png"}
    rounds = sorted(path.name for path in (copied / run / "checkpoints").iterdir())
    assert rounds == ["round_000001", "round_000002", "round_000003"]
    first, last = (load_stored(copied / run / "checkpoints" / name)[0] for name in (rounds[0], rounds[-1]))
    assert not torch.equal(first["critic"], last["critic"])


def test_what_could_command_a_terminal_is_shown_and_not_obeyed(capsys):
    out = Output()
    out.row("name", "col\x1b[31mumn :smile:")
    out.hint("\x9b2J")
    error("\x07 in a message", 3, as_json=False)
    shown = capsys.readouterr()
    assert "\\x1b[31m" in shown.out and ":smile:" in shown.out and "\\x9b2J" in shown.err and "\\x07" in shown.err
    assert not {"\x1b", "\x9b", "\x07"} & {*shown.out, *shown.err}


def test_the_name_of_a_run_commands_no_terminal(fedprobe, copied):
    (copied / "runs/low").rename(copied / "runs/low\x1b[2J")
    done = fedprobe("compare", "runs/high", "runs/low\x1b[2J", "-n", 40, "-o", "p.png")
    assert done.code == 0 and "\\x1b[2J" in done.out and "\x1b" not in done.out + done.err


def test_each_of_three_runs_is_held_against_the_first_and_any_may_fail(fedprobe, inverted, copied):
    command = ["compare", "runs/high", "runs/high", "runs/low", "-n", "40", "-o", "p.png", "--telling"]
    value = run_of(fedprobe(*command, "--json"))
    assert len(value["runs"]) == 3
    assert [test["kind"] for test in value["two_samples"]] == ["images", "images"]
    same, other = value["two_samples"]
    assert same["against"] == other["against"] != other["of"]
    assert same["p_value"] > 0.01 > other["p_value"] == value["two_sample"]["p_value"]
    assert [(finding["name"], finding["of"]) for finding in value["findings"]] == [("inversion", other["of"])]
    plain = fedprobe(*command, "--fail-on", "inversion>0.5")
    assert plain.code == 5 and plain.out.count("two-sample") == 2 and "telling" in plain.out
    turned = ["compare", "runs/high", "runs/low", "runs/high", "-n", "40", "-o", "p.png"]
    assert fedprobe(*turned, "--fail-on", "inversion>0.5").code == 5, "not the last one alone"


def test_rounds_of_one_run_are_a_film_strip(fedprobe, copied):
    run = Run(copied / "runs/low")
    run.checkpoint(1, run.load()[0])
    value = run_of(fedprobe("compare", "runs/low", "--over-time", "--json"))
    rounds = [run["round"] for run in value["runs"]]
    assert rounds == [1, 3]
    assert (value["findings"], value["two_sample"]) == ([], None)
    assert value["file"] == "runs/compare-low-over-time.png" and (copied / value["file"]).exists()
    plain = fedprobe("compare", "runs/low", "--over-time")
    assert plain.code == 0 and plain.out.count("\nround ") + plain.out.startswith("round ") == len(rounds)


@pytest.mark.parametrize(
    "arguments",
    [["runs/low", "runs/high"], ["runs/low", "--fail-on", "inversion>0.5"], ["runs/low/checkpoints/round_000003"]],
    ids=["two runs", "a condition", "one round"],
)
def test_over_time_is_of_one_run_alone(fedprobe, copied, arguments):
    done = fedprobe("compare", *arguments, "--over-time")
    assert (done.code, done.out) == (2, "")
