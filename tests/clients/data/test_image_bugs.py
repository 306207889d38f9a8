"""Rehearsed bugs of images: none changes what a shard is, only what its images show or are called."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprobe.clients.data.corrupt import corrupt_users
from fedprobe.clients.data.image_bugs import USER_BUGS
from fedprobe.clients.data.shards import open_dataset
from fedprobe.privacy.population import register

OF_PIXELS = [name for name, bug in USER_BUGS.items() if bug.pixels is not None]
OF_LABELS = [name for name, bug in USER_BUGS.items() if bug.labels is not None]


@settings(max_examples=60)
@given(
    name=st.sampled_from(OF_PIXELS),
    seed=st.integers(0, 2**32),
    shape=st.sampled_from([(3, 12, 12), (1, 9, 14), (2, 12, 12, 3), (0, 12, 12)]),
    dtype=st.sampled_from(["float32", "uint8"]),
)
def test_struck_images_are_images_of_the_same_shape_and_dtype(name, seed, shape, dtype):
    values = np.random.default_rng(seed).uniform(0, 1, shape)
    pixels = (values * 255 if dtype == "uint8" else values).astype(dtype)
    struck = USER_BUGS[name].struck(pixels, np.random.default_rng(0))
    assert struck.shape == shape and struck.dtype == dtype
    assert not struck.size or (struck.min() >= 0 and struck.max() <= (255 if dtype == "uint8" else 1))


@pytest.mark.parametrize("name", OF_PIXELS)
def test_every_bug_changes_strokes(name):
    pixels = np.ones((2, 28, 28), np.float32)
    pixels[:, 8:20, 12:15] = 0
    pixels[:, 8:11, 12:20] = 0.4
    assert not np.allclose(USER_BUGS[name].struck(pixels, np.random.default_rng(0)), pixels)


@pytest.mark.parametrize("name", list(USER_BUGS))
def test_a_struck_copy_has_the_same_users_and_schema(tmp_path, write_shard, name):
    stream = np.random.default_rng(0)
    users = {
        f"user {number}": {"pixels": stream.uniform(0, 1, (12, 12, 12)).astype("f4"), "label": np.arange(12) % 10}
        for number in range(4)
    }
    # Of the one label that drop-class takes away, and of nothing else.
    users["user 4"] = {"pixels": users["user 0"]["pixels"][:2], "label": np.array([4, 4])}
    source = write_shard(tmp_path / "s.h5", users)
    register([source], "simulation")
    (out,), struck = corrupt_users(open_dataset([source]), tmp_path / "out.h5", name, None, 0)
    before, after = open_dataset([source]), open_dataset([out])
    assert struck == round(USER_BUGS[name].share * 5)
    assert (after.users, after.shape, after.labelled) == (before.users, before.shape, True)
    with h5py.File(out) as file:
        for user in file["examples"].values():
            assert len(user["pixels"]) == len(user["label"]) > 0
            assert 0 <= user["label"][...].min() and user["label"][...].max() < 10


@pytest.mark.parametrize("name", OF_LABELS)
def test_bugs_of_labels_need_labels(tmp_path, write_shard, name):
    source = write_shard(tmp_path / "s.h5", {"one": {"pixels": np.zeros((2, 8, 8), "f4")}})
    register([source], "simulation")
    with pytest.raises(Exception, match="no labels"):
        corrupt_users(open_dataset([source]), tmp_path / "out.h5", name, 1.0, 0)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_what_bugs_of_labels_do_by_hand(labels):
    labels = np.array(labels)
    assert USER_BUGS["shift-labels"].labels(labels).tolist() == [(label + 1) % 10 for label in labels]
    assert USER_BUGS["drop-class"].labels(labels).tolist() == [-1 if label == 4 else label for label in labels]
    twice = USER_BUGS["swap-labels"].labels(USER_BUGS["swap-labels"].labels(labels))
    assert twice.tolist() == labels.tolist()
    kept = USER_BUGS["repeat-class"].labels(labels)
    assert (kept[labels == 1] == 1).all()
