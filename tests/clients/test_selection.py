"""Who is in a cohort: hand-sized accuracies, strict thresholds, rows by example, one frozen measurement."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedprobe.clients import measuring
from fedprobe.clients.data.corrupt import corrupt_users
from fedprobe.clients.data.packing import pack
from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.clients.measuring import Measurement, measure
from fedprobe.clients.selection import Members, Rows, decide, rehearsed_users
from fedprobe.models.classifier import ClassifierConfig, predict
from fedprobe.models.primary import load_primary
from fedprobe.privacy.population import register
from fedprobe.privacy.rules import CohortRule, exclusive, rule

# Right answers of five users: 1 of 2, 3 of 4, none, all 4, and one user without examples.
HAND = Measurement("hand", np.array([1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 1], bool), np.array([0, 2, 6, 8, 12, 12]))

ANSWERS = st.lists(st.lists(st.booleans(), max_size=6), min_size=1, max_size=8)
# Accuracies that users of few examples have, and anything between.
THRESHOLDS = st.sampled_from([0, 0.2, 0.25, 1 / 3, 0.5, 2 / 3, 0.75, 1]) | st.floats(0, 1)


def measured(answers: list[list[bool]]) -> Measurement:
    flat = np.array([answer for user in answers for answer in user], bool)
    return Measurement("any", flat, np.cumsum([0, *map(len, answers)]))


def chosen(rule: CohortRule, measurement: Measurement) -> set[int]:
    """The users a rule selects; an empty cohort, an error to a person, is the empty set here."""
    try:
        return set(decide(rule, None, measurement).users.tolist())
    except DataError:
        return set()


def test_accuracy_by_hand():
    assert np.array_equal(HAND.accuracy(), [0.5, 0.75, 0.0, 1.0, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("selected", "users"),
    [
        (rule("low-accuracy", below=0.75), [0, 2]),
        (rule("low-accuracy", below=0.76), [0, 1, 2]),
        (rule("low-accuracy", below=1.0), [0, 1, 2]),
        (rule("high-accuracy", above=0.5), [1, 3]),
        (rule("high-accuracy", above=0.75), [3]),
        (rule("high-accuracy", above=0.0), [0, 1, 3]),
    ],
    ids=lambda value: value.says() if isinstance(value, CohortRule) else "",
)
def test_thresholds_are_strict_and_nobody_without_examples_is_selected(selected, users):
    members = decide(selected, None, HAND)
    assert members.users.tolist() == users
    assert members.rows is None


@pytest.mark.parametrize(
    ("criterion", "least", "rows_of_users"),
    [
        ("misclassified", 1, {0: [1], 1: [2], 2: [0, 1]}),
        ("misclassified", 2, {2: [0, 1]}),
        ("correct", 1, {0: [0], 1: [0, 1, 3], 3: [0, 1, 2, 3]}),
        ("correct", 3, {1: [0, 1, 3], 3: [0, 1, 2, 3]}),
        ("correct", 4, {3: [0, 1, 2, 3]}),
    ],
)
def test_by_example_keeps_rows_of_users_with_enough_of_them(criterion, least, rows_of_users):
    members = decide(rule(criterion, min_examples=least), None, HAND)
    assert dict(zip(members.users.tolist(), (rows.tolist() for rows in members.rows), strict=True)) == rows_of_users


@pytest.mark.parametrize(
    "nobody",
    [
        rule("low-accuracy", below=0.0),
        rule("high-accuracy", above=1.0),
        rule("misclassified", min_examples=3),
        rule("correct", min_examples=5),
    ],
    ids=lambda one: one.criterion,
)
def test_an_empty_cohort_is_an_error_that_says_what_nobody_matches(nobody):
    with pytest.raises(DataError, match="empty") as raised:
        decide(nobody, None, HAND)
    assert nobody.says() in str(raised.value)


@given(ANSWERS, THRESHOLDS, THRESHOLDS)
def test_rules_that_exclude_each_other_share_nobody(answers, below, above):
    """Low and high accuracy of one measurement, wherever `below` is at most `above`."""
    low, high = rule("low-accuracy", below=below), rule("high-accuracy", above=above)
    assert exclusive(low, high) == exclusive(high, low) == (below <= above)
    if exclusive(low, high):
        measurement = measured(answers)
        assert not chosen(low, measurement) & chosen(high, measurement)


@given(ANSWERS)
def test_misclassified_and_correct_part_every_users_examples(answers):
    rows = {user: [] for user in range(len(answers))}
    for criterion, wanted in (("misclassified", False), ("correct", True)):
        if any(answer == wanted for user in answers for answer in user):
            members = decide(rule(criterion, min_examples=1), None, measured(answers))
            for user, some in zip(members.users.tolist(), members.rows, strict=True):
                assert all(answers[user][row] == wanted for row in some)
                rows[user].extend(some.tolist())
    assert {user: sorted(some) for user, some in rows.items()} == {
        user: list(range(len(some))) for user, some in enumerate(answers)
    }


@given(st.data())
def test_members_read_only_their_selected_rows(tmp_path_factory, write_shard, patches, data):
    dataset = open_dataset([write_shard(tmp_path_factory.mktemp("shards") / "s.h5", patches(4))])
    users = data.draw(st.lists(st.integers(0, 3), min_size=1, unique=True))
    rows = [
        np.array(data.draw(st.lists(st.integers(0, int(dataset.examples[user]) - 1), unique=True)), np.int64)
        for user in users
    ]
    asked = data.draw(st.lists(st.integers(0, len(users) - 1), max_size=5))
    batch = Members(np.array(users), rows).read(dataset, asked)
    assert len(batch) == len(asked)
    for one, member in zip(batch, asked, strict=True):
        whole = dataset.read([users[member]])
        assert np.array_equal(one.pixels, whole.pixels[rows[member]])
        assert np.array_equal(one.labels, whole.labels[rows[member]])


@pytest.fixture(scope="module")
def many(tmp_path_factory, write_shard):
    """400 users of one image each."""
    image = {"pixels": np.zeros((1, 2, 2), np.float32)}
    return open_dataset(
        [write_shard(tmp_path_factory.mktemp("many") / "s.h5", {f"u{number}": image for number in range(400)})]
    )


@given(share=st.floats(0.1, 1), seed=st.integers(0, 2**40))
def test_a_random_share_is_near_the_share_and_the_seed_decides_it(many, share, seed):
    members = decide(rule("random", share=share, seed=seed), many, None)
    again = decide(rule("random", share=share, seed=seed), many, None)
    assert members.users.tolist() == again.users.tolist()
    # Hoeffding: off by more than a fifth of 400 users once in 10^13 draws.
    assert abs(len(members) - 400 * share) < 80


@given(seed=st.integers(0, 2**40), shares=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)))
def test_a_larger_share_holds_the_smaller_one(many, seed, shares):
    small, large = (
        set(decide(rule("random", share=share, seed=seed), many, None).users.tolist()) for share in sorted(shares)
    )
    assert small <= large


def test_another_seed_draws_other_users_and_no_share_is_everybody(many):
    one, other = (decide(rule("random", share=0.5, seed=seed), many, None).users.tolist() for seed in (0, 1))
    assert one != other
    assert decide(rule("random"), many, None).users.tolist() == list(range(400))


def test_a_users_draw_does_not_depend_on_who_else_is_there(tmp_path, write_shard, many):
    half = rule("random", share=0.5, seed=9)
    chosen = {many.users[user] for user in decide(half, many, None).users}
    image = {"pixels": np.zeros((1, 2, 2), np.float32)}
    few = open_dataset([write_shard(tmp_path / "s.h5", {f"u{number}": image for number in range(0, 400, 7)})])
    assert {few.users[user] for user in decide(half, few, None).users} == chosen & set(few.users)


class Ruler(nn.Module):
    """A primary model one can check by hand: it takes the mean of an image in [-1, 1] for its class."""

    def __init__(self, classes: int = 2, merge_case: bool = False) -> None:
        super().__init__()
        self.config = ClassifierConfig(2, 2, 1, classes, merge_case)
        self.calls = 0

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        guesses = ((images_BCHW.mean((1, 2, 3)) + 1) / 2 * (self.config.classes - 1)).round().long()
        return nn.functional.one_hot(guesses, self.config.classes).float()


def flat_images(*shades: float) -> np.ndarray:
    return np.broadcast_to(np.array(shades, np.float32)[:, None, None], (len(shades), 2, 2)).copy()


@pytest.fixture
def ruled(tmp_path, write_shard):
    """Registered shards: the ruler is right on 2 of 3, 0 of 1 and 1 of 1 images of their users, of none of `d`."""
    users = {
        "a": {"pixels": flat_images(0, 1, 1), "label": np.array([0, 1, 0])},
        "b": {"pixels": flat_images(1), "label": np.array([0])},
        "c": {"pixels": flat_images(0), "label": np.array([0])},
        "d": {"pixels": flat_images()[:0], "label": np.array([], int)},
    }
    path = write_shard(tmp_path / "s.h5", users)
    register([path], "simulation")
    return path


def test_measuring_asks_the_primary_model_about_every_example(ruled):
    done = []
    measurement = measure(open_dataset([ruled]), Ruler(), "ruler", on_users=done.append)
    assert measurement.correct.tolist() == [True, True, False, False, True]
    assert measurement.offsets.tolist() == [0, 3, 4, 5, 5]
    assert done[-1] == 4


def test_a_measurement_is_frozen_until_shards_or_primary_change(tmp_path, ruled, write_shard):
    first_ruler, second_ruler = Ruler(), Ruler()
    first = measure(open_dataset([ruled]), first_ruler, "ruler")
    second = measure(open_dataset([ruled]), second_ruler, "ruler")
    assert first_ruler.calls and not second_ruler.calls
    assert second.id == first.id
    assert np.array_equal(second.correct, first.correct) and np.array_equal(second.offsets, first.offsets)

    other_primary = measure(open_dataset([ruled]), Ruler(), "another ruler")
    write_shard(ruled, {"a": {"pixels": flat_images(0), "label": np.array([1])}})
    changed = measure(open_dataset([ruled]), Ruler(), "ruler")
    assert changed.correct.tolist() == [False]
    assert len({first.id, other_primary.id, changed.id}) == 3
    assert not list(tmp_path.rglob("*temporary*"))


def test_shards_of_one_name_under_one_record_are_measured_apart(tmp_path, write_shard):
    """Not even equal size and time let one measurement pass for the other."""
    paths = [
        write_shard(tmp_path / side / "s.h5", {side: {"pixels": flat_images(0), "label": np.array([label])}})
        for label, side in enumerate("we")
    ]
    for path in paths:
        os.utime(path, ns=(0, 0))
    record = tmp_path / "record"
    register(paths, "simulation", record=record)
    right = [measure(open_dataset([path], record), Ruler(), "ruler").correct.tolist() for path in paths]
    assert right == [[True], [False]]


def test_a_measurement_moves_with_the_data_it_lies_beside(tmp_path, ruled):
    """Else moving a folder would unmake every cohort file and every pair of runs that excludes each other."""
    frozen = measure(open_dataset([ruled]), Ruler(), "ruler")
    shutil.move(ruled.parent, tmp_path.with_name(f"{tmp_path.name}-moved"))
    moved = tmp_path.with_name(f"{tmp_path.name}-moved") / ruled.name
    assert measure(open_dataset([moved]), Ruler(), "ruler").id == frozen.id


def test_a_measurement_cut_short_is_taken_anew(ruled):
    first = measure(open_dataset([ruled]), Ruler(), "ruler")
    (frozen,) = ruled.parent.rglob("measurements/*.json")
    frozen.unlink()
    assert measure(open_dataset([ruled]), Ruler(), "ruler").correct.tolist() == first.correct.tolist()


def test_nothing_is_frozen_beside_shards_that_are_not_registered(tmp_path, write_shard):
    path = write_shard(tmp_path / "s.h5", {"a": {"pixels": flat_images(0), "label": np.array([0])}})
    ids = {measure(open_dataset([path]), Ruler(), "ruler").id for _ in range(2)}
    assert len(ids) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_merged_case_reads_small_letters_as_capitals(tmp_path, write_shard):
    # Class 10 of 36 is A; the label of a is 36, of A 10, of B 11.
    image = flat_images(10 / 35)
    users = {f"u{label}": {"pixels": image, "label": np.array([label])} for label in (10, 11, 36, 37)}
    dataset = open_dataset([write_shard(tmp_path / "s.h5", users)])
    right = measure(dataset, Ruler(classes=36, merge_case=True), "ruler").correct
    assert dict(zip(dataset.users, right.tolist(), strict=True)) == {
        "u10": True,
        "u11": False,
        "u36": True,
        "u37": False,
    }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"pixels": flat_images(0, 1)}, "no labels"),
        ({"pixels": np.zeros((1, 3, 3), np.float32), "label": np.array([0])}, "size"),
    ],
    ids=["no labels", "another size"],
)
def test_data_that_does_not_fit_the_primary_model_is_refused(tmp_path, write_shard, data, words):
    dataset = open_dataset([write_shard(tmp_path / "s.h5", {"a": data})])
    with pytest.raises(DataError, match=words):
        measure(dataset, Ruler(), "ruler")


def test_rehearsed_users_come_from_the_truth_beside_the_data_alone(tmp_path, write_shard, patches):
    path = write_shard(tmp_path / "s.h5", patches(4))
    register([path], "simulation")
    assert rehearsed_users(open_dataset([path])) is None
    (copy,), _ = corrupt_users(open_dataset([path]), tmp_path / "copy.h5", "invert-pixels", 0.5, 0)
    (truth,) = tmp_path.rglob("truth/*.json")
    dataset = open_dataset([copy])
    struck = {dataset.users[user] for user in rehearsed_users(dataset)}
    assert len(struck) == 2 and struck == set(json.loads(truth.read_text())["users"])


@given(st.lists(st.lists(st.booleans(), max_size=5), min_size=1, max_size=8))
def test_rows_of_many_users_in_one_array_are_the_rows_of_each(wanted):
    flat, offsets = np.array([one for user in wanted for one in user], bool), np.cumsum([0, *map(len, wanted)])
    rows = Rows.of(flat, offsets)
    assert [some.tolist() for some in rows] == [np.flatnonzero(user).tolist() for user in wanted]
    assert len(rows) == len(wanted)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_who_measures_whom_decides_nothing(tmp_path, monkeypatch, write_shard, primary, workers):
    """Packed or not, in one process or several, in runs of any size: what one user measured alone has."""
    stream = np.random.default_rng(0)
    users = {
        f"u{number:02d}": {
            "pixels": stream.random((number % 4, 20, 20), np.float32),
            "label": stream.integers(0, 2, number % 4),
        }
        for number in range(60)
    }
    dataset = open_dataset([write_shard(tmp_path / "s.h5", users)])
    pack(dataset, tmp_path / "packed.h5")
    model, _ = load_primary(primary)
    alone = []
    for user in range(len(dataset)):
        one = dataset.read([user])
        guesses = predict(model, torch.from_numpy(one.pixels).mul(2).sub(1)).argmax(1).numpy()
        alone.extend((guesses == one.labels).tolist())
    monkeypatch.setattr(measuring, "_IMAGES_AT_ONCE", (4, 7))
    for path in ("s.h5", "packed.h5"):
        measurement = measure(open_dataset([tmp_path / path]), model, "any", workers=workers)
        assert measurement.correct.tolist() == alone
        assert np.array_equal(np.diff(measurement.offsets), dataset.examples)
