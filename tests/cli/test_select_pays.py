"""`fedprobe select`: what is free, what costs, what is exact, and that nothing else is said about private users."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from fedprobe.clients import cohorts
from fedprobe.clients.data.shards import DataError

USERS = 23
LOW = ["--cohort", "low-accuracy", "--primary"]
HIGH = ["--cohort", "high-accuracy", "--primary"]
# 0.5 from a budget of 4, cheap to account for.
PAY = ["--target-epsilon", "0.5"]


@pytest.fixture
def private(tmp_path, fedprobe, write_shard, patches):
    """A private population in `data`, of USERS users, 9 of whom have all labels wrong; a budget of 4."""
    write_shard(tmp_path / "data" / "s.h5", patches(USERS, mislabelled=9))
    assert fedprobe("init", "data", "--budget-epsilon", 4).code == 0


def entries(fedprobe) -> list[dict]:
    return fedprobe("ledger", "data", "--json").json["entries"]


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:\.\d+)?", text))


@pytest.mark.parametrize("more", [["--below", "0.882"], [], ["--below", "0.882", "--dry-run"]], ids=" ".join)
def test_a_public_threshold_is_free_and_shows_nobody(tmp_path, fedprobe, private, primary, more):
    done = fedprobe("select", "data", *LOW, primary, *more, "-v", "--no-progress", "-o", "low.json")
    assert done.code == 0, done.err
    assert not {str(number) for number in (USERS, 9, USERS - 9)} & numbers(done.out + done.err)
    value = fedprobe("select", "data", *LOW, primary, *more, "-o", "low.json", "--json").json
    assert value["epsilon"] == value["delta"] == 0
    assert entries(fedprobe) == []
    if "--dry-run" in more:
        assert not (tmp_path / "low.json").exists()
        return
    written = json.loads((tmp_path / "low.json").read_text())
    for one in (value, written):
        assert (one["count"], one["count_is"]) == (None, "not-released")
        assert not {"users", "accuracy_percentiles", "histogram", "rehearsal", "oov_rate"} & set(one)
    assert written["rule"] == {"criterion": "low-accuracy", "below": 0.882}


@pytest.mark.parametrize("cohort", ["random", "low-accuracy", "correct"])
def test_a_user_more_changes_nothing_that_a_free_cohort_shows(
    tmp_path, fedprobe, write_shard, patches, primary, cohort
):
    """Not even where nobody is in the cohort: only random ids differ."""
    said = []
    for name, count in (("one", 5), ("more", 6), ("wrong", 5)):
        write_shard(tmp_path / name / "s.h5", patches(count, mislabelled=5 if name == "wrong" else 0))
        fedprobe("init", name, "--budget-epsilon", 1)
        done = fedprobe("select", name, "--cohort", cohort, "--primary", primary, "-o", f"{name}.json", "--no-progress")
        value = json.loads((tmp_path / f"{name}.json").read_text())
        value["population"] = value["measurement"] = "random"
        said.append((done.code, done.out.replace(f"{name}.json", ""), done.err, value))
    assert said[0][0] == 0 and said[0] == said[1] == said[2]


def test_the_paid_numbers_are_the_releases_and_cost_what_is_said(tmp_path, fedprobe, private, primary):
    done = fedprobe("select", "data", *LOW, primary, "--below", "0.5", "--count", *PAY, "-o", "low.json", "--json")
    value, written = done.json, json.loads((tmp_path / "low.json").read_text())
    assert value["count_is"] == value["histogram"]["is"] == value["accuracy_percentiles_are"] == "dp"
    for name in ("count", "count_is", "users", "epsilon", "delta", "accuracy_percentiles", "histogram"):
        assert value[name] == written[name]
    assert value["thresholds"] == {"below": 0.5} and value["thresholds_are"] == "public"
    # All of it follows from the histogram.
    counts = value["histogram"]["counts"]
    assert len(counts) == 101 == len(value["histogram"]["edges"]) - 1
    assert value["count"] == max(1, round(sum(counts[:50]))) and value["users"] == max(1, round(sum(counts)))
    (entry,) = entries(fedprobe)
    assert (entry["what"], entry["id"]) == ("select", value["ledger_entry"])
    assert 0.49 < entry["epsilon"] <= 0.5 and entry["epsilon"] == value["epsilon"] == value["privacy"]["epsilon"]
    assert entry["delta"] == value["delta"] == pytest.approx(1e-7)
    assert entry["rounds_opened"] == 1 and entry["settled_at"]
    assert value["privacy"]["ledger"]["before"]["epsilon"] == 0
    assert value["privacy"]["ledger"]["spent"]["epsilon"] == entry["epsilon"]


def test_every_release_has_noise_of_its_own_and_is_charged(fedprobe, private, primary):
    paid = ["select", "data", *LOW, primary, "--count", "--noise-multiplier", "20", "--json"]
    one, other = fedprobe(*paid).json, fedprobe(*paid).json
    assert one["histogram"]["counts"] != other["histogram"]["counts"]
    assert len(entries(fedprobe)) == 2
    assert other["privacy"]["ledger"]["spent"]["epsilon"] == pytest.approx(2 * one["epsilon"])


@pytest.mark.parametrize(
    ("cohort", "option", "percentile"), [("low-accuracy", "below", "p25"), ("high-accuracy", "above", "p75")]
)
def test_a_percentile_becomes_a_number_in_the_rule(tmp_path, fedprobe, private, primary, cohort, option, percentile):
    done = fedprobe(
        "select", "data", "--cohort", cohort, "--primary", primary, f"--{option}", percentile, *PAY, "-o", "c.json"
    )
    assert done.code == 0, done.err
    written = json.loads((tmp_path / "c.json").read_text())
    threshold = written["rule"][option]
    assert threshold in written["histogram"]["edges"] and 0 < threshold < 1
    assert written["thresholds_are"] == "dp"
    assert f"{percentile} of the users' accuracies" in done.out and "±" in done.out
    assert "broken half" in done.err and f"--{option} {threshold:.4g}" in done.err
    # The file is as good as a rule with that number: used again, it costs nothing more.
    again = fedprobe("select", "data", "--cohort", cohort, "--primary", primary, f"--{option}", threshold, "--json")
    assert again.json["epsilon"] == 0 and len(entries(fedprobe)) == 1


@pytest.mark.parametrize(
    "rule",
    [["--cohort", "misclassified"], ["--cohort", "correct", "--min-examples", "1"], ["--cohort", "random"]]
    + [["--cohort", "random", "--share", "0.5"]],
    ids=" ".join,
)
def test_cohorts_without_a_threshold_are_counted_by_membership(fedprobe, private, primary, rule):
    value = fedprobe("select", "data", *rule, "--primary", primary, "--count", *PAY, "--json").json
    assert value["count_is"] == "dp" and value["count"] >= 1 and value["users"] >= 1
    assert value["count_standard_error"] == pytest.approx(value["noise_multiplier"])
    assert "histogram" not in value and "accuracy_percentiles" not in value
    assert len(entries(fedprobe)) == 1


def test_words_are_counted_without_their_rate(tmp_path, fedprobe, write_shard, sentences):
    write_shard(tmp_path / "data" / "s.h5", sentences(12))
    (tmp_path / "v.txt").write_text("the\na\nto\n")
    fedprobe("init", "data", "--budget-epsilon", 4)
    words = ["select", "data", "--cohort", "oov-words", "--vocabulary", "v.txt"]
    done = fedprobe(*words, "--no-progress")
    assert done.code == 0 and not numbers(done.out.replace("0: of these", "")) - {"1"}
    value = fedprobe(*words, "--count", *PAY, "--json").json
    assert value["count_is"] == "dp" and "oov_rate" not in value


NOT_ASKED = {
    "no noise": (["--below", "p25"], 4, "--target-epsilon"),
    "no noise for a count": (["--count"], 4, "--target-epsilon"),
    "noise 0": (["--count", "--noise-multiplier", "0"], 4, "protects nobody"),
    "above the budget": (["--count", "--noise-multiplier", "0.9"], 4, "left"),
    "above the delta": (["--count", "--target-epsilon", "1", "--delta", "1e-3"], 4, "delta"),
    "noise for nothing": (["--target-epsilon", "1"], 2, "--count"),
    "both": (["--count", "--target-epsilon", "1", "--noise-multiplier", "4"], 2, "not both"),
    "negative": (["--count", "--noise-multiplier=-1"], 2, "noise multiplier"),
    "not above 0": (["--count", "--target-epsilon", "0"], 2, "epsilon must be above 0"),
    "no percentile": (["--below", "p100"], 2, "percentile"),
    "no number": (["--below", "much"], 2, "percentile"),
    "no accuracy": (["--below", "25"], 2, "between 0 and 1"),
    "the other side": (["--above", "p75"], 2, "--above"),
    "no picture": (["--count", *PAY, "--plot", "a.pdf"], 2, ".png"),
    "nothing to draw": (["--plot", "a.png"], 2, "--plot"),
    "no place": (["--count", *PAY, "-o", "data/s.h5/c.json"], 2, "another place"),
}


@pytest.mark.parametrize("name", NOT_ASKED)
def test_what_cannot_be_is_refused_before_anything_is_read_or_spent(
    tmp_path, fedprobe, unreadable, primary, leaves_nothing, name
):
    more, code, words = NOT_ASKED[name]
    with leaves_nothing():
        done = fedprobe("select", "data", *LOW, primary, *more)
    assert (done.code, done.out) == (code, ""), done.err
    assert words in done.line
    assert entries(fedprobe) == []


def test_a_study_that_is_not_declared_pays_for_nothing(fedprobe, private, primary):
    done = fedprobe("select", "data", *LOW, primary, "--count", "--noise-multiplier", "9", "--study", "unheard")
    assert done.code == 4 and "study" in done.line
    assert entries(fedprobe) == []


def test_a_study_pays_for_its_histogram_once(tmp_path, fedprobe, private, primary):
    (tmp_path / "study.toml").write_text(
        'name = "figures"\n[[plan]]\ncommand = "select"\nnoise_multiplier = 9\n'
        '[[plan]]\ncommand = "train-gan"\ncohort = "low-accuracy"\nbelow = 0.5\nrounds = 2\nusers_per_round = 2\n'
        "population = 20\nnoise_multiplier = 4\n"
    )
    assert fedprobe("ledger", "declare", "study.toml", "data").code == 0
    (declared,) = entries(fedprobe)
    paid = ["select", "data", *LOW, primary, "--count", "--noise-multiplier", "9", "--study", "figures"]
    value = fedprobe(*paid, "--json").json
    assert value["count_is"] == "dp" and value["epsilon"] < declared["epsilon"]
    (after,) = entries(fedprobe)
    assert after["epsilon"] == declared["epsilon"] and after["rounds_opened"] == 1 and not after["settled_at"]
    assert fedprobe(*paid).code == 4, "the study has one such plan"


def test_a_dry_run_prints_the_cost_and_opens_no_shard(fedprobe, unreadable, primary, leaves_nothing):
    command = ["select", "data", *LOW, primary, "--below", "p25", *PAY, "--dry-run"]
    with leaves_nothing():
        done, value = fedprobe(*command), fedprobe(*command, "--json").json
    assert done.code == 0 and "epsilon" in done.out and "0.00 -> 0.50 of 4.00" in done.out
    assert 0.49 < value["epsilon"] <= 0.5 and value["delta"] == pytest.approx(1e-7)
    assert value["privacy"]["conditional"], "nothing says that the primary model is public"
    assert entries(fedprobe) == []
    refused = fedprobe("select", "data", *LOW, primary, "--count", "--noise-multiplier", "0.9", "--dry-run")
    assert refused.code == 0 and "would be refused" in refused.err


def test_the_histogram_is_reserved_before_anybody_is_measured(fedprobe, private, primary, monkeypatch):
    """What fails on the way stays spent: it may have been seen."""
    opened = []

    def fail(*_):
        opened.extend(entry["rounds_opened"] for entry in entries(fedprobe))
        raise DataError("the disk died; buy another")

    monkeypatch.setattr(cohorts, "measure", fail)
    assert fedprobe("select", "data", *LOW, primary, "--count", *PAY, "--quiet").code == 3
    assert opened == [1]
    assert len(entries(fedprobe)) == 1


def test_what_does_not_fit_is_found_before_it_is_paid_for(tmp_path, fedprobe, write_shard, primary):
    write_shard(tmp_path / "data" / "s.h5", {"a": {"pixels": np.zeros((1, 5, 5), np.float32), "label": np.array([0])}})
    fedprobe("init", "data", "--budget-epsilon", 4)
    done = fedprobe("select", "data", *LOW, primary, "--count", *PAY)
    assert done.code == 3 and "size" in done.line
    assert entries(fedprobe) == []


def test_a_population_without_a_budget_is_refused_unopened(tmp_path, fedprobe, write_shard, patches, primary):
    path = write_shard(tmp_path / "data" / "s.h5", patches(2))
    assert fedprobe("init", "data").code == 0
    path.write_bytes(b"garbage")
    for more in ([], ["--count", *PAY]):
        done = fedprobe("select", "data", *LOW, primary, *more)
        assert done.code == 4 and "budget" in done.line


def test_one_users_bad_content_stops_nothing_and_is_not_told(tmp_path, fedprobe, write_shard, patches, primary):
    users = patches(6, mislabelled=2)
    first = list(users)[0]
    users[first]["pixels"][1, 2, 3] = np.nan
    write_shard(tmp_path / "data" / "s.h5", users)
    fedprobe("init", "data", "--budget-epsilon", 4)
    for cohort in ("random", "low-accuracy", "misclassified"):
        done = fedprobe("select", "data", "--cohort", cohort, "--primary", primary, "--no-progress")
        assert (done.code, done.err) == (0, "")
        assert "finite" not in done.out and first not in done.out
    (faults,) = (tmp_path / "data").rglob("faults.json")
    assert set(json.loads(faults.read_text())) == {first}


def test_a_rehearsal_on_private_data_does_not_tell_whom_the_cohort_caught(fedprobe, private, primary):
    struck = fedprobe("data", "corrupt", "data", "struck", "--bug", "invert-pixels", "--users", "0.5")
    assert struck.code == 0, struck.err
    for more in ([], ["--json"]):
        done = fedprobe("select", "struck", *LOW, primary, *more, "--no-progress")
        assert done.code == 0 and "rehearsal" not in done.out + done.err


def test_a_terminal_is_not_told_how_many_users_there_are(fedprobe, private, primary):
    """Forced to be a terminal, so that the bar is drawn."""
    done = fedprobe("select", "data", *LOW, primary, FORCE_COLOR="1", TTY_INTERACTIVE="1")
    assert done.code == 0
    assert "\x1b[" in done.err and "measuring" in done.err
    # Not even a share: users are measured so many at once.
    assert "%" not in done.err and f"/{USERS}" not in done.err and "users" not in done.err
    # Nor how long it takes, as of a training: it tells of how much there is.
    assert not re.search(r"\d:\d\d", done.err)
    once = ["--method", "one-round", "--noise-multiplier", 9, "--workers", 1, "-o", "run"]
    done = fedprobe("train-gan", "data", *once, FORCE_COLOR="1", TTY_INTERACTIVE="1")
    assert done.code == 0 and "training" in done.err, done.err
    assert not re.search(r"\d:\d\d", done.err) and "rounds/s" not in done.out + done.err


def test_what_was_released_plans_a_training(tmp_path, fedprobe, private, primary, tiny):
    fedprobe("select", "data", *LOW, primary, "--count", "--noise-multiplier", "9", "-o", "low.json")
    count = json.loads((tmp_path / "low.json").read_text())["count"]
    train = ["train-gan", "data", "--cohort", "low.json", *tiny, "--noise-multiplier", "6", "--rounds", "1"]
    done = fedprobe(*train, "-o", "run", "--json")
    assert done.code == 0, done.err
    assert done.json["privacy"]["population"] == count
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["cohort"]["count"] == count and "histogram" not in config["cohort"]


# Simulations: exact figures, marked.


@pytest.fixture
def mixed(simulation, patches):
    """A simulation of 40 users whose accuracies are all different shares; return the accuracies."""
    users, stream, accuracies = patches(40), np.random.default_rng(3), []
    for user in users.values():
        wrong = stream.random(len(user["label"])) < stream.uniform(0, 0.6)
        user["label"] = np.where(wrong, 1 - user["label"], user["label"]).astype(np.int32)
        accuracies.append(1 - wrong.mean())
    simulation(users)
    return np.array(accuracies)


def test_percentiles_of_a_simulation_are_exact_and_marked(tmp_path, fedprobe, mixed, primary):
    """Tables 10 and 11: thresholds at the quartiles, and how many users are below and above."""
    low = fedprobe("select", "data", *LOW, primary, "--below", "p25", "-o", "low.json", "--json").json
    high = fedprobe("select", "data", *HIGH, primary, "--above", "p75", "-o", "high.json", "--json").json
    first, third = np.percentile(mixed, [25, 75])
    assert low["thresholds"]["below"] == pytest.approx(first) and high["thresholds"]["above"] == pytest.approx(third)
    assert low["count"] == (mixed < first - 1e-9).sum() and high["count"] == (mixed > third + 1e-9).sum()
    for value in (low, high, json.loads((tmp_path / "low.json").read_text())):
        exact = {name: value[name] for name in ("count_is", "accuracy_percentiles_are", "thresholds_are")}
        assert set(exact.values()) == {"exact-simulation"} == {value["histogram"]["is"]}
        assert sum(value["histogram"]["counts"]) == 40 == value["users"]
    assert low["accuracy_percentiles"]["75"] == pytest.approx(third)
    assert low["epsilon"] is None


def test_counts_by_example_are_those_of_table_12(fedprobe, mixed, primary, patches):
    wrong = (1 - mixed) * [len(user["label"]) for user in patches(40).values()]
    value = fedprobe("select", "data", "--cohort", "misclassified", "--primary", primary, "--json").json
    assert value["count"] == (np.rint(wrong) >= 5).sum()


def test_the_figure_is_shown_and_drawn(tmp_path, fedprobe, mixed, primary):
    done = fedprobe("select", "data", *LOW, primary, "--below", "0.8", "--plot", "pictures/accuracy.png")
    assert done.code == 0, done.err
    rows = [line for line in done.out.splitlines() if re.match(r"[\[(]0\.\d\d, [01]\.\d\d[\])]", line)]
    assert sum(int(row.removesuffix("< 0.8").split()[-1]) for row in rows) == 40
    assert sum("< 0.8" in row for row in rows) == 1
    assert all(len(line) <= 80 for line in done.out.splitlines())
    with Image.open(tmp_path / "pictures" / "accuracy.png") as image:
        assert image.format == "PNG"


def test_a_simulation_needs_no_noise_and_says_that_it_takes_none(fedprobe, mixed, primary):
    """The same command line rehearses what will be paid for."""
    done = fedprobe("select", "data", *LOW, primary, "--below", "p25", "--count", *PAY)
    assert done.code == 0 and "exact: a simulation" in done.out and "counted exactly" in done.err
    assert entries(fedprobe) == []
    dry = fedprobe("select", "data", *LOW, primary, "--below", "p25", "--dry-run", "--json").json
    assert dry["epsilon"] == 0
