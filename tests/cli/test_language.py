"""The path of language models: sentences and words trained, sampled, scored, compared, interrupted, gone on with."""

import json
import math
import os
import shutil
import signal
from dataclasses import fields

import pytest
import torch
import typer

from fedprobe.cli.heavy_hitters import OPTIONS_OF
from fedprobe.cli.main import app
from fedprobe.clients.language_update import LanguageModelUpdate
from fedprobe.models.flat import flatten
from fedprobe.models.language import LanguageConfig
from fedprobe.models.stored import load_stored, store
from fedprobe.models.vocabulary import OOV, Bytes, Vocabulary
from fedprobe.server.language_presets import CHAR_PRESETS, WORD_PRESETS, LanguageTraining

STREET, STREET_TOKEN = "Oak Street", "oak-street"
TRAININGS = {
    "train-wordlm": ["train-wordlm", "shards", "--vocabulary", "vocabulary.txt"],
    "train-charlm": ["train-charlm", "shards", "--vocabulary", "vocabulary.txt"],
}
A, B, BLANK = b"ab "


def object_of(done) -> dict:
    """The object of a command that did well and said nothing else on stdout."""
    assert done.code == 0, done.err
    return done.json


def checkpoint(run) -> dict[str, torch.Tensor]:
    return load_stored(max((run / "checkpoints").iterdir()))[0]


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def teach(run, chances: dict[int, float]) -> None:
    """Let a run's model draw every symbol from `chances`, whatever came before."""
    (folder,) = (run / "checkpoints").iterdir()
    tensors, description = load_stored(folder)
    model = LanguageConfig(**json.loads((run / "config.json").read_text())["architecture"]).build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.output_bias.fill_(-200)
        for symbol, chance in chances.items():
            model.output_bias[symbol] = math.log(chance)
    del description["tensors_sha256"]
    store(folder, tensors | {"average": flatten(model)}, description)


@pytest.fixture
def taught(copied_text):
    """Before: words of a's and b's, every fifth word out of vocabulary. After: words joined, and more of them out."""
    teach(copied_text / "runs/words", {A: 0.4, B: 0.2, Bytes.end: 0.4})
    teach(copied_text / "runs/broken-words", {A: 0.3, B: 0.2, BLANK: 0.25, Bytes.end: 0.25})
    teach(copied_text / "runs/sentences", {OOV: 0.15, 4: 0.4, 5: 0.2, Vocabulary.end: 0.25})
    teach(copied_text / "runs/broken-sentences", {OOV: 0.45, 4: 0.2, 5: 0.1, Vocabulary.end: 0.25})
    return copied_text


def test_the_path_counts_corrupts_and_selects_as_the_data_says(walked_text, sentences):
    values = [
        json.loads(out) for out, _ in json.loads((walked_text / "said.json").read_text()).values() if out[0] == "{"
    ]
    by_schema = {value["schema"]: value for value in values}
    rows = [row.split() for user in sentences(12).values() for row in user["tokens"]]
    tokens = [token for row in rows for token in row]
    vocabulary = by_schema["fedprobe.vocabulary/1"]
    words = (walked_text / "vocabulary.txt").read_text().split()
    assert (len(words), vocabulary["size"], vocabulary["tokens"]) == (15, 15, len(tokens))
    assert vocabulary["distinct"] == len(set(tokens)) and vocabulary["counts_are"] == "exact-simulation"
    assert vocabulary["covered"] == pytest.approx(sum(token in words for token in tokens) / len(tokens))
    assert min(map(tokens.count, words)) >= max(tokens.count(token) for token in set(tokens) - set(words))

    corrupted = by_schema["fedprobe.corrupt/1"]
    assert (corrupted["sentences"], corrupted["struck"]) == (len(rows), len(rows)), "no sentence has one word only"

    selected = by_schema["fedprobe.select/1"]
    assert (selected["criterion"], selected["thresholds"]) == ("oov-words", {"min_examples": 1})
    assert (selected["count"], selected["count_is"], selected["epsilon"]) == (12, "exact-simulation", None)
    joined = [[" ".join(row[:2]), *row[2:]] for row in rows]
    out = sum(token not in words for row in joined for token in row)
    assert selected["oov_rate"] == pytest.approx(out / sum(map(len, joined)))
    assert selected["oov_rate_is"] == "exact-simulation"
    assert "rehearsal" not in selected, "a bug that strikes sentences has no users"
    written = json.loads((walked_text / "cohorts/oov.json").read_text())
    assert written["vocabulary"] == "vocabulary.txt" and written["count"] == 12


@pytest.mark.parametrize("command", TRAININGS)
def test_train(fedprobe, copied_text, tiny_text, command):
    done = fedprobe(*TRAININGS[command], *tiny_text, "--noise-multiplier", 0.01, "-o", "runs/new", "--json")
    value = object_of(done)
    assert (value["schema"], value["run"], value["rounds"]) == ("fedprobe.train/1", "runs/new", 3)
    assert value["seconds"] > 0 and value["rounds_per_second"] > 0
    privacy = value["privacy"]
    assert (privacy["schema"], privacy["unit"], privacy["participation"]) == ("fedprobe.privacy/1", "user", "poisson")
    assert (privacy["rounds"], privacy["users_per_round"], privacy["population"]) == (3, 3, 12)
    assert privacy["epsilon"] > 0
    # The vocabulary was counted on these very users.
    assert (privacy["conditional"], privacy["conditional_on"]) == (True, "vocabulary")
    assert object_of(fedprobe("privacy", "runs/new", "--json")) == privacy


@pytest.mark.parametrize(("run", "presets"), [("sentences", WORD_PRESETS), ("words", CHAR_PRESETS)])
def test_a_runs_config_holds_all_that_made_it(walked_text, run, presets):
    config = json.loads((walked_text / "runs" / run / "config.json").read_text())
    command = {"sentences": "train-wordlm", "words": "train-charlm"}[run]
    assert (config["command"], config["method"], config["preset"]) == (command, "fedavg", "quick")
    asked = {
        **{"rounds": 3, "users_per_round": 3, "noise_multiplier": 0},
        **{"embedding": 8, "hidden": 12, "projection": 8, "layers": 1},
    }
    for field in fields(LanguageTraining):
        assert config["training"].pop(field.name) == asked.get(field.name, getattr(presets["quick"], field.name))
    assert config.pop("training") == {}
    assert config["architecture"]["symbols"] == (15 + 4 if run == "sentences" else 258)
    assert config["vocabulary"] is not None, "of sentences its words, of words those that they are outside of"
    elsewhere = {"participation", "cohort", "min_examples", "share", "delta", "accountant", "column", "tokenizer"}
    elsewhere |= {"study", "target_epsilon", "public", "public_share", "where", *OPTIONS_OF["one-round"]}
    no_matter = "workers engine output resume dry_run record as_json quiet verbose no_progress".split()
    no_matter += ["samples_every", "checkpoint_every"]
    options = {parameter.name for parameter in typer.main.get_command(app).commands[command].params}
    known = config.keys() | {field.name for field in fields(LanguageTraining)}
    assert options - elsewhere - set(no_matter) <= known


def test_everything_of_a_run_is_there(walked_text):
    for run in ("sentences", "words"):
        names = {path.name for path in (walked_text / "runs" / run).iterdir()}
        assert names >= {"config.json", "privacy.json", "metrics.jsonl", "checkpoints", "samples", "card.md"}
        assert "vocabulary.txt" in names
        assert len((walked_text / "runs" / run / "samples/final.txt").read_text().splitlines()) == 100
        card = (walked_text / "runs" / run / "card.md").read_text()
        assert "Algorithm 2" in card and "onditional on the vocabulary" in card
    same = (walked_text / name for name in ("vocabulary.txt", "runs/sentences/vocabulary.txt"))
    assert len({path.read_text() for path in same}) == 1


def test_nothing_that_leaves_the_data_names_anybody_or_any_of_her_words(walked_text):
    for stream in sum(json.loads((walked_text / "said.json").read_text()).values(), []):
        for word in (STREET, STREET_TOKEN, "№", "\\u2116"):
            assert word not in stream
    given = [path for folder in ("runs", "cohorts") for path in (walked_text / folder).rglob("*") if path.is_file()]
    assert len(given) > 20
    for path in [*given, walked_text / "vocabulary.txt"]:
        content = path.read_bytes()
        for word in (STREET, STREET_TOKEN, "№", "\\u2116"):
            assert word.encode() not in content, path


def test_sample_words(fedprobe, taught):
    value = object_of(fedprobe("sample", "runs/words", "-n", 4000, "--top", 3, "--json"))
    assert (value["schema"], value["kind"]) == ("fedprobe.sample/1", "words")
    # Of what is drawn, two in five are empty and no words.
    assert 2000 < value["count"] < 4000
    assert [word["word"] for word in value["words"]] == ["a", "b", "aa"]
    expected = [0.4 * 0.4, 0.2 * 0.4, 0.4 * 0.4 * 0.4]
    assert [word["joint_probability"] for word in value["words"]] == pytest.approx(expected, rel=1e-5)
    lines = (taught / value["file"]).read_text().splitlines()
    assert [line.split("\t") for line in lines] == [["0.16", "a"], ["0.08", "b"], ["0.064", "aa"]]
    plain = fedprobe("sample", "runs/words", "-n", 4000, "--top", 3)
    assert plain.code == 0 and "160" in plain.out and " aa " in plain.out


def test_a_given_words_probability_is_exact_and_nothing_is_drawn(fedprobe, taught):
    before = {path for path in (taught / "runs").rglob("*")}
    asked = ["ab", "b a", "zz", "\x1b[2J"]
    done = fedprobe("sample", "runs/broken-words", *(part for word in asked for part in ("--word", word)), "--json")
    value = object_of(done)
    assert [word["word"] for word in value["words"]] == asked
    expected = [0.3 * 0.2 * 0.25, 0.2 * 0.25 * 0.3 * 0.25, 0, 0]
    assert [word["joint_probability"] for word in value["words"]] == pytest.approx(expected, rel=1e-5, abs=1e-30)
    plain = fedprobe("sample", "runs/broken-words", "--word", "b a", "--word", "\x1b[2J")
    assert "b␣a" in plain.out and "\x1b" not in plain.out
    assert {path for path in (taught / "runs").rglob("*")} == before


def test_sample_sentences(fedprobe, taught):
    value = object_of(fedprobe("sample", "runs/sentences", "-n", 3000, "-o", "rates.png", "--json"))
    assert (value["schema"], value["kind"], value["count"]) == ("fedprobe.sample/1", "sentences", 3000)
    assert len(value["sentences"]) == 3000
    words = (taught / "vocabulary.txt").read_text().split()
    drawn = [token for sentence in value["sentences"] for token in sentence]
    assert set(drawn) == {"UNK", words[0], words[1]}
    assert value["oov_rate"] == pytest.approx(drawn.count("UNK") / len(drawn))
    first = [sentence[0] for sentence in value["sentences"] if sentence]
    assert value["oov_rate_by_position"][0] == pytest.approx(first.count("UNK") / len(first))
    assert value["sentences_by_position"][0] == len(first)
    # 0.15 of 0.75; nine standard deviations.
    assert value["oov_rate"] == pytest.approx(0.2, abs=9 * math.sqrt(0.2 * 0.8 / len(drawn)))
    assert (taught / "rates.png").read_bytes().startswith(b"\x89PNG")
    plain = fedprobe("sample", "runs/sentences", "-n", 3000)
    assert "oov rate" in plain.out and "position" in plain.out and "UNK" in plain.out
    assert max(map(len, plain.out.splitlines())) <= 80
    assert (taught / "runs/sentences/samples/sample-0.png").exists()


@pytest.mark.parametrize("run", ["words", "sentences"])
def test_a_checkpoint_is_sampled_and_the_seed_decides(fedprobe, walked_text, tmp_path, run):
    path = walked_text / "runs" / run / "checkpoints" / "round_000003"
    values = [
        object_of(fedprobe("sample", path, "-n", 300, "-o", tmp_path / name, "--seed", seed, "--json"))
        for name, seed in (("a.png", 0), ("a.png", 0), ("a.png", 1))
    ]
    assert values[0] == values[1] != values[2]
    assert values[0]["round"] == 3


def test_a_temperature_sharpens_what_is_sampled(fedprobe, taught):
    value = object_of(fedprobe("sample", "runs/sentences", "-n", 200, "--temperature", 0.05, "-o", "p.png", "--json"))
    likeliest = (taught / "vocabulary.txt").read_text().split()[0]
    assert value["oov_rate"] == 0
    assert {token for sentence in value["sentences"] for token in sentence} == {likeliest}


def test_compare_words(fedprobe, taught):
    value = object_of(fedprobe("compare", "runs/words", "runs/broken-words", "-n", 3000, "--top", 5, "--json"))
    assert value["schema"] == "fedprobe.compare/1"
    assert [(run["run"], run["kind"]) for run in value["runs"]] == [
        ("runs/words", "words"),
        ("runs/broken-words", "words"),
    ]
    assert [run["cohort"]["criterion"] for run in value["runs"]] == ["oov-words"] * 2
    assert value["two_sample"]["p_value"] < 0.01 and value["two_sample"]["accuracy"] > 0.5
    finding = value["findings"][0]
    assert finding["name"] == "joined-tokens" and finding["says"].startswith("broken-words has")
    assert finding["low"] <= finding["strength"] <= finding["high"]
    shown = finding["shown"]
    assert shown["figure"] == "joint probability" and all(" " in word.strip() for word in shown["words"])
    shares = dict(zip(shown["words"], zip(*shown["figures"].values(), strict=True), strict=True))
    assert shares["a a"] == pytest.approx((0, 0.3 * 0.25 * 0.3 * 0.25), rel=1e-5)
    assert [len(ranked) for ranked in value["top_words"]] == [5, 5]
    best = value["top_words"][0][0]
    assert best["word"] == "a"
    assert best["joint_probabilities"] == pytest.approx([0.4 * 0.4, 0.3 * 0.25], rel=1e-5)
    assert best["log_ratio"] == pytest.approx(math.log(0.3 * 0.25 / 0.16), abs=1e-4)
    assert value["risen_words"] and all(" " in word["word"] for word in value["risen_words"])
    assert value["privacy"]["schema"] == "fedprobe.privacy/1"
    plain = fedprobe("compare", "runs/words", "runs/broken-words", "-n", 3000, "--top", 5)
    assert "finding 1" in plain.out and "␣" in plain.out and max(map(len, plain.out.splitlines())) <= 80


def test_compare_sentences(fedprobe, taught):
    command = ["compare", "runs/sentences", "runs/broken-sentences", "-n", 3000, "-o", "rates.png"]
    value = object_of(fedprobe(*command, "--json"))
    assert [run["kind"] for run in value["runs"]] == ["sentences", "sentences"]
    assert [run["oov_rate"] for run in value["runs"]] == pytest.approx([0.2, 0.6], abs=0.05)
    (finding,) = value["findings"]
    assert finding["name"] == "oov-by-position"
    position = int(finding["says"].split("position ")[1].split()[0]) - 1
    assert [one.split()[position] for one in finding["shown"]["sentences"]] == ["UNK"] * 5
    assert (taught / value["file"]).read_bytes().startswith(b"\x89PNG")
    plain = fedprobe(*command)
    assert plain.out.count("oov rate") == 2 and max(map(len, plain.out.splitlines())) <= 80


def test_compare_four_runs_of_two_kinds(fedprobe, taught):
    runs = ["runs/sentences", "runs/words", "runs/broken-sentences", "runs/broken-words"]
    value = object_of(fedprobe("compare", *runs, "-n", 2000, "-o", "rates.png", "--json"))
    assert [run["run"] for run in value["runs"]] == runs
    assert [run["kind"] for run in value["runs"]] == ["sentences", "words"] * 2
    assert {finding["name"] for finding in value["findings"]} >= {"oov-by-position", "joined-tokens"}
    assert [test["kind"] for test in value["two_samples"]] == ["sentences", "words"]
    assert value["two_sample"].keys() >= {"accuracy", "p_value"}
    # All four see the same users, so they add up.
    assert "add up" in value["privacy"]["composition"] and value["privacy"]["conditional"]
    plain = fedprobe("compare", *runs, "-n", 2000, "-o", "rates.png")
    assert plain.code == 0 and "oov-by-position" in plain.out and "joined-tokens" in plain.out
    numbers = [int(line.split()[1]) for line in plain.out.splitlines() if line.startswith("finding ")]
    assert numbers == [*range(1, len(value["findings"]) + 1)], "numbered through, of all kinds"


def test_four_runs_of_one_kind_are_shown_in_80_columns(fedprobe, taught):
    runs = [f"runs/{name}" for name in ("sentences", "broken-sentences")] * 2
    value = object_of(fedprobe("compare", *runs, "-n", 500, "-o", "rates.png", "--json"))
    assert len(value["runs"]) == 4
    plain = fedprobe("compare", *runs, "-n", 500, "-o", "rates.png")
    assert plain.code == 0 and max(map(len, plain.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("conditions", "code"),
    [
        (["joined-tokens>0.1"], 5),
        (["joined-tokens>0.99"], 0),
        (["oov-by-position>0.1"], 5),
        (["truncation>0.9"], 0),
        (["truncation>0.9", "joined-tokens>.05"], 5),
    ],
)
def test_fail_on_exits_5_where_a_finding_of_any_kind_is_that_strong(fedprobe, taught, conditions, code):
    runs = ["runs/sentences", "runs/words", "runs/broken-sentences", "runs/broken-words"]
    asked = [word for condition in conditions for word in ("--fail-on", condition)]
    done = fedprobe("compare", *runs, "-n", 1000, "-o", "rates.png", "--json", *asked)
    assert done.code == code
    assert len(done.json["findings"]) >= 2


def test_fail_on_stays_quiet_for_the_same_run(fedprobe, taught):
    for run, finding in (("runs/words", "joined-tokens"), ("runs/sentences", "oov-by-position")):
        done = fedprobe("compare", run, run, "-n", 1000, "--fail-on", f"{finding}>0", "-o", "rates.png")
        assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("command", ["train-wordlm", "train-charlm"])
def test_a_dry_run_opens_no_shard_and_costs_what_the_run_will(
    fedprobe, copied_text, tiny_text, leaves_nothing, command
):
    plan = [*tiny_text, "--noise-multiplier", 0.01, "--population", 12]
    with leaves_nothing():
        value = object_of(fedprobe(command, "nowhere.h5", *plan, "--dry-run", "--json"))
    assert (value["schema"], value["rounds"]) == ("fedprobe.privacy/1", 3)
    trained = object_of(fedprobe(*TRAININGS[command], *plan, "--json"))
    assert trained["privacy"]["epsilon"] == value["epsilon"] > 0


@pytest.mark.parametrize("command", TRAININGS)
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_after_the_round_and_resume_goes_on_as_if_nothing_had_been(
    fedprobe, copied_text, tiny_text, monkeypatch, command, workers
):
    training = [*TRAININGS[command], *tiny_text]
    update = LanguageModelUpdate.__call__

    def interrupted(self, public, members, round):
        if round == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return update(self, public, members, round)

    with monkeypatch.context() as patch:
        patch.setattr(LanguageModelUpdate, "__call__", interrupted)
        done = fedprobe(*training, "-o", "runs/cut", "--json")
    assert done.code == 130
    assert done.json["rounds"] == 2 and "--resume" in done.err
    assert [path.name for path in (copied_text / "runs/cut/checkpoints").iterdir()] == ["round_000002"]
    done = fedprobe(*training, "--workers", workers, "-o", "runs/cut", "--resume", "--json")
    assert (done.code, done.json["rounds"]) == (0, 3)
    whole = copied_text / "runs" / ("sentences" if command == "train-wordlm" else "words")
    assert_same(checkpoint(copied_text / "runs/cut"), checkpoint(whole))


@pytest.mark.parametrize("command", TRAININGS)
def test_more_rounds_go_on_and_fewer_are_refused(fedprobe, copied_text, tiny_text, command):
    training = [*TRAININGS[command], *tiny_text]
    assert fedprobe(*training, "--rounds", 1, "-o", "runs/grown").code == 0
    assert fedprobe(*training, "-o", "runs/grown", "--resume").code == 0
    whole = copied_text / "runs" / ("sentences" if command == "train-wordlm" else "words")
    assert_same(checkpoint(copied_text / "runs/grown"), checkpoint(whole))
    done = fedprobe(*training, "--rounds", 2, "-o", "runs/grown", "--resume")
    assert done.code == 2 and "fewer" in done.line


@pytest.mark.parametrize("damage", ["tensors.safetensors", "manifest.json"])
@pytest.mark.parametrize("run", ["sentences", "words"])
def test_a_damaged_checkpoint_is_refused_and_the_run_left_as_it_was(
    fedprobe, copied_text, tiny_text, leaves_nothing, run, damage
):
    folder = copied_text / "runs" / run
    file = folder / "checkpoints/round_000003" / damage
    file.write_bytes(file.read_bytes()[:-20])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    training = TRAININGS["train-wordlm" if run == "sentences" else "train-charlm"]
    for command in (
        ["sample", folder],
        ["compare", folder, f"runs/broken-{run}", "-o", "p.png"],
        [*training, *tiny_text, "-o", folder, "--resume"],
    ):
        with leaves_nothing():
            done = fedprobe(*command)
        assert (done.code, done.out) == (3, "") and "round_000003" in done.line
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("changed", ["the\ndog\n", "", None], ids=["other words", "nothing", "gone"])
def test_a_run_whose_vocabulary_was_changed_is_refused(fedprobe, copied_text, leaves_nothing, changed):
    file = copied_text / "runs/sentences/vocabulary.txt"
    file.unlink() if changed is None else file.write_text(changed)
    for command in (
        ["sample", "runs/sentences"],
        ["compare", "runs/broken-sentences", "runs/sentences", "-o", "p.png"],
    ):
        with leaves_nothing():
            done = fedprobe(*command)
        assert (done.code, done.out) == (3, "")
        assert "vocabulary.txt" in done.line and "dog" not in done.line


def test_samples_are_written_as_often_as_asked(fedprobe, copied_text, tiny_text):
    training = [*TRAININGS["train-charlm"], *tiny_text, "--samples-every", 2, "--checkpoint-every", 1, "--json"]
    run = copied_text / object_of(fedprobe(*training))["run"]
    assert run.name == "train-charlm-oov-words-1"
    assert {path.name for path in (run / "samples").iterdir()} == {"round_000002.txt", "final.txt"}
    assert len(list((run / "checkpoints").iterdir())) == 3


def test_a_model_of_words_may_be_trained_on_all_words_without_a_vocabulary(fedprobe, copied_text, tiny_text):
    value = object_of(fedprobe("train-charlm", "shards", "--cohort", "random", *tiny_text, "--json"))
    assert value["run"] == "runs/train-charlm-random-1"
    assert value["privacy"]["conditional"] is False


def test_quiet_leaves_stderr_to_errors_and_stdout_to_results(fedprobe, copied_text, tiny_text):
    for training in TRAININGS.values():
        done = fedprobe(*training, *tiny_text, "--quiet")
        assert (done.code, done.err) == (0, "") and "epsilon" in done.out


def test_a_steward_reads_columns_and_counts_but_no_text(fedprobe, copied_text):
    value = object_of(fedprobe("data", "describe", "broken", "--check", "--json", "--quiet"))
    assert (value["users"], value["columns"], value["checked"]) == (12, ["tokens"], True)
    plain = fedprobe("data", "describe", "shards", "--check")
    assert plain.code == 0 and "tokens" in plain.out
    assert STREET_TOKEN not in plain.out + plain.err and STREET not in plain.out + plain.err


def test_going_on_says_what_the_lost_rounds_cost_too(fedprobe, copied_text, tiny_text):
    """Three rounds were opened and lost: with three more, six are spent."""
    options = [*tiny_text, "--noise-multiplier", 1]
    assert fedprobe("train-charlm", "shards", "--vocabulary", "vocabulary.txt", *options, "-o", "runs/again").code == 0
    shutil.rmtree(copied_text / "runs" / "again" / "checkpoints")
    done = fedprobe(
        "train-charlm", "shards", "--vocabulary", "vocabulary.txt", *options, "-o", "runs/again", "--resume"
    )
    first = next(line for line in done.out.splitlines() if line.startswith("epsilon"))
    after = fedprobe("privacy", "runs/again").out
    assert first in after.splitlines() and "3 rounds planned, 6 opened" in " ".join(done.out.split())


def test_a_run_goes_on_with_the_column_it_was_started_with(fedprobe, copied_text, tiny_text):
    options = ["--vocabulary", "vocabulary.txt", *tiny_text, "-o", "runs/again"]
    assert fedprobe("train-charlm", "shards", *options).code == 0
    done = fedprobe("train-charlm", "shards", *options, "--tokenizer", "words", "--rounds", 4, "--resume")
    assert done.code == 2 and "text" in done.line
