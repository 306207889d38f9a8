"""One user's update: bounded, hers alone, and the same whoever is trained beside her.

The sums are compared exactly: they are integers.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprobe.clients.data.shards import open_dataset
from fedprobe.clients.selection import Members
from fedprobe.clients.updates import CriticUpdate
from fedprobe.models.flat import flatten
from fedprobe.models.gan import GanConfig
from fedprobe.privacy.mechanism import CLIP_STEPS, Mechanism

CONFIG = GanConfig("small", 12, 12)
BATCH, STEPS = 4, 2
USERS = 7
SEEDS = st.integers(0, 2**40)
ROUNDS = st.integers(1, 10_000)
SOME = st.lists(st.integers(0, USERS - 1), unique=True, max_size=USERS)


@pytest.fixture(scope="module")
def public():
    """What a round's devices get: an untrained critic and random fakes."""
    stream = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = flatten(CONFIG.critic())
    return {"critic": critic, "fakes": torch.rand(STEPS, BATCH, 1, 12, 12, generator=stream) * 2 - 1}


@pytest.fixture(scope="module")
def users():
    """Seven users with 0, 1, 3, 4, 5, 8 and 13 images: below, at and above a batch and all local steps."""
    stream = np.random.default_rng(0)
    return {
        f"user {number}": {"pixels": stream.uniform(0, 1, (count, 12, 12)).astype(np.float32)}
        for number, count in enumerate([0, 1, 3, 4, 5, 8, 13])
    }


@pytest.fixture(scope="module")
def update_of(tmp_path_factory, write_shard):
    """A client update over users written to a shard of their own, in the shard's order."""

    def make(users, clip_norm=0.03, learning_rate=0.05, seed=0, rows=None) -> CriticUpdate:
        dataset = open_dataset([write_shard(tmp_path_factory.mktemp("shards") / "s.h5", users)])
        members = Members(np.arange(len(dataset)), rows)
        mechanism = Mechanism(clip_norm, 0.0)
        return CriticUpdate(dataset, members, CONFIG, mechanism, BATCH, STEPS, learning_rate, 10.0, seed)

    return make


@pytest.fixture(scope="module")
def update(update_of, users):
    return update_of(users)


def norm_squared(steps: np.ndarray) -> int:
    """The exact squared norm, in integers that cannot overflow."""
    return sum(int(step) ** 2 for step in steps[steps != 0])


@given(st.data())
def test_whatever_a_user_holds_her_contribution_is_at_most_the_clip_norm(update_of, public, data):
    stream = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = data.draw(st.sampled_from([0.0, 1.0, 255.0, 1e6, 1e18, 1e37]))
    pixels = stream.normal(0, 1, (data.draw(st.integers(1, 9)), 12, 12)) * scale
    update = update_of(
        {"u": {"pixels": pixels.astype(np.float32)}},
        clip_norm=data.draw(st.floats(1e-6, 1e6)),
        learning_rate=data.draw(st.sampled_from([1e-9, 0.01, 1.0, 1e30])),
    )
    contribution = update(public, [0], round=1)
    assert contribution.dtype == np.int64
    assert norm_squared(contribution) <= CLIP_STEPS**2


def test_a_large_update_is_clipped_and_not_thrown_away(update_of, users, public):
    """The bound is reached: rounding toward zero loses at most one step a coordinate."""
    contribution = update_of({"u": users["user 5"]}, clip_norm=1e-4)(public, [0], round=1)
    reached = norm_squared(contribution) ** 0.5
    assert CLIP_STEPS - len(contribution) ** 0.5 <= reached <= CLIP_STEPS


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_user_with_a_pixel_that_is_no_number_contributes_exactly_nothing(update_of, users, public, bad):
    broken = users["user 3"]["pixels"].copy()
    broken[1, 2, 3] = bad
    changed = users | {"user 3": {"pixels": broken}}
    alone = update_of({"user 3": changed["user 3"]})(public, [0], round=1)
    assert not alone.any()
    rest = {id: data for id, data in users.items() if id != "user 3"}
    everyone = update_of(changed)(public, range(USERS), round=1)
    assert everyone.any()
    assert np.array_equal(everyone, update_of(rest)(public, range(USERS - 1), round=1))


def test_users_without_examples_and_rounds_without_users_contribute_nothing(update, public):
    empty = update.dataset.users.index("user 0")
    assert not update(public, [empty], round=1).any()
    nobody = update(public, [], round=1)
    assert nobody.dtype == np.int64 and nobody.shape == public["critic"].shape and not nobody.any()


@settings(max_examples=12)
@given(members=SOME, round=ROUNDS, seed=SEEDS)
def test_the_sum_is_the_sum_of_users_trained_alone_in_any_order(update, public, members, round, seed):
    update = replace(update, seed=seed)
    together = update(public, members, round)
    alone = [update(public, [member], round) for member in members]
    assert np.array_equal(together, np.sum(alone, axis=0, dtype=np.int64) if alone else 0 * together)
    assert np.array_equal(together, update(public, members[::-1], round))


def test_a_users_update_does_not_depend_on_her_shard(update, update_of, users, public):
    for id, data in users.items():
        alone = update_of({id: data})(public, [0], round=4)
        assert np.array_equal(alone, update(public, [update.dataset.users.index(id)], round=4))


@settings(max_examples=5)
@given(copied=st.integers(1, USERS - 1), round=ROUNDS)
def test_one_user_more_moves_the_sum_by_at_most_the_clip_norm(update, update_of, users, public, copied, round):
    more = update_of(users | {"a copy": users[f"user {copied}"]})
    moved = more(public, range(USERS + 1), round) - update(public, range(USERS), round)
    assert 0 < norm_squared(moved) <= CLIP_STEPS**2


@given(seed=SEEDS, round=ROUNDS, member=st.integers(2, USERS - 1))
def test_seed_round_and_user_decide_an_update(update, public, seed, round, member):
    update = replace(update, seed=seed)
    once = update(public, [member], round)
    assert np.array_equal(once, update(public, [member], round))
    assert not np.array_equal(once, update(public, [member], round + 1))
    assert not np.array_equal(once, replace(update, seed=seed + 1)(public, [member], round))


def test_two_users_with_the_same_images_train_on_keys_of_their_own(update_of, users, public):
    update = update_of({"one": users["user 6"], "other": users["user 6"]})
    assert not np.array_equal(update(public, [0], round=1), update(public, [1], round=1))


def test_nothing_is_left_behind_in_what_was_broadcast(update, public):
    before = {name: tensor.clone() for name, tensor in public.items()}
    update(public, range(USERS), round=1)
    assert all(torch.equal(public[name], tensor) for name, tensor in before.items())


def test_only_selected_rows_are_trained_on(update_of, users, public):
    """A cohort by example: the other rows may hold anything."""
    data = users["user 4"]["pixels"].copy()
    rows = [np.array([1, 3, 4])]
    chosen = update_of({"u": {"pixels": data}}, rows=rows)(public, [0], round=1)
    data[[0, 2]] = np.nan
    assert chosen.any()
    assert np.array_equal(chosen, update_of({"u": {"pixels": data}}, rows=rows)(public, [0], round=1))
    assert np.array_equal(chosen, update_of({"u": {"pixels": data[rows[0]]}})(public, [0], round=1))


def test_local_steps_bound_what_a_user_trains_on(update, update_of, users, public):
    """The user with 13 images trains on as many batches as the broadcast has fakes for, and on no more."""
    one_step = {"critic": public["critic"], "fakes": public["fakes"][:1]}
    member = update.dataset.users.index("user 6")
    short = replace(update, local_steps=1)
    assert np.array_equal(short(public, [member], round=1), short(one_step, [member], round=1))
    assert not np.array_equal(short(public, [member], round=1), update(public, [member], round=1))
