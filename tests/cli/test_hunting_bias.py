"""`fedprobe train-density` and the cohort `unlike-public`: from public shards to a cohort, a run and its statement."""

import json

import numpy as np
import pytest

RINGS = 3
ONCE = ["--method", "one-round"]


@pytest.fixture
def public(tmp_path, fedprobe, write_shard, patches):
    """Public shards in `public`, and the density of their images in `model`."""
    write_shard(tmp_path / "public" / "s.h5", patches(20, seed=5))
    assert fedprobe("init", "public", "--kind", "simulation").code == 0
    done = fedprobe("train-density", "public", "--components", 4, "-o", "model", "--no-progress")
    assert done.code == 0 and "exact: a simulation" in done.out, done.err


@pytest.fixture
def shards(tmp_path, write_shard, patches):
    """Shards in `data`, of users half of whom have images that no public user has; to be registered."""
    users = patches(16)
    for user in list(users.values())[::2]:
        user["pixels"] = np.concatenate([user["pixels"], np.full((RINGS, *user["pixels"].shape[1:]), 0.2, np.float32)])
        user["label"] = np.concatenate([user["label"], np.ones(RINGS, np.int32)])
    return write_shard(tmp_path / "data" / "s.h5", users)


def test_a_cohort_a_file_and_a_run_of_what_is_unlike_the_public(tmp_path, fedprobe, public, shards, tiny):
    fedprobe("init", "data", "--kind", "simulation")
    unlike = ["--cohort", "unlike-public", "--public", "model"]
    value = fedprobe("select", "data", *unlike, "--min-examples", RINGS, "-o", "c.json", "--json").json
    assert (value["count"], value["examples_are"]) == (8, "exact-simulation")
    assert 8 * RINGS <= value["examples"] < value["of_examples"]
    assert value["thresholds"]["at_most"] == json.loads((tmp_path / "c.json").read_text())["rule"]["at_most"]
    shown = fedprobe("select", "data", *unlike, "--public-share", 0.5, "-o", "more.json").out
    assert "log density under the public model" in " ".join(shown.split())
    for name, cohort in (("named", [*unlike, "--min-examples", RINGS]), ("file", ["--cohort", "c.json"])):
        done = fedprobe("train-gan", "data", *cohort, *tiny, "-o", f"runs/{name}", "--json")
        assert done.code == 0 and done.json["rounds"] == 3, done.err
    one, other = (json.loads((tmp_path / "runs" / name / "config.json").read_text()) for name in ("named", "file"))
    assert one["cohort"] == other["cohort"] and one["conditional_on"] is None
    assert "log density under the public model" in (tmp_path / "runs/named/card.md").read_text()
    dry = ["--method", "one-round", "--target-epsilon", 1, "--dry-run", "--json"]
    assert fedprobe("train-gan", "data", *unlike, *dry).json["conditional_on"] is None
    assert fedprobe("train-gan", "data", "--cohort", "c.json", *dry).json["conditional_on"] is None


def test_a_private_cohort_is_free_and_its_run_is_charged(tmp_path, fedprobe, public, shards):
    fedprobe("init", "data", "--budget-epsilon", 4)
    unlike = ["--cohort", "unlike-public", "--public", "model"]
    value = fedprobe("select", "data", *unlike, "--json").json
    assert (value["count"], value["epsilon"]) == (None, 0.0) and "examples" not in value
    paid = fedprobe("select", "data", *unlike, "--count", "--target-epsilon", 1, "--json").json
    assert paid["count_is"] == "dp" and "examples" not in paid
    done = fedprobe("train-gan", "data", *unlike, "--method", "one-round", "--target-epsilon", 1, "-o", "run", "--json")
    assert done.json["privacy"]["conditional_on"] is None and 0.9 < done.json["privacy"]["epsilon"] <= 1
    entries = fedprobe("ledger", "data", "--json").json["entries"]
    assert [entry["what"] for entry in entries] == ["select", "train-gan"]
    assert all(entry["cohort_cell"] is None for entry in entries)


def test_a_study_declares_it(tmp_path, fedprobe, public, shards):
    fedprobe("init", "data", "--budget-epsilon", 4)
    plan = 'command = "train-gan"\nparticipation = "every-user"\nnoise_multiplier = 9\ncohort = "unlike-public"\n'
    (tmp_path / "study.toml").write_text(f'name = "s"\n[[plan]]\n{plan}public = "model"\npublic_share = 0.02\n')
    assert fedprobe("ledger", "declare", "study.toml", "data").code == 0
    spend = ["--method", "one-round", "--noise-multiplier", 9, "--study", "s", "-o", "run"]
    unlike = ["--cohort", "unlike-public", "--public", "model", "--public-share"]
    assert fedprobe("train-gan", "data", *unlike, 0.05, *spend).code == 4
    done = fedprobe("train-gan", "data", *unlike, 0.02, *spend)
    assert done.code == 0, done.err


def test_sentences_unlike_a_public_language_model(tmp_path, fedprobe, copied_text, tiny_text, write_shard, sentences):
    made = fedprobe("train-density", "shards", "--language-model", "runs/sentences", "-o", "model", "--json")
    assert made.code == 0 and made.json["median_log_density"] < 0, made.err
    strange = sentences(12, seed=3)
    for user in list(strange.values())[:4]:
        user["tokens"][2] = "qualm quern quoin qursh"
    write_shard(tmp_path / "other" / "s.h5", strange)
    fedprobe("init", "other", "--kind", "simulation")
    unlike = ["--cohort", "unlike-public", "--public", "model"]
    value = fedprobe("select", "other", *unlike, "-o", "c.json", "--json").json
    assert 4 <= value["examples"] < 0.5 * value["of_examples"]
    words = ["--vocabulary", "vocabulary.txt"]
    for command, cohort in (
        ("train-wordlm", unlike),
        ("train-wordlm", ["--cohort", "c.json"]),
        ("train-charlm", unlike),
    ):
        given = [*cohort, *(words if command == "train-wordlm" else []), *tiny_text]
        done = fedprobe(command, "other", *given, "--json")
        assert done.code == 0, done.err
    # What the model was made of is not unlike it in a way that says nothing of these users.
    done = fedprobe("train-wordlm", "shards", *unlike, *words, *tiny_text, "-o", "runs/own", "--json")
    assert done.json["privacy"]["conditional_on"] == "public model and the vocabulary"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["select", "data", "--cohort", "unlike-public"], 2, "train-density"),
        (["select", "data", "--public", "model"], 2, "only with it"),
        (["select", "data", "--cohort", "unlike-public", "--public", "none"], 3, "nothing is there"),
        (["select", "data", "--cohort", "unlike-public", "--public", "public"], 3, "not a whole"),
        (["select", "data", "--cohort", "unlike-public", "--public", "model", "--public-share", "1.5"], 2, "below 1"),
        (["select", "data", "--cohort", "unlike-public", "--public", "model", "--public-share", "0"], 2, "at least"),
        (["select", "data", "--cohort", "unlike-public", "--public", "model", "--below", "0.5"], 2, "low-accuracy"),
        (["train-gan", "data", "--cohort", "unlike-public", "--noise-multiplier", "9", *ONCE], 2, "--public"),
        (["train-density", "public", "-o", "model"], 2, "exists"),
        (["train-density", "data", "-o", "new"], 4, "simulation"),
        (["train-density", "public", "--language-model", "run", "-o", "new"], 2, "for text"),
        (["train-density", "public", "--components", "100000", "-o", "new"], 3, "--components"),
        (["train-density", "nowhere", "-o", "new"], 3, "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_line(tmp_path, fedprobe, public, shards, arguments, code, says):
    fedprobe("init", "data", "--budget-epsilon", 1)
    done = fedprobe(*arguments, *(["--no-progress"] if arguments[0] != "select" else []))
    assert (done.code, done.out) == (code, "")
    assert says in done.line
    assert not (tmp_path / "new").exists()


def test_text_takes_a_run_of_public_sentences(tmp_path, fedprobe, copied_text, public):
    for more, says in (
        ([], "--language-model"),
        (["--language-model", "runs/words"], "train-wordlm"),
        (["--language-model", "model"], "not a run"),
        (["--components", "3", "--language-model", "runs/sentences"], "for images"),
    ):
        done = fedprobe("train-density", "shards", *more, "-o", "new", "--no-progress")
        assert done.code == 2 and says in done.line, done.err


def test_a_language_model_of_private_text_is_refused(tmp_path, fedprobe, copied_text):
    run = tmp_path / "runs/sentences/privacy.json"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"simulation": False}))
    done = fedprobe("train-density", "shards", "--language-model", "runs/sentences", "-o", "new", "--no-progress")
    assert done.code == 4 and "private population" in done.line
