"""The cohort file: what the modeler may hold, decided again on the very data it was made for."""

import json

import pytest

from fedprobe.clients.cohort_files import read_cohort, write_cohort
from fedprobe.clients.cohorts import decide_cohort
from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.errors import RequestError
from fedprobe.models.primary import load_primary, save_primary
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.ledger import create
from fedprobe.privacy.population import register
from fedprobe.privacy.randomness import key
from fedprobe.privacy.rules import rule

RULES = [
    rule("random"),
    rule("random", share=0.7, seed=3),
    rule("low-accuracy", below=0.5),
    rule("high-accuracy", above=0.9),
    rule("misclassified"),
    rule("correct"),
]


@pytest.fixture
def mislabelled(tmp_path, write_shard, patches):
    """A registered data set of 12 users, 4 of whom have all labels wrong."""
    path = write_shard(tmp_path / "data" / "s.h5", patches(12, mislabelled=4))
    register([path], "simulation")
    return path


@pytest.mark.parametrize("one", RULES, ids=lambda one: one.says())
def test_a_cohort_file_leads_back_to_the_cohort_and_names_nobody(tmp_path, mislabelled, primary, one):
    dataset = open_dataset([mislabelled])
    decided = decide_cohort(dataset, one, primary)
    write_cohort(tmp_path / "cohorts" / "c.json", decided.to_json(dataset))

    text = (tmp_path / "cohorts" / "c.json").read_text()
    for position, id in enumerate(dataset.users):
        for form in (id, json.dumps(id)[1:-1], str(key(id))):
            assert form not in text, f"user {position} can be read from the file"

    again = read_cohort(tmp_path / "cohorts" / "c.json", open_dataset([mislabelled]))
    assert again.rule == one
    assert again.members.users.tolist() == decided.members.users.tolist()
    if one.by_example:
        assert [rows.tolist() for rows in again.members.rows] == [rows.tolist() for rows in decided.members.rows]


def test_the_mislabelled_users_are_the_low_cohort_and_all_others_the_high_one(mislabelled, primary, patches):
    dataset = open_dataset([mislabelled])
    wrong = set(list(patches(12, mislabelled=4))[:4])
    low = decide_cohort(dataset, rule("low-accuracy"), primary)
    high = decide_cohort(dataset, rule("high-accuracy"), primary)
    assert {dataset.users[user] for user in low.members.users} == wrong
    assert {dataset.users[user] for user in high.members.users} == set(dataset.users) - wrong
    assert low.measurement.id == high.measurement.id


def test_exact_figures_say_that_they_are(mislabelled, primary):
    dataset = open_dataset([mislabelled])
    value = decide_cohort(dataset, rule("low-accuracy"), primary).to_json(dataset)
    assert (value["count"], value["count_is"]) == (4, "exact-simulation")
    assert value["accuracy_percentiles"] == {"25": 0.0, "50": 1.0, "75": 1.0}
    assert value["accuracy_percentiles_are"] == "exact-simulation"


def test_member_keys_are_the_members_own(tmp_path, mislabelled, primary, write_shard, patches):
    """A member's key is a function of her id: the same whatever position she has."""
    dataset = open_dataset([mislabelled])
    everybody = decide_cohort(dataset, rule("random"), None).member_keys(dataset)
    low = decide_cohort(dataset, rule("low-accuracy"), primary)
    assert len(set(everybody)) == 12
    assert list(low.member_keys(dataset)) == [everybody[user] for user in low.members.users]


@pytest.mark.parametrize(
    ("described", "said", "known"),
    [
        ({"provenance": "public"}, None, False),
        ({"provenance": "public"}, "dp", True),
        ({"provenance": "public"}, "conditional", True),
        ({"provenance": "conditional"}, "public", True),
        ({}, "public", True),
        ({"provenance": "public", "population": "this"}, "public", True),
        # No run of this population's ledger, whatever its folder says.
        ({"provenance": "dp", "population": "this", "run_id": "feed"}, None, True),
        ({"provenance": "dp", "run_id": "feed"}, "public", True),
    ],
    ids=str,
)
def test_a_primary_model_that_may_know_the_users_makes_the_statement_conditional(
    tmp_path, mislabelled, primary, described, said, known
):
    dataset = open_dataset([mislabelled])
    if "population" in described:
        described = described | {"population": dataset.population.id}
    model, _ = load_primary(primary)
    save_primary(tmp_path / "model", model, described)
    cohort = decide_cohort(dataset, rule("low-accuracy"), tmp_path / "model")
    assert cohort.conditional_on(dataset, said, create(dataset.population, dataset.paths)) == (
        "primary model" if known else None
    )


def test_a_primary_model_that_is_a_release_of_the_same_ledger_knows_nothing_more(tmp_path, mislabelled, primary):
    dataset = open_dataset([mislabelled])
    ledger = create(dataset.population, dataset.paths)
    entry = ledger.reserve("train-classifier", [SampledGaussian(1.0, 0.5, 1)], delta=1e-6)
    model, _ = load_primary(primary)
    described = {"provenance": "dp", "population": dataset.population.id, "run_id": entry.run}
    save_primary(tmp_path / "model", model, described)
    cohort = decide_cohort(dataset, rule("low-accuracy"), tmp_path / "model")
    assert cohort.conditional_on(dataset, None, ledger) == "primary model", "reserved, and nothing of it released"
    with ledger.rounds_of(entry.run, entry.events[0]) as rounds:
        rounds.open()
    assert cohort.conditional_on(dataset, None, ledger) is None
    assert cohort.conditional_on(dataset, None) == "primary model", "without a ledger nobody can tell"
    assert cohort.conditional_on(dataset, "conditional", ledger) == "primary model"


def test_a_rule_that_measures_needs_a_primary_model(mislabelled):
    with pytest.raises(RequestError, match="--primary"):
        decide_cohort(open_dataset([mislabelled]), rule("low-accuracy"), None)


@pytest.fixture
def cohort_file(tmp_path, mislabelled, primary):
    dataset = open_dataset([mislabelled])
    write_cohort(tmp_path / "c.json", decide_cohort(dataset, rule("low-accuracy", below=0.5), primary).to_json(dataset))
    return tmp_path / "c.json"


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "null", '"text"', "{}", "\x00"])
def test_a_file_that_is_no_cohort_is_refused(tmp_path, mislabelled, content):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(DataError, match="fedprobe select"):
        read_cohort(tmp_path / "c.json", open_dataset([mislabelled]))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "fedprobe.cohort/99"},
        {"rule": {"criterion": "low-accuracy", "below": 2}},
        {"rule": {"criterion": "low-accuracy", "below": "much"}},
        {"rule": {"criterion": "everyone I like"}},
        {"rule": {"criterion": "random", "unheard": 1}},
        {"rule": []},
        {"primary": 5},
    ],
    ids=str,
)
def test_a_cohort_file_that_was_altered_is_refused(cohort_file, mislabelled, change):
    cohort_file.write_text(json.dumps(json.loads(cohort_file.read_text()) | change))
    with pytest.raises(DataError, match="fedprobe select"):
        read_cohort(cohort_file, open_dataset([mislabelled]))


def test_a_missing_cohort_file_is_refused(tmp_path, mislabelled):
    for there, said in ((None, "is not there; make it with"), ("nine.json", "did you mean nine.json")):
        if there is not None:
            (tmp_path / there).write_text("{}")
        with pytest.raises(DataError, match=f"{said}.*fedprobe select"):
            read_cohort(tmp_path / "none.json", open_dataset([mislabelled]))


def test_a_cohort_of_another_data_set_is_refused(tmp_path, cohort_file, write_shard, patches):
    other = write_shard(tmp_path / "other" / "s.h5", patches(12, mislabelled=4))
    for _ in range(2):
        with pytest.raises(DataError, match="another data set"):
            read_cohort(cohort_file, open_dataset([other]))
        register([other], "simulation")


def test_a_cohort_of_shards_that_changed_since_is_refused(cohort_file, mislabelled, write_shard, patches):
    write_shard(mislabelled, patches(11, mislabelled=4, seed=2))
    with pytest.raises(DataError, match="select the cohort again"):
        read_cohort(cohort_file, open_dataset([mislabelled]))
