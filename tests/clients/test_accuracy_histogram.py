"""What is counted beside private data, who is counted, and what leaves as a release."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.clients import measuring
from fedprobe.clients.cohort_files import read_cohort, released_count, write_cohort
from fedprobe.clients.cohorts import decide_cohort, require_decidable
from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.clients.measuring import Measurement, sound_users
from fedprobe.clients.selection import Members, accuracy_histogram, membership_histogram
from fedprobe.errors import RequestError
from fedprobe.models.vocabulary import Vocabulary, write_vocabulary
from fedprobe.privacy import noise
from fedprobe.privacy.entries import Entry
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.histogram import USER_STEPS, accuracy_histogram_of, membership_histogram_of
from fedprobe.privacy.population import register
from fedprobe.privacy.rules import rule

ANSWERS = st.lists(st.lists(st.booleans(), max_size=6), min_size=1, max_size=8)


def measured(answers: list[list[bool]]) -> Measurement:
    flat = np.array([answer for user in answers for answer in user], bool)
    return Measurement("any", flat, np.cumsum([0, *map(len, answers)]))


def entry(noise_multiplier: float = 2.0) -> Entry:
    """What a ledger hands out for one histogram."""
    return Entry("entry", "select", (SampledGaussian(noise_multiplier, 1.0, 1),), 1.0, 1e-7)


def spoil(users: dict) -> dict:
    """The same with a bad user of every kind, under ids that sort anywhere; the healthy ones' ids are kept."""
    (example,) = list(users.values())[:1]

    def bad(**changes):
        return {name: changes.get(name, values.copy()) for name, values in example.items()}

    pixels, label = example["pixels"], example["label"]
    nan, above, negative = pixels.copy(), pixels.copy(), label.copy()
    nan[1, 2, 3], above[1, 2, 3], negative[1] = np.nan, 7.0, -1
    return users | {
        "a NaN": bad(pixels=nan),
        "z above": bad(pixels=above),
        "m negative": bad(label=negative),
        "n no class": bad(label=np.where(np.arange(len(label)) == 1, 2, label).astype(label.dtype)),
        "b empty": bad(pixels=pixels[:0], label=label[:0]),
    }


BAD = {"a NaN", "z above", "m negative", "n no class", "b empty"}


@pytest.fixture
def private(tmp_path, write_shard, patches):
    """A private population: 12 healthy users, 4 of them with all labels wrong, and five whose content is bad."""
    path = write_shard(tmp_path / "data" / "s.h5", spoil(patches(12, mislabelled=4)))
    register([path], "private", 4.0)
    return path


@given(ANSWERS, st.booleans())
def test_a_measured_user_counts_once_and_others_nowhere(answers, right_closed):
    bins = accuracy_histogram_of(1.0, 0.882, right_closed)
    counts = accuracy_histogram(measured(answers), bins)
    assert counts.dtype == np.int64
    assert counts.sum() == sum(map(bool, answers))


@given(ANSWERS, st.lists(st.booleans(), min_size=1, max_size=6), st.data())
def test_a_user_more_moves_one_count_by_one(answers, another, data):
    bins = accuracy_histogram_of(1.0)
    place = data.draw(st.integers(0, len(answers)))
    more = [*answers[:place], another, *answers[place:]]
    moved = accuracy_histogram(measured(more), bins) - accuracy_histogram(measured(answers), bins)
    assert np.abs(moved).sum() == moved.max() == 1


def test_members_are_counted_by_hand():
    counted = np.array([True, True, False, True, True])
    members = Members(np.array([0, 3]))
    assert membership_histogram(members, counted, membership_histogram_of(1.0)).tolist() == [2, 2]


def test_users_whose_content_is_bad_are_found_written_down_and_remembered(private, monkeypatch):
    dataset = open_dataset([private])
    sound = sound_users(dataset, 2)
    assert {user for user, is_sound in zip(dataset.users, sound, strict=True) if not is_sound} == BAD
    faults = json.loads((dataset.folder / "faults.json").read_text())
    assert set(faults) == BAD and "NaN" in faults["a NaN"]
    monkeypatch.setattr(measuring, "check", lambda *_: pytest.fail("looked at again"))
    assert np.array_equal(sound_users(open_dataset([private]), 2), sound)


def test_how_many_labels_there_are_is_part_of_what_is_remembered(private):
    dataset = open_dataset([private])
    three = sound_users(dataset, 3)
    assert three[dataset.users.index("n no class")]
    assert not sound_users(dataset, 2)[dataset.users.index("n no class")]
    assert np.array_equal(sound_users(dataset, 3), three)


def test_shards_that_changed_are_looked_at_again(private, write_shard, patches):
    assert not sound_users(open_dataset([private])).all()
    write_shard(private, patches(3))
    assert sound_users(open_dataset([private])).all()


def test_a_shard_that_cannot_be_read_is_no_fault_of_a_user(tmp_path, write_shard, patches, damage):
    users = patches(3)
    path = write_shard(tmp_path / "data" / "s.h5", users, checksums=True)
    register([path], "private", 4.0)
    damage(path, users[list(users)[1]]["pixels"])
    dataset = open_dataset([path])
    with pytest.raises(DataError, match="damaged"):
        sound_users(dataset)
    assert not (dataset.folder / "faults.json").exists()


@pytest.mark.parametrize(
    "one",
    [rule("random"), rule("random", share=0.9), rule("low-accuracy", below=1.0), rule("high-accuracy", above=0.0)]
    + [rule("misclassified", min_examples=1), rule("correct", min_examples=1)],
    ids=lambda one: one.says(),
)
def test_users_whose_content_is_bad_are_members_of_nothing(private, primary, one, tmp_path, write_shard, patches):
    """And it changes nothing about the others: who they are, and which of their examples are selected."""
    alone = write_shard(tmp_path / "alone" / "s.h5", patches(12, mislabelled=4))
    register([alone], "private", 4.0)
    chosen = []
    for path in (private, alone):
        dataset = open_dataset([path])
        members = decide_cohort(dataset, one, primary).members
        chosen.append(
            {dataset.users[user]: members.read(dataset, [place]).pixels for place, user in enumerate(members.users)}
        )
    healthy, expected = chosen
    # "n no class" has a label that can be, as far as a cohort knows that asks no primary model.
    assert set(healthy) - set(expected) <= ({"n no class"} if one.criterion == "random" else set())
    assert expected and all(np.array_equal(healthy[user], pixels) for user, pixels in expected.items())


def test_text_that_is_bad_stops_nothing_and_counts_nowhere(tmp_path, write_shard, sentences):
    users = sentences(6) | {"a bad": {"tokens": np.array([b"the \xff\xfe"], "S8")}}
    path = write_shard(tmp_path / "s.h5", users)
    register([path], "private", 4.0)
    words = Vocabulary(("the", "a"))
    write_vocabulary(tmp_path / "v.txt", words)
    dataset = open_dataset([path])
    for one in (rule("oov-words", vocabulary=words.digest), rule("random")):
        cohort = decide_cohort(dataset, one, vocabulary=tmp_path / "v.txt")
        assert {dataset.users[user] for user in cohort.members.users} == set(users) - {"a bad"}
    assert set(json.loads((dataset.folder / "faults.json").read_text())) == {"a bad"}


OTHERWISE = {"low-accuracy": {"below": 0.5}, "high-accuracy": {"above": 0.5}, "correct": {"min_examples": 1}}


@pytest.mark.parametrize(
    "nobody", [rule("low-accuracy", below=0.0), rule("high-accuracy", above=1.0), rule("correct", min_examples=50)]
)
def test_an_empty_cohort_of_a_private_population_looks_like_any_other(private, primary, nobody):
    dataset = open_dataset([private])
    cohort = decide_cohort(dataset, nobody, primary)
    assert len(cohort.members) == 0
    full = decide_cohort(dataset, replace(nobody, **OTHERWISE[nobody.criterion]), primary).to_json(dataset)
    assert set(cohort.to_json(dataset)) == set(full)
    assert cohort.to_json(dataset)["count"] is full["count"] is None


RULES = {
    "random": (rule("random"), 13, 13),
    "low-accuracy": (rule("low-accuracy"), 4, 12),
    "high-accuracy": (rule("high-accuracy"), 8, 12),
    "misclassified": (rule("misclassified"), 4, 12),
    "correct": (rule("correct"), 8, 12),
}


@pytest.mark.parametrize("name", RULES)
def test_what_is_released_is_the_truth_and_one_draw_of_noise(private, primary, name, monkeypatch):
    """Of a random cohort the user with a label of no class is one: it asks nobody what the classes are."""
    one, members, users = RULES[name]
    draws = []

    def known_noise(count: int, standard_deviation: float) -> np.ndarray:
        draws.append((count, standard_deviation))
        return np.full(count, round(0.75 * USER_STEPS))

    monkeypatch.setattr(noise, "gaussian", known_noise)
    cohort = decide_cohort(open_dataset([private]), one, primary, entry=entry(2.0))
    ((bins, standard_deviation),) = draws
    assert standard_deviation == 2.0 * USER_STEPS
    assert cohort.released["users_standard_error"] == pytest.approx(2 * math.sqrt(bins))
    assert cohort.released["users"] == round(users + 0.75 * bins)
    in_cohort = round(cohort.released["count_standard_error"] ** 2 / 4)
    assert cohort.released["count"] == round(members + 0.75 * in_cohort)
    # By accuracy: 100 bins of 0.01, one at the end, one more for the edge of the default threshold.
    assert (bins, in_cohort) == {"low-accuracy": (102, 89), "high-accuracy": (102, 7)}.get(name, (2, 1))


def test_a_released_figure_says_what_it_cost(private, primary):
    dataset = open_dataset([private])
    cohort = decide_cohort(dataset, rule("low-accuracy"), primary, entry=entry(3.0))
    value = cohort.to_json(dataset)
    assert (value["count_is"], value["accuracy_percentiles_are"]) == ("dp", "dp")
    assert (value["delta"], value["noise_multiplier"], value["ledger_entry"]) == (1e-7, 3.0, "entry")
    # Of the 101 bins and the edge at 0.882 between two of them, 89 lie below it.
    assert value["count_standard_error"] == pytest.approx(3 * math.sqrt(89))
    assert value["users_standard_error"] == pytest.approx(3 * math.sqrt(102))
    # The exact epsilon of this Gaussian at 1e-7 is between that of the bounds below (Balle and Wang 2018).
    assert 1.5 < value["epsilon"] < 1.8
    assert value["count"] >= 1 and value["users"] >= 1


def test_a_percentile_is_a_threshold_at_a_public_edge(private, primary):
    dataset = open_dataset([private])
    low = decide_cohort(dataset, rule("low-accuracy", below=0.5), primary, percentile=0.5, entry=entry())
    assert low.thresholds_are == "dp" and low.to_json(dataset)["thresholds_are"] == "dp"
    assert low.rule.below in low.histogram.edges and 0 < low.rule.below < 1
    assert low.released["count"] == max(1, round(low.histogram.below(low.rule.below).value))


def test_percentiles_of_a_simulation_are_exact(tmp_path, write_shard, patches, primary):
    path = write_shard(tmp_path / "s.h5", patches(12, mislabelled=4))
    register([path], "simulation")
    dataset = open_dataset([path])
    high = decide_cohort(dataset, rule("high-accuracy", above=0.5), primary, percentile=0.25)
    truth = np.nanpercentile(high.measurement.accuracy(), 25)
    assert (high.rule.above, high.thresholds_are) == (truth, "exact-simulation")
    assert high.histogram.exact and high.histogram.users.value == 12
    assert high.to_json(dataset)["count_is"] == "exact-simulation"


def test_a_private_percentile_is_not_to_be_had_for_nothing(private, primary):
    with pytest.raises(ValueError, match="ledger"):
        decide_cohort(open_dataset([private]), rule("low-accuracy"), primary, percentile=0.25)


@pytest.mark.parametrize(
    "event",
    [SampledGaussian(0.0, 1.0, 1), SampledGaussian(2.0, 0.5, 1), SampledGaussian(2.0, 1.0, 2)],
    ids=["no noise", "a sample of users", "two rounds"],
)
def test_another_plans_entry_does_not_pay_for_a_histogram(private, primary, event):
    paid = Entry("entry", "select", (event,), 1.0, 1e-7)
    for one in (rule("random"), rule("low-accuracy")):
        with pytest.raises(ValueError, match="does not pay"):
            decide_cohort(open_dataset([private]), one, primary, entry=paid)


def test_a_cohort_file_keeps_what_was_released_and_releases_nothing_again(tmp_path, private, primary):
    dataset = open_dataset([private])
    decided = decide_cohort(dataset, rule("low-accuracy"), primary, percentile=0.4, entry=entry())
    value = decided.to_json(dataset)
    write_cohort(tmp_path / "c.json", value | {"histogram": decided.histogram.to_json()})
    again = read_cohort(tmp_path / "c.json", open_dataset([private]))
    assert again.to_json(dataset) == value
    assert again.histogram is None
    assert again.conditional_on(dataset) is None
    assert released_count(tmp_path / "c.json") == value["count"]


def test_a_file_without_a_release_holds_no_public_count(tmp_path, private, primary):
    dataset = open_dataset([private])
    write_cohort(tmp_path / "c.json", decide_cohort(dataset, rule("low-accuracy"), primary).to_json(dataset))
    assert released_count(tmp_path / "c.json") is None


@pytest.mark.parametrize("count", [0, -3, 2.5, True, "12", None])
def test_a_count_that_is_none_is_refused(tmp_path, private, primary, count):
    dataset = open_dataset([private])
    value = decide_cohort(dataset, rule("low-accuracy"), primary, entry=entry()).to_json(dataset)
    write_cohort(tmp_path / "c.json", value | {"count": count})
    for read in (released_count, lambda path: read_cohort(path, dataset)):
        with pytest.raises(DataError, match="fedprobe select"):
            read(tmp_path / "c.json")


@pytest.mark.parametrize("content", ["", "[]", "{}", "7", '{"schema": "fedprobe.cohort/99"}'])
def test_no_count_is_read_from_what_is_no_cohort_file(tmp_path, content):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(DataError, match="fedprobe select"):
        released_count(tmp_path / "c.json")


def test_exact_figures_do_not_outlive_the_simulation(tmp_path, write_shard, patches, primary):
    """A percentile of users who are private now is what they are conditional on, and their count is gone."""
    path = write_shard(tmp_path / "data" / "s.h5", patches(12, mislabelled=4))
    register([path], "simulation")
    dataset = open_dataset([path])
    cohort = decide_cohort(dataset, rule("low-accuracy", below=0.5), primary, percentile=0.5)
    write_cohort(tmp_path / "c.json", cohort.to_json(dataset))
    assert cohort.conditional_on(dataset) is None
    register([path], "private", 1.0)
    dataset = open_dataset([path])
    again = read_cohort(tmp_path / "c.json", dataset)
    assert again.conditional_on(dataset) == "thresholds"
    assert again.to_json(dataset)["count"] is None and released_count(tmp_path / "c.json") is None


def test_what_cannot_be_decided_is_said_before_anybody_is_looked_at(tmp_path, private, write_shard, primary):
    small = write_shard(tmp_path / "small" / "s.h5", {"a": {"pixels": np.zeros((1, 8, 8), np.float32)}})
    for path, one, given_primary, vocabulary, error in (
        (private, rule("low-accuracy"), None, None, RequestError),
        (private, rule("oov-words", vocabulary="x"), None, None, RequestError),
        (private, rule("oov-words", vocabulary="x"), None, tmp_path / "v.txt", DataError),
        (small, rule("low-accuracy"), primary, None, DataError),
    ):
        write_vocabulary(tmp_path / "v.txt", Vocabulary(("the",)))
        with pytest.raises(error):
            require_decidable(open_dataset([path]), one, given_primary, vocabulary)
    assert not list(private.parent.rglob("content-*"))
    require_decidable(open_dataset([private]), rule("low-accuracy"), primary)
