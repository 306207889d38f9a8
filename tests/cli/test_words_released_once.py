"""`train-charlm --method one-round` from shards to comparison: released, shown, planned, charged, refused."""

import json
import shutil

import numpy as np
import pytest

from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.events import SampledGaussian
from fedprobe.runs import Run

USERS, OWN = 60, "oak-street"
ONCE = ["train-charlm", "data", "--vocabulary", "words.txt", "--method", "one-round", "--workers", "1", "--no-progress"]
LANGUAGE_ONLY = {
    "--preset": "paper",
    "--rounds": 3,
    "--users-per-round": 5,
    "--clip-norm": 0.5,
    "--participation": "fixed",
    "--hidden": 8,
    "--sequence-length": 9,
    "--server-optimizer": "adam",
    "--local-epochs": 2,
    "--model-average": 0.5,
    "--samples-every": 2,
    "--checkpoint-every": 2,
    "--device": "cuda",
}


def users() -> dict:
    """Everybody says `this patch` as two words, and one word that nobody else has."""
    return {f"Oak Street {n}": {"tokens": np.array(["this patch", f"the {OWN}{n}"], object)} for n in range(USERS)}


@pytest.fixture
def words(tmp_path):
    (tmp_path / "words.txt").write_text("the\nthis\npatch\n")


@pytest.fixture
def simulated(tmp_path, fedprobe, simulation, words):
    """A simulation in `data`, and `broken`, a copy with all first tokens joined."""
    simulation(users())
    done = fedprobe("data", "corrupt", "data", "broken", "--bug", "join-first-tokens", "--sentences", "1")
    assert done.code == 0, done.err
    return tmp_path


@pytest.fixture
def private(tmp_path, fedprobe, write_shard, words):
    write_shard(tmp_path / "data" / "s.h5", users())
    assert fedprobe("init", "data", "--budget-epsilon", 4, "--delta", 1e-5).code == 0
    return tmp_path


def broken(*more: object) -> list[object]:
    return ["broken" if part == "data" else part for part in ONCE] + list(more)


def test_the_bug_is_found_in_one_release(simulated, fedprobe):
    noise = ["--noise-multiplier", 0.5]
    assert fedprobe(*ONCE, *noise, "-o", "before").code == 0
    done = fedprobe(*broken(*noise, "-o", "after", "--json"))
    assert done.code == 0, done.err
    privacy = done.json["privacy"]
    assert (privacy["participation"], privacy["rounds"], privacy["rounds_opened"]) == ("every-user", 1, 1)
    assert privacy["threshold_delta"] == 5e-7
    assert privacy["population"] is None and privacy["users_per_round"] is None

    shown = fedprobe("sample", "after", "--json").json
    assert shown["kind"] == "words"
    (word,) = shown["words"]
    assert word["word"] == "this patch"
    assert word["count"] == pytest.approx(USERS / 2**0.5, abs=4)
    assert word["users_interval"][0] <= USERS <= word["users_interval"][1]
    table = fedprobe("sample", "after")
    assert "this␣patch" in table.out and OWN not in table.out
    assert fedprobe("sample", "before", "--json").json["words"] == []

    compared = fedprobe("compare", "before", "after", "--fail-on", "joined-tokens>0.5")
    assert compared.code == 5
    assert "joined-tokens" in compared.out and "none above" in compared.out
    value = fedprobe("compare", "before", "after", "--json").json
    (finding,) = value["findings"]
    assert finding["name"] == "joined-tokens" and finding["shown"]["words"] == ["this patch"]
    assert finding["shown"]["figures"] == {"before": [None], "after": [word["count"]]}
    assert "shown      this␣patch - >" in compared.out
    assert value["two_sample"] is None
    assert value["risen_words"][0]["word"] == "this patch"
    none = fedprobe("compare", "before", "before")
    assert "released a word, so" in none.out and "was looked for." not in none.out
    assert fedprobe("compare", "before", "before", "--json").json["findings"] == []


def test_a_comparison_of_words_says_whom_a_cohort_was_narrowed_to(simulated, fedprobe):
    assert fedprobe(*ONCE, "--noise-multiplier", 0.5, "-o", "all").code == 0
    shutil.copytree(simulated / "all", simulated / "some")
    config = json.loads((simulated / "some/config.json").read_text())
    config["cohort"]["rule"]["where"] = "v == '2.1'"
    (simulated / "some/config.json").write_text(json.dumps(config))
    done = fedprobe("compare", "all", "some")
    assert done.code == 0, done.err
    (said,) = [line for line in done.out.splitlines() if line.startswith("cohort ")]
    assert said.split(maxsplit=1)[1] == "some: oov-words, where v == '2.1'"


def test_given_words_are_looked_up(simulated, fedprobe):
    assert fedprobe(*broken("--noise-multiplier", 0.5, "-o", "after")).code == 0
    value = fedprobe("sample", "after", "--word", "this patch", "--word", f"{OWN}1", "--json").json
    assert [word["word"] for word in value["words"]] == ["this patch"]
    assert value["not_released"] == [f"{OWN}1"]
    assert "no: not released" in fedprobe("sample", "after", "--word", "no").out


def test_the_run_says_what_it_is(simulated, fedprobe):
    assert fedprobe(*broken("--noise-multiplier", 0.5, "-o", "after")).code == 0
    card = (simulated / "after" / "card.md").read_text()
    assert "Gopi et al. 2020" in card and "takes part, once" in card and "CIFG" not in card
    assert "fixed denominator" not in card
    count, word = (simulated / "after" / "samples" / "final.txt").read_text().rstrip("\n").split("\t")
    assert word == "this patch" and float(count) > 0
    assert fedprobe("privacy", "after", "--json").json["threshold_delta"] == 5e-7
    scaled = fedprobe("privacy", "after", "--scale-to-population", 10**6)
    assert scaled.code == 2 and "every user" in scaled.line
    assert fedprobe("privacy", "after", "--plot", "epsilon.png").code == 0


def test_it_goes_on_where_it_was_done(simulated, fedprobe):
    first = broken("--noise-multiplier", 0.5, "-o", "after")
    assert fedprobe(*first).code == 0
    before = (simulated / "after" / "samples" / "final.txt").read_text()
    assert fedprobe(*first, "--resume").code == 0
    assert (simulated / "after" / "samples" / "final.txt").read_text() == before
    assert len(fedprobe("ledger", "broken", "--json").json["entries"]) == 1
    other = fedprobe(*first, "--resume", "--words-per-user", 3)
    assert other.code == 2 and "words_per_user" in other.line


def test_it_stands_beside_a_model_of_words(simulated, fedprobe, tiny_text):
    assert fedprobe(*broken("--noise-multiplier", 0.5, "-o", "table")).code == 0
    model = ["train-charlm", "data", "--cohort", "random", *tiny_text, "-o", "model"]
    assert fedprobe(*model).code == 0
    value = fedprobe("compare", "model", "table", "-n", 100, "--json").json
    assert value["top_words"][1][0]["word"] == "this patch"
    assert [run["kind"] for run in value["runs"]] == ["words", "words"]


def test_an_epsilon_is_planned_for_with_the_threshold_in_it(simulated, fedprobe):
    plan = [*ONCE, "--target-epsilon", 1, "--delta", 1e-6, "--dry-run", "--json"]
    value = fedprobe(*plan).json
    assert value["epsilon"] <= 1
    z = value["noise_multiplier"]
    assert value["epsilon"] == epsilon([SampledGaussian(z, 1.0, 1, 5e-7)], 1e-6).value
    assert epsilon([SampledGaussian(z - 0.001, 1.0, 1, 5e-7)], 1e-6).value > 1
    less = fedprobe(*plan, "--threshold-delta", 1e-7).json
    assert less["threshold_delta"] == 1e-7
    assert less["noise_multiplier"] < z
    assert "1 release" in fedprobe(*plan[:-1]).out


@pytest.mark.parametrize("option", LANGUAGE_ONLY)
def test_options_of_language_models_are_refused(simulated, fedprobe, option, leaves_nothing):
    with leaves_nothing():
        done = fedprobe(*ONCE, option, LANGUAGE_ONLY[option])
    assert done.code == 2
    assert option in done.line and "one-round" in done.line


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--words-per-user", 0], "words-per-user"),
        (["--words-per-user", 10_001, "--noise-multiplier", 1], "10,000"),
        (["--threshold-delta", 1e-3], "threshold-delta"),
        (["--threshold-delta", 2e-6, "--delta", 1e-4], "1e-06"),
        (["--threshold-delta", 0], "must lie between"),
        (["--noise-multiplier", -1], "noise-multiplier"),
        (["--noise-multiplier", 1, "--target-epsilon", 1], "not both"),
        (["--cohort", "low-accuracy"], "images"),
        (["--method", "tree"], "one-round"),
    ],
)
def test_numbers_that_no_release_can_have_are_refused(simulated, fedprobe, more, says, leaves_nothing):
    with leaves_nothing():
        done = fedprobe(*ONCE, *more)
    assert done.code == 2
    assert says in done.line


def test_options_of_one_round_are_refused_elsewhere(simulated, fedprobe):
    for command in ("train-charlm", "train-wordlm"):
        done = fedprobe(command, "data", "--vocabulary", "words.txt", "--words-per-user", 5)
        assert done.code == 2 and "--words-per-user" in done.line
    done = fedprobe("train-wordlm", "data", "--vocabulary", "words.txt", "--method", "one-round")
    assert done.code == 2 and "train-charlm" in done.line


def test_nothing_is_drawn_from_a_table(simulated, fedprobe):
    assert fedprobe(*broken("--noise-multiplier", 0.5, "-o", "after")).code == 0
    for more in (["-n", 50], ["--temperature", 0.5]):
        done = fedprobe("sample", "after", *more)
        assert done.code == 2 and "counted words" in done.line
    assert fedprobe("compare", "after", "after", "-n", 50).code == 2


def test_private_words_take_noise_that_was_asked_for_and_no_population(private, fedprobe):
    refused = fedprobe(*ONCE, "-o", "run")
    assert refused.code == 4 and "--target-epsilon" in refused.line
    done = fedprobe(*ONCE, "--target-epsilon", 2, "-o", "run", "--json")
    assert done.code == 0, done.err
    (entry,) = fedprobe("ledger", "data", "--json").json["entries"]
    assert entry["epsilon"] <= 2 and entry["delta"] == pytest.approx(1e-6)
    assert entry["events"][0]["threshold_delta"] == pytest.approx(5e-7)
    too_much = fedprobe(*ONCE, "--target-epsilon", 3, "-o", "other")
    assert too_much.code == 4 and "ledger" in too_much.line
    kept = [file.read_bytes() for file in (private / "run").rglob("*") if file.is_file()]
    assert not any(OWN.encode() in content or b"Oak Street" in content for content in kept)
    assert f" {USERS}" not in done.err


def test_bad_text_of_a_private_user_names_nothing_silently(private, fedprobe, write_shard):
    data = users()
    data["Oak Street 0"] = {"tokens": np.array([b"\xff\xfe the"])}
    write_shard(private / "data" / "s.h5", data)
    done = fedprobe(*ONCE, "--target-epsilon", 2, "-o", "run")
    assert done.code == 0, done.err
    assert "Oak Street" not in done.out + done.err


STUDY = """
name = "words"
delta = 1e-6
[[plan]]
command = "train-charlm"
cohort = "oov-words"
vocabulary = "words.txt"
participation = "every-user"
noise_multiplier = 4.4
threshold_delta = 5e-7
"""


def test_a_study_declares_the_release_and_a_run_spends_from_it(private, fedprobe):
    (private / "study.toml").write_text(STUDY)
    declared = fedprobe("ledger", "declare", "study.toml", "data", "--json")
    assert declared.code == 0, declared.err
    (entry,) = declared.json["entries"]
    assert entry["epsilon"] == pytest.approx(epsilon([SampledGaussian(4.4, 1.0, 1, 5e-7)], 1e-6).value)
    run = [*ONCE, "--study", "words", "--noise-multiplier", 4.4, "-o", "run"]
    other = fedprobe(*run, "--threshold-delta", 4e-7)
    assert other.code == 4
    assert fedprobe(*run, "--threshold-delta", 5e-7).code == 0
    assert len(fedprobe("ledger", "data", "--json").json["entries"]) == 1
    assert Run.open(private / "run").privacy["study"] == "words"


@pytest.mark.parametrize("wrong", ["threshold_delta = 1e-6", "threshold_delta = -1", 'threshold_delta = "half"'])
def test_a_study_whose_thresholds_make_no_sense_is_refused(private, fedprobe, wrong):
    (private / "study.toml").write_text(STUDY.replace("threshold_delta = 5e-7", wrong))
    done = fedprobe("ledger", "declare", "study.toml", "data")
    assert done.code == 2, done.err
    assert json.loads(fedprobe("ledger", "data", "--json").out)["entries"] == []
