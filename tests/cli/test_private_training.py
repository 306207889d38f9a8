"""Training on a private population: what must be asked for, what is refused, and that a resumed run is not."""

import json
import shutil

import h5py
import pytest

TINY = ["--users-per-round", "3", "--checkpoint-every", "1", "--workers", "1", "--no-progress"]
COUNTED = ["--population", "12"]


@pytest.fixture
def private(tmp_path, fedprobe, write_shard, patches, primary):
    """A population in `data`, with a budget of 4; cohorts that exclude each other, `low.json` and `high.json`."""
    write_shard(tmp_path / "data" / "s.h5", patches(12, mislabelled=5))
    assert fedprobe("init", "data", "--budget-epsilon", 4).code == 0
    for name, side in (("low", ["--below", "0.8"]), ("high", ["--above", "0.9"])):
        cohort = ["--cohort", f"{name}-accuracy", *side, "--primary", primary, "-o", f"{name}.json"]
        assert fedprobe("select", "data", *cohort).code == 0


def train(fedprobe, cohort: str, run: str, epsilon: float, rounds: int, *more: str):
    asked = ["--target-epsilon", str(epsilon), "--rounds", str(rounds), "-o", run]
    return fedprobe("train-gan", "data", "--cohort", cohort, *asked, *TINY, *COUNTED, *more)


def spent(fedprobe) -> float:
    return fedprobe("ledger", "data", "--json").json["spent"]["epsilon"]


def test_a_round_that_was_lost_is_a_plan_of_its_own(fedprobe, private, tmp_path):
    assert train(fedprobe, "low.json", "run", 2, 4).code == 0
    # As if a crash had lost the last round: it was opened, and nothing of it was written.
    shutil.rmtree(tmp_path / "run/checkpoints/round_000004")
    again = train(fedprobe, "low.json", "run", 2, 4, "--resume")
    assert again.code == 0, again.err
    entries = fedprobe("ledger", "data", "--json").json["entries"]
    assert [entry["events"][0]["rounds"] for entry in entries] == [4, 1]
    assert 2 < spent(fedprobe) < 4


def test_a_run_goes_on_with_what_it_reserved_though_the_ledger_has_no_room_for_another(fedprobe, private):
    assert train(fedprobe, "low.json", "run", 3, 4).code == 0
    before = spent(fedprobe)
    refused = train(fedprobe, "low.json", "other", 3, 4)
    assert refused.code == 4 and "left of 4" in refused.line
    again = train(fedprobe, "low.json", "run", 3, 4, "--resume")
    assert again.code == 0, again.err
    assert spent(fedprobe) == before


def test_two_cohorts_that_exclude_each_other_each_may_take_more_than_half(fedprobe, private):
    for name in ("low", "high"):
        done = train(fedprobe, f"{name}.json", name, 3, 2)
        assert done.code == 0, done.err
    assert spent(fedprobe) <= 3


def named(fedprobe, primary, side: list[str], run: str, epsilon: float, *more: str):
    """Train on a cohort that is named on the fly."""
    cohort = ["--cohort", f"{'low' if side[0] == '--below' else 'high'}-accuracy", *side, "--primary", primary]
    asked = ["--target-epsilon", str(epsilon), "--rounds", "2", "-o", run]
    return fedprobe("train-gan", "data", *cohort, *asked, *TINY, *COUNTED, *more)


LOW, HIGH = ["--below", "0.8"], ["--above", "0.9"]


def test_so_may_two_that_are_named_on_the_fly(fedprobe, private, primary):
    for side, run in ((LOW, "low"), (HIGH, "high")):
        done = named(fedprobe, primary, side, run, 3)
        assert done.code == 0, done.err
    assert spent(fedprobe) <= 3
    dry = named(fedprobe, primary, LOW, "dry", 0.5, "--dry-run", "--json")
    assert spent(fedprobe) < dry.json["ledger"]["after"]["epsilon"] <= 3.5


def test_of_what_was_never_measured_nothing_is_read_where_it_cannot_fit(
    fedprobe, tmp_path, write_shard, patches, primary, monkeypatch
):
    write_shard(tmp_path / "data" / "s.h5", patches(12, mislabelled=5))
    fedprobe("init", "data", "--budget-epsilon", 4)
    with monkeypatch.context() as patch:
        patch.setattr(h5py, "File", lambda *_: pytest.fail("a shard was opened"))
        refused = named(fedprobe, primary, LOW, "low", 5)
    assert refused.code == 4 and "left of 4" in refused.line
    assert named(fedprobe, primary, LOW, "low", 3).code == 0
    # Measured now: the other side fits, but not the same one again, nor both sides at once.
    with monkeypatch.context() as patch:
        patch.setattr(h5py, "File", lambda *_: pytest.fail("a shard was opened"))
        for side in (LOW, ["--above", "0.7"]):
            assert named(fedprobe, primary, side, "more", 3).code == 4
    assert named(fedprobe, primary, HIGH, "high", 3).code == 0
    # Of shards that changed there is no measurement, and everybody may be anywhere.
    write_shard(tmp_path / "data" / "s.h5", patches(13, mislabelled=5))
    refused = named(fedprobe, primary, HIGH, "drifted", 3)
    assert refused.code == 4 and spent(fedprobe) <= 3


def test_a_dry_run_says_what_would_be_refused(fedprobe, private):
    fits, not_any_more = (train(fedprobe, "low.json", "dry", target, 2, "--dry-run", "--json") for target in (3, 5))
    assert fits.code == not_any_more.code == 0
    assert fits.json["refused"] is None and "left of 4" in not_any_more.json["refused"]
    assert "it would be: this plan needs" in train(fedprobe, "low.json", "dry", 5, 2, "--dry-run").out


STUDY = """
name = "both"
[[plan]]
name = "low"
command = "train-gan"
cohort = "low-accuracy"
below = 0.8
users_per_round = 3
population = 12
rounds = 2
noise_multiplier = 2.0
"""


def test_a_dry_run_of_a_part_of_a_study_is_charged_with_it_or_refused(fedprobe, private, tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    assert fedprobe("ledger", "declare", "study.toml", "data").code == 0
    before = spent(fedprobe)
    part = ["train-gan", "data", "--cohort", "low.json", *TINY, "--study", "both"]
    declared = [*COUNTED, "--rounds", "2", "--noise-multiplier", "2"]
    done = fedprobe(*part, *declared, "--dry-run", "--json")
    assert done.code == 0, done.err
    assert done.json["ledger"]["after"]["epsilon"] == before > 0
    for other in (["--rounds", "3"], ["--noise-multiplier", "1"], ["--study", "boht"]):
        refused = fedprobe(*part, *declared, *other, "--dry-run")
        assert refused.code == 4 and ("no such plan" in refused.line or "no study boht" in refused.line)
    # A name that is none is said before the numbers that it would have declared are asked for.
    assert "no study boht" in fedprobe(*part, "--study", "boht", "-o", "run").line
    assert spent(fedprobe) == before
    # Taken by a run it is left for nobody else, and that run may look ahead.
    assert fedprobe(*part, *declared, "-o", "run").code == 0
    assert fedprobe(*part, *declared, "--dry-run").code == 4
    assert fedprobe(*part, *declared, "-o", "run", "--resume", "--dry-run").code == 0
    assert spent(fedprobe) == before


def test_noise_that_nobody_can_account_for_is_a_usage_error(fedprobe, private):
    for more in (["-o", "run"], ["--dry-run"]):
        done = fedprobe(
            "train-gan", "data", "--cohort", "low.json", *TINY, *COUNTED, "--noise-multiplier", "1e-150", *more
        )
        assert (done.code, done.out) == (2, "") and "more noise" in done.line


@pytest.mark.parametrize(
    "asked, code, says",
    [
        (["--participation", "fixed", "--target-epsilon", "1"], 4, "lower bound"),
        (["--target-epsilon", "1"], 4, "--population"),
        ([*COUNTED], 4, "--target-epsilon"),
        ([*COUNTED, "--noise-multiplier", "0"], 4, "protects nobody"),
        ([*COUNTED, "--noise-multiplier", "1", "--target-epsilon", "1"], 2, "not both"),
        ([*COUNTED, "--target-epsilon", "1", "--accountant", "paper"], 2, "no bound"),
    ],
)
def test_what_must_be_asked_for_is_said(fedprobe, private, asked, code, says):
    done = fedprobe("train-gan", "data", "--cohort", "low.json", *asked)
    assert done.code == code and says in done.line
    assert fedprobe("ledger", "data", "--json").json["entries"] == []


def test_the_run_says_what_the_ledger_held(fedprobe, private, tmp_path):
    assert train(fedprobe, "low.json", "run", 1, 2).code == 0
    ledger = json.loads((tmp_path / "run/privacy.json").read_text())["ledger"]
    assert ledger["budget"]["epsilon"] == 4 and ledger["spent"]["epsilon"] == spent(fedprobe)
    assert "budget is 4" in (tmp_path / "run/card.md").read_text()


def test_a_dry_run_says_what_the_ledger_would_hold_and_never_that_there_is_none(fedprobe, private):
    assert train(fedprobe, "low.json", "run", 2, 4).code == 0
    said = " ".join(train(fedprobe, "random", "next", 1, 4, "--dry-run").out.split())
    assert "ledger 2.00 -> 3.00 of 4.00" in said and "No ledger" not in said
    assert spent(fedprobe) == pytest.approx(2, abs=0.01)
