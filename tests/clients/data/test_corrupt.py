"""Rehearsed bugs: exactly the share asked for is struck, everybody else is copied bit for bit."""

import json

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.clients.data.corrupt import corrupt_users
from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.clients.selection import rehearsed_users
from fedprobe.errors import FedprobeError
from fedprobe.privacy.population import lookup, register


def contents(path) -> dict[str, dict[str, np.ndarray]]:
    with h5py.File(path) as file:
        return {id: {name: data[...] for name, data in user.items()} for id, user in file["examples"].items()}


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Bit for bit: equal values would let -0.0 pass for 0.0."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.fixture(scope="module")
def sources(tmp_path_factory, write_shard):
    """A registered shard of 7 users for each dtype."""
    stream = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("sources")
    made = {}
    for dtype in ("float32", "uint8"):
        users = {}
        for number in range(7):
            values = stream.uniform(0, 1, (number + 1, 4, 5)) * (255 if dtype == "uint8" else 1)
            users[f"user {number}"] = {"pixels": values.astype(dtype), "label": np.arange(number + 1)}
        made[dtype] = write_shard(folder / f"{dtype}.h5", users)
        register([made[dtype]], "simulation")
    return made


@given(dtype=st.sampled_from(["float32", "uint8"]), share=st.floats(0, 1), seed=st.integers(0, 2**40))
def test_exactly_the_share_is_struck_and_known_beside_the_copy(tmp_path_factory, sources, dtype, share, seed):
    out = tmp_path_factory.mktemp("out") / "bad.h5"
    source = open_dataset([sources[dtype]])
    files, count = corrupt_users(source, out, "invert-pixels", share, seed)
    assert files == [out] and count == round(share * 7)

    before, after = contents(sources[dtype]), contents(out)
    assert before.keys() == after.keys()
    white = np.array(255 if dtype == "uint8" else 1, dtype)
    inverted = {id for id in before if not same(before[id]["pixels"], after[id]["pixels"])}
    assert len(inverted) == count
    for id, user in before.items():
        expected = white - user["pixels"] if id in inverted else user["pixels"]
        assert same(after[id]["pixels"], expected)
        assert same(after[id]["label"], user["label"])

    copy = open_dataset([out])
    assert {copy.users[user] for user in rehearsed_users(copy)} == inverted
    assert copy.population == source.population
    (truth,) = out.parent.rglob("truth/*.json")
    assert json.loads(truth.read_text())["users"] == sorted(inverted)


@given(seed=st.integers(0, 2**40))
def test_the_seed_decides_who_is_struck(tmp_path_factory, sources, seed):
    struck = []
    for again in range(2):
        out = tmp_path_factory.mktemp(f"out{again}") / "bad.h5"
        corrupt_users(open_dataset([sources["uint8"]]), out, "invert-pixels", 0.4, seed)
        struck.append(rehearsed_users(open_dataset([out])).tolist())
    assert struck[0] == struck[1]


def test_another_seed_strikes_others(tmp_path, sources):
    struck = set()
    for seed in range(6):
        out = tmp_path / str(seed) / "bad.h5"
        corrupt_users(open_dataset([sources["uint8"]]), out, "invert-pixels", 0.4, seed)
        struck.add(frozenset(rehearsed_users(open_dataset([out]))))
    assert len(struck) > 1


def test_the_copy_holds_users_attributes_and_nothing_of_the_truth(tmp_path, write_shard, patches):
    path = write_shard(tmp_path / "in" / "s.h5", patches(3))
    with h5py.File(path, "r+") as file:
        file["examples"].attrs["origin"] = "a note"
        for number, user in enumerate(file["examples"].values()):
            user.attrs["country"] = number
            user["pixels"].attrs["unit"] = "ink"
    register([path], "simulation")
    (out,), _ = corrupt_users(open_dataset([path]), tmp_path / "out.h5", "invert-pixels", 0.5, 0)

    def attributes(file: h5py.File) -> dict:
        found = {"": dict(file.attrs)}
        file.visititems(lambda name, item: found.update({name: dict(item.attrs)}))
        return found

    with h5py.File(path) as before, h5py.File(out) as after:
        assert attributes(before) == attributes(after)


def test_several_shards_go_to_a_folder_with_their_names(tmp_path, write_shard, patches):
    paths = [write_shard(tmp_path / "in" / f"{name}.h5", patches(3, seed=number)) for number, name in enumerate("ab")]
    register(paths, "simulation")
    dataset = open_dataset(paths)
    files, count = corrupt_users(dataset, tmp_path / "out", "invert-pixels", 0.5, 0)
    assert files == [tmp_path / "out" / "a.h5", tmp_path / "out" / "b.h5"]
    copy = open_dataset([tmp_path / "out"])
    assert copy.users == dataset.users and len(rehearsed_users(copy)) == count == 3
    with pytest.raises(FedprobeError, match="folder"):
        corrupt_users(dataset, tmp_path / "one.h5", "invert-pixels", 0.5, 0)


def test_shards_of_one_name_are_not_half_copied(tmp_path, write_shard, patches):
    """Two shards that would become one file are refused before the first is written."""
    paths = [write_shard(tmp_path / side / "s.h5", patches(2, seed=number)) for number, side in enumerate("we")]
    register(paths, "simulation", record=tmp_path / "record")
    with pytest.raises(FedprobeError):
        corrupt_users(open_dataset(paths, tmp_path / "record"), tmp_path / "out", "invert-pixels", 0.5, 0)
    assert not (tmp_path / "out").exists()


def test_a_damaged_shard_leaves_nothing(tmp_path, write_shard, damage, patches):
    first, users = patches(2), patches(2, seed=1)
    paths = [
        write_shard(tmp_path / "in" / "a.h5", first),
        write_shard(tmp_path / "in" / "b.h5", users, checksums=True),
    ]
    damage(paths[1], next(iter(users.values()))["pixels"])
    register(paths, "simulation")
    with pytest.raises(DataError, match="damaged"):
        corrupt_users(open_dataset(paths), tmp_path / "out", "invert-pixels", 1.0, 0)
    assert not list(tmp_path.rglob("out/**/*.h5")) and not list(tmp_path.rglob("*temporary*"))


def test_text_has_no_users_to_strike(tmp_path, write_shard, sentences):
    path = write_shard(tmp_path / "in" / "s.h5", sentences(1))
    register([path], "simulation")
    with pytest.raises(DataError, match="text"):
        corrupt_users(open_dataset([path]), tmp_path / "out.h5", "invert-pixels", 0.5, 0)
    assert not (tmp_path / "out.h5").exists()


def test_the_truth_of_unregistered_shards_is_never_lost(tmp_path, write_shard, patches):
    """Either who was struck is written down, or nothing is."""
    path = write_shard(tmp_path / "in" / "s.h5", patches(4))
    out = tmp_path / "out.h5"
    assert lookup([path]) is None
    try:
        corrupt_users(open_dataset([path]), out, "invert-pixels", 0.5, 0)
    except FedprobeError:
        assert not out.exists()
    else:
        assert list(tmp_path.rglob("truth/*.json"))
