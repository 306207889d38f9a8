"""One user's update of a classifier: bounded, hers alone, zeros where she holds what cannot be.

The sums are compared exactly: they are integers.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from fedprobe.clients.classifier_update import ClassifierUpdate
from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.clients.selection import Members
from fedprobe.models.classifier import ClassifierConfig
from fedprobe.models.flat import attach, flatten
from fedprobe.privacy.mechanism import CLIP_STEPS, Mechanism

SIDE = 18
CLASSES = 3
CONFIG = ClassifierConfig(SIDE, SIDE, 1, CLASSES)
# How many examples each user has: none, below, at and above a batch of 4.
EXAMPLES = [0, 1, 3, 4, 5, 9]
USERS = len(EXAMPLES)
SEEDS = st.integers(0, 2**40)
ROUNDS = st.integers(1, 10_000)
SOME = st.lists(st.integers(0, USERS - 1), unique=True, max_size=USERS)


@dataclass(frozen=True)
class Small:
    """A network of one layer between what may be asked of one: dropout, batch normalisation."""

    between: str
    labels: int = CLASSES
    merge_case: bool = False

    def build(self) -> nn.Module:
        layers = {"nothing": nn.Identity(), "dropout": nn.Dropout(0.5), "buffers": nn.BatchNorm1d(SIDE * SIDE)}
        return nn.Sequential(nn.Flatten(), layers[self.between], nn.Linear(SIDE * SIDE, CLASSES))


def public_of(config) -> dict[str, torch.Tensor]:
    """What a round's devices get: an untrained model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {"model": flatten(config.build())}


PUBLIC = public_of(CONFIG)


@pytest.fixture(scope="module")
def users():
    stream = np.random.default_rng(0)
    return {
        f"user {number}": {
            "pixels": stream.uniform(0, 1, (count, SIDE, SIDE)).astype(np.float32),
            "label": stream.integers(0, CLASSES, count),
        }
        for number, count in enumerate(EXAMPLES)
    }


@pytest.fixture(scope="module")
def update_of(tmp_path_factory, write_shard):
    """A client update over users written to a shard of their own, in the shard's order."""

    def make(users, config=CONFIG, clip_norm=0.03, rows=None, **change) -> ClassifierUpdate:
        dataset = open_dataset([write_shard(tmp_path_factory.mktemp("shards") / "s.h5", users)])
        given = {"local_batch_size": 4, "local_epochs": 2, "examples_per_user": 8, "learning_rate": 0.1, "seed": 0}
        members = Members(np.arange(len(dataset)), rows)
        return ClassifierUpdate(dataset, members, config, Mechanism(clip_norm, 0.0), **given | change)

    return make


@pytest.fixture(scope="module")
def update(update_of, users):
    return update_of(users)


def norm_squared(steps: np.ndarray) -> int:
    """The exact squared norm, in integers that cannot overflow."""
    return sum(int(step) ** 2 for step in steps[steps != 0])


@settings(max_examples=15)
@given(st.data())
def test_whatever_a_user_holds_her_contribution_is_at_most_the_clip_norm(update_of, data):
    stream = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    count = data.draw(st.integers(1, 9))
    pixels = stream.normal(0.5, data.draw(st.sampled_from([0.0, 0.1, 1e6, 1e37])), (count, SIDE, SIDE))
    labels = stream.integers(-1, data.draw(st.sampled_from([CLASSES, 2**40])), count)
    update = update_of(
        {"u": {"pixels": pixels.astype(np.float32), "label": labels}},
        clip_norm=data.draw(st.floats(1e-6, 1e6)),
        learning_rate=data.draw(st.sampled_from([1e-9, 0.01, 1.0, 1e30])),
    )
    contribution = update(PUBLIC, [0], round=1)
    assert contribution.dtype == np.int64
    assert norm_squared(contribution) <= CLIP_STEPS**2


def test_a_large_update_is_clipped_and_not_thrown_away(update_of, users):
    """The bound is reached: rounding toward zero loses at most one step a coordinate."""
    contribution = update_of({"u": users["user 5"]}, clip_norm=1e-4)(PUBLIC, [0], round=1)
    reached = norm_squared(contribution) ** 0.5
    assert CLIP_STEPS - len(contribution) ** 0.5 <= reached <= CLIP_STEPS


def test_one_step_is_the_gradient_of_the_cross_entropy(update_of, users):
    user = users["user 3"]
    update = update_of({"u": user}, clip_norm=100.0, local_epochs=1, learning_rate=0.25)
    delta = update(PUBLIC, [0], round=1) * update.mechanism.grid
    model = CONFIG.build()
    vector = PUBLIC["model"].clone()
    attach(model, vector)
    images = torch.from_numpy(user["pixels"])[:, None] * 2 - 1
    functional.cross_entropy(model(images), torch.from_numpy(user["label"])).backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    np.testing.assert_allclose(delta, -0.25 * gradient.numpy(), rtol=1e-3, atol=1e-6)


def bad(users, what: str, value) -> dict:
    """The users, one of whom holds `value` among her pixels or labels."""
    broken = {name: values.copy() for name, values in users["user 4"].items()}
    broken[what][2] = value
    return users | {"user 4": broken}


@pytest.mark.parametrize(
    ("what", "value"),
    [("pixels", value) for value in (np.nan, np.inf, -np.inf, -0.01, 1.01, 255)]
    + [("label", value) for value in (-1, CLASSES, 2**40)],
)
def test_a_user_with_a_pixel_or_a_label_that_cannot_be_contributes_exactly_nothing(update_of, users, what, value):
    changed = bad(users, what, value)
    assert not update_of({"user 4": changed["user 4"]})(PUBLIC, [0], round=1).any()
    rest = {id: data for id, data in users.items() if id != "user 4"}
    everyone = update_of(changed)(PUBLIC, range(USERS), round=1)
    assert everyone.any()
    assert np.array_equal(everyone, update_of(rest)(PUBLIC, range(USERS - 1), round=1))


def test_she_contributes_nothing_even_in_a_round_that_would_not_have_drawn_the_bad_example(update_of, users):
    update = update_of(bad(users, "label", CLASSES), examples_per_user=1)
    assert not any(update(PUBLIC, [4], round).any() for round in range(1, 21))


def test_only_selected_rows_are_trained_on_and_looked_at(update_of, users):
    rows = [np.array([0, 1, 3])]
    data = {name: values.copy() for name, values in users["user 4"].items()}
    chosen = update_of({"u": data}, rows=rows)(PUBLIC, [0], round=1)
    data["pixels"][2], data["label"][4] = np.nan, -1
    assert chosen.any()
    assert np.array_equal(chosen, update_of({"u": data}, rows=rows)(PUBLIC, [0], round=1))


@pytest.mark.parametrize("label, merged", [(36, 10), (61, 35), (9, 9)])
def test_the_case_of_a_letter_is_merged_as_in_pooled_training(update_of, users, label, merged):
    config = ClassifierConfig.of((1, SIDE, SIDE), 62, merged=True)
    public = public_of(config)
    pixels = users["user 3"]["pixels"]
    one, other = (
        update_of({"u": {"pixels": pixels, "label": np.full(4, value)}}, config)(public, [0], round=1)
        for value in (label, merged)
    )
    assert one.any() and np.array_equal(one, other)
    above = update_of({"u": {"pixels": pixels, "label": np.full(4, 62)}}, config)
    assert not above(public, [0], round=1).any()


def test_users_without_examples_and_rounds_without_users_contribute_nothing(update):
    assert not update(PUBLIC, [update.dataset.users.index("user 0")], round=1).any()
    nobody = update(PUBLIC, [], round=1)
    assert nobody.dtype == np.int64 and nobody.shape == PUBLIC["model"].shape and not nobody.any()


@settings(max_examples=10)
@given(members=SOME, round=ROUNDS, seed=SEEDS)
def test_the_sum_is_the_sum_of_users_trained_alone_in_any_order(update, members, round, seed):
    update = replace(update, seed=seed)
    together = update(PUBLIC, members, round)
    alone = [update(PUBLIC, [member], round) for member in members]
    assert np.array_equal(together, np.sum(alone, axis=0, dtype=np.int64) if alone else 0 * together)
    assert np.array_equal(together, update(PUBLIC, members[::-1], round))


def test_a_users_update_does_not_depend_on_her_shard(update, update_of, users):
    for id, data in users.items():
        alone = update_of({id: data})(PUBLIC, [0], round=4)
        assert np.array_equal(alone, update(PUBLIC, [update.dataset.users.index(id)], round=4))


@settings(max_examples=5)
@given(copied=st.integers(1, USERS - 1), round=ROUNDS)
def test_one_user_more_moves_the_sum_by_at_most_the_clip_norm(update, update_of, users, copied, round):
    more = update_of(users | {"user a copy": users[f"user {copied}"]})
    moved = more(PUBLIC, range(USERS + 1), round) - update(PUBLIC, range(USERS), round)
    assert 0 < norm_squared(moved) <= CLIP_STEPS**2


@settings(max_examples=10)
@given(seed=SEEDS, round=ROUNDS)
def test_seed_round_and_user_decide_an_update(update, update_of, users, seed, round):
    update = replace(update, seed=seed)
    once = update(PUBLIC, [5], round)
    assert np.array_equal(once, update(PUBLIC, [5], round))
    assert not np.array_equal(once, update(PUBLIC, [5], round + 1))
    assert not np.array_equal(once, replace(update, seed=seed + 1)(PUBLIC, [5], round))
    twins = replace(update_of({"one": users["user 5"], "other": users["user 5"]}), seed=seed)
    assert not np.array_equal(twins(PUBLIC, [0], round), twins(PUBLIC, [1], round))


@pytest.fixture(scope="module")
def same(users):
    """A user with so many copies of one example, whose order and choice cannot matter."""

    def make(count: int) -> dict:
        return {"u": {"pixels": users["user 1"]["pixels"].repeat(count, 0), "label": np.ones(count, np.int64)}}

    return make


def test_the_cap_bounds_what_a_user_trains_on_and_epochs_repeat_it(update_of, same):
    capped = update_of(same(9), examples_per_user=4)(PUBLIC, [0], round=1)
    assert np.array_equal(capped, update_of(same(4), examples_per_user=100)(PUBLIC, [0], round=1))
    assert not np.array_equal(capped, update_of(same(9), examples_per_user=8)(PUBLIC, [0], round=1))
    # Two epochs of one batch are one epoch of two.
    assert np.array_equal(capped, update_of(same(8), local_epochs=1)(PUBLIC, [0], round=1))


def test_dropout_draws_from_the_users_own_key(update_of, users):
    config = Small("dropout")
    public, update = public_of(config), update_of(users, config)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    together = update(public, range(USERS), round=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    alone = [update_of({id: data}, config)(public, [0], round=1) for id, data in users.items()]
    assert np.array_equal(together, np.sum(alone, axis=0, dtype=np.int64))
    assert not np.array_equal(together, update_of(users, Small("nothing"))(public, range(USERS), round=1))


def test_dropout_is_drawn_anew_for_each_round_and_user(update_of, same):
    """The examples are alike, so that nothing else is left to differ."""
    update = update_of(same(4) | {"other": same(4)["u"]}, Small("dropout"))
    public = public_of(Small("dropout"))
    one, other, later = update(public, [0], 1), update(public, [1], 1), update(public, [0], 2)
    assert not np.array_equal(one, other) and not np.array_equal(one, later)


def test_a_model_with_buffers_and_shards_without_labels_are_refused(update_of, users):
    with pytest.raises(ValueError, match="buffers"):
        update_of(users, Small("buffers"))
    with pytest.raises(DataError, match="no labels"):
        update_of({"u": {"pixels": users["user 3"]["pixels"]}})


def test_nothing_is_left_behind_in_what_was_broadcast(update):
    before = PUBLIC["model"].clone()
    update(PUBLIC, range(USERS), round=1)
    assert torch.equal(PUBLIC["model"], before)


def test_bf16_is_for_products_and_what_leaves_is_close_to_float32_and_bounded(update_of, users):
    update = update_of(users)
    half = replace(update, precision="bf16")
    one, other = (it(PUBLIC, range(USERS), round=1).astype(float) for it in (update, half))
    assert not np.array_equal(one, other)
    assert np.linalg.norm(one - other) < 0.1 * np.linalg.norm(one)
    for member in range(USERS):
        assert norm_squared(half(PUBLIC, [member], round=1)) <= CLIP_STEPS**2
    with pytest.raises(ValueError, match="bf16"):
        replace(update, precision="int4")
