"""One user's vector: bounded, hers alone, zeros where she holds what cannot be. Sums are compared exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.clients.embedding import MeanEmbeddingUpdate
from fedprobe.clients.selection import Members
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.privacy.mechanism import CLIP_STEPS, Mechanism
from fedprobe.server.engines.local import local_engine

SIDE = 12
CONFIG = EmbeddingConfig(SIDE, SIDE, classes=3, coefficients=12)
UNLABELLED = EmbeddingConfig(SIDE, SIDE, coefficients=12)
EXAMPLES = [0, 1, 3, 9]
SOME = st.lists(st.integers(0, len(EXAMPLES) - 1), unique=True)


def users_of(spoil=lambda number, data: None) -> dict:
    stream = np.random.default_rng(0)
    users = {}
    for number, count in enumerate(EXAMPLES):
        pixels = stream.uniform(0, 1, (count, SIDE, SIDE)).astype(np.float32)
        users[f"user {number}"] = {"pixels": pixels, "label": stream.integers(0, 3, count)}
        spoil(number, users[f"user {number}"])
    return users


@pytest.fixture(scope="module")
def update_of(tmp_path_factory, write_shard):
    def make(users, config=CONFIG, rows=None) -> MeanEmbeddingUpdate:
        dataset = open_dataset([write_shard(tmp_path_factory.mktemp("shards") / "s.h5", users)])
        return MeanEmbeddingUpdate(dataset, Members(np.arange(len(dataset)), rows), config, Mechanism(1.0, 0.0))

    return make


@pytest.fixture(scope="module")
def update(update_of):
    return update_of(users_of())


def squared(steps: np.ndarray) -> int:
    return sum(int(step) ** 2 for step in steps)


@given(SOME)
def test_a_sum_is_that_of_each_user_alone_and_one_more_moves_it_by_at_most_the_clip_norm(update, members):
    alone = {member: update({}, [member], 1) for member in range(len(EXAMPLES))}
    total = update({}, members, 1)
    assert total.dtype == np.int64 and total.shape == (CONFIG.length,)
    assert np.array_equal(total, sum((alone[member] for member in members), np.zeros(CONFIG.length, np.int64)))
    for steps in alone.values():
        assert squared(steps) <= CLIP_STEPS**2


def test_all_of_the_norm_is_used(update):
    assert squared(update({}, [3], 1)) > (0.999 * CLIP_STEPS) ** 2 * (1 - 2 * 0.3**2)


def test_the_vector_is_the_feature_maps(update):
    images = update.dataset.read([3])
    vector = CONFIG.embed(torch.from_numpy(images.pixels), torch.from_numpy(images.labels)).numpy()
    assert update({}, [3], 1) / CLIP_STEPS == pytest.approx(vector, abs=2e-9)


def test_only_what_is_selected_counts(update_of):
    rows = [np.zeros(0, np.int64), np.array([0]), np.array([0, 2]), np.array([4])]
    chosen, whole = update_of(users_of(), rows=rows), update_of(users_of())
    assert np.array_equal(chosen({}, [1], 1), whole({}, [1], 1))
    assert not np.array_equal(chosen({}, [3], 1), whole({}, [3], 1))


def test_a_user_without_images_contributes_zeros(update):
    assert not update({}, [0], 1).any()


def spoiled(name: str, value: float, of: int = 2):
    def spoil(number: int, data: dict) -> None:
        if number == of:
            data[name].flat[0] = value

    return spoil


@pytest.mark.parametrize(
    "name, value",
    [("pixels", np.nan), ("pixels", np.inf), ("pixels", -0.1), ("pixels", 1.1), ("label", 3), ("label", -1)],
)
def test_a_user_with_a_value_that_cannot_be_contributes_zeros_silently(update_of, update, name, value, capsys):
    bad = update_of(users_of(spoiled(name, value)))
    assert not bad({}, [2], 1).any()
    assert np.array_equal(bad({}, [1, 2, 3], 1), update({}, [1, 3], 1))
    assert capsys.readouterr() == ("", "")


def test_labels_count_only_where_there_are_classes(update_of):
    wrong = update_of(users_of(spoiled("label", 77)), UNLABELLED)
    assert np.array_equal(wrong({}, [2], 1), update_of(users_of(), UNLABELLED)({}, [2], 1))
    bare = {user: {"pixels": data["pixels"]} for user, data in users_of().items()}
    assert np.array_equal(update_of(bare, UNLABELLED)({}, [1, 2, 3], 1), wrong({}, [1, 2, 3], 1))
    with pytest.raises(DataError):
        update_of(bare)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_sum(update, workers):
    with local_engine(update, workers) as engine:
        assert np.array_equal(engine.sum({}, np.arange(4), 1), update({}, [3, 2, 1, 0], 1))
