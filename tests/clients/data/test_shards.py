"""Reading shards: what users hold comes out whole, in the order asked for, and nobody else is touched."""

import multiprocessing
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedprobe.clients.data.describe import describe
from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.privacy.population import register

# What HDF5 takes as a name: anything but a slash and the null byte; a lone dot is the group itself.
IDS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda id: id != "."
)


@st.composite
def federations(draw):
    """Shards' worth of ragged users of one random schema: a list of (id -> data set -> values)."""
    ids = draw(st.lists(IDS, min_size=1, max_size=6, unique=True))
    tail = draw(st.sampled_from([(5, 4), (5, 4, 1), (5, 4, 3)]))
    dtype = draw(st.sampled_from([np.float32, np.uint8]))
    labelled = draw(st.booleans())
    stream = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users = {}
    for id in ids:
        shape = (draw(st.integers(0, 4)), *tail)
        values = stream.integers(0, 256, shape) if dtype == np.uint8 else stream.uniform(0, 1, shape)
        users[id] = {"pixels": values.astype(dtype)}
        if labelled:
            users[id]["label"] = stream.integers(0, 62, shape[0])
    cut = draw(st.integers(1, len(ids)))
    parts = [dict(list(users.items())[:cut]), dict(list(users.items())[cut:])]
    return [part for part in parts if part]


def as_batch(pixels: np.ndarray) -> np.ndarray:
    """What `pixels` is to become: [n, C, H, W] float32 in [0, 1]."""
    unit = pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels
    return unit[:, None] if unit.ndim == 3 else unit.transpose(0, 3, 1, 2)


def write_all(folder: Path, write_shard, federation) -> list[Path]:
    return [write_shard(folder / f"shard_{number}.h5", users) for number, users in enumerate(federation)]


@given(federations(), st.data())
def test_read_returns_each_asked_user_in_the_order_asked(tmp_path_factory, write_shard, federation, data):
    dataset = open_dataset(write_all(tmp_path_factory.mktemp("shards"), write_shard, federation))
    everyone = {id: values for users in federation for id, values in users.items()}
    assert sorted(dataset.users) == sorted(everyone)
    assert [dataset.user_id(user) for user in range(len(dataset))] == dataset.users

    asked = data.draw(st.lists(st.integers(0, len(dataset) - 1), max_size=8))
    batch = dataset.read(asked)
    expected = [everyone[dataset.users[user]] for user in asked]
    assert batch.pixels.dtype == np.float32 and batch.pixels.shape[1:] == dataset.shape
    assert batch.offsets.tolist() == np.cumsum([0, *(len(user["pixels"]) for user in expected)]).tolist()
    assert len(batch) == len(asked)
    for one, user in zip(batch, expected, strict=True):
        assert np.array_equal(one.pixels, as_batch(user["pixels"]))
        if "label" in user:
            assert one.labels.dtype == np.int64 and np.array_equal(one.labels, user["label"])
        else:
            assert one.labels is None


@given(federations(), st.integers(1, 4))
def test_batches_go_through_all_users_once_and_in_order(tmp_path_factory, write_shard, federation, at_once):
    dataset = open_dataset(write_all(tmp_path_factory.mktemp("shards"), write_shard, federation))
    seen = []
    for users, batch in dataset.batches(at_once):
        assert 0 < len(users) <= at_once and len(batch) == len(users)
        assert np.diff(batch.offsets).tolist() == dataset.examples[list(users)].tolist()
        seen.extend(users)
    assert seen == list(range(len(dataset)))


@given(IDS)
@example("  two  spaces ")
@example("Ünïcödé 用户 🙂 \u202e\u0301")
@example("..")
@example('"; DROP TABLE\n\t\\u0041')
@example("x" * 5000)
def test_an_id_is_opaque_and_survives_the_cached_index(tmp_path_factory, write_shard, id):
    path = write_shard(
        tmp_path_factory.mktemp("shards") / "s.h5", {id: {"pixels": np.full((2, 3, 3), 0.5, np.float32)}}
    )
    register([path], "simulation")
    for _ in range(2):
        dataset = open_dataset([path])
        assert dataset.users == [id]
        assert (dataset.read([0]).pixels == 0.5).all()


def test_an_id_that_is_no_text_is_read_or_refused_as_data(tmp_path, write_shard):
    path = write_shard(tmp_path / "s.h5", {"later renamed": {"pixels": np.zeros((2, 3, 3), np.float32)}})
    with h5py.File(path, "r+") as file:
        examples = file["examples"].id
        examples.links.move(b"later renamed", examples, b"\xff\xfe")
    register([path], "simulation")
    for _ in range(2):
        try:
            dataset = open_dataset([path])
        except DataError as refusal:
            assert path.name in str(refusal)
        else:
            assert len(dataset.read([0]).pixels) == 2


@pytest.mark.parametrize("named", ["file", "folder", "glob", "all of it twice"])
def test_shards_are_named_by_file_folder_or_glob(tmp_path, write_shard, patches, named):
    users = patches(4)
    paths = write_all(tmp_path / "shards", write_shard, [dict(list(users.items())[:2]), dict(list(users.items())[2:])])
    (tmp_path / "shards" / "notes.txt").write_text("no shard")
    folder = str(tmp_path / "shards")
    given = {
        "file": paths,
        "folder": [folder],
        "glob": [f"{folder}/*_?.h5"],
        "all of it twice": [*paths, folder, f"{folder}/*.h5"],
    }[named]
    dataset = open_dataset(given)
    assert dataset.paths == paths
    assert sorted(dataset.users) == sorted(users)


@pytest.mark.parametrize("named", ["missing.h5", "*.h5", "."])
def test_where_there_are_no_shards_it_says_so(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no shards at"):
        open_dataset([named])


def test_a_name_with_glob_characters_is_a_file_first(tmp_path, write_shard, patches):
    path = write_shard(tmp_path / "shard[1].h5", patches(2))
    write_shard(tmp_path / "shard1.h5", patches(3, seed=1))
    assert len(open_dataset([path])) == 2


def test_reading_two_users_does_not_touch_the_others(tmp_path, write_shard, damage, patches):
    users = patches(6)
    path = write_shard(tmp_path / "s.h5", users, checksums=True)
    dataset = open_dataset([path])
    broken = dataset.users[3]
    damage(path, users[broken]["pixels"])

    others = [user for user in range(6) if user != 3]
    assert len(open_dataset([path]).read(others)) == 5
    with pytest.raises(DataError, match="damaged") as raised:
        open_dataset([path]).read([2, 3])
    assert broken not in str(raised.value)


def test_a_forked_worker_reads_what_its_parent_reads(tmp_path, write_shard, patches):
    dataset = open_dataset([write_shard(tmp_path / "s.h5", patches(5))])
    everyone = range(len(dataset))
    before = dataset.read(everyone).pixels
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    worker = fork.Process(target=lambda: theirs.send(dataset.read(everyone).pixels))
    worker.start()
    theirs.close()
    theirs_read = ours.recv()
    worker.join()
    assert worker.exitcode == 0
    assert np.array_equal(theirs_read, before)
    assert np.array_equal(dataset.read(everyone).pixels, before)


def test_more_shards_than_a_process_may_keep_open(tmp_path, write_shard):
    images = {number: np.full((1, 3, 3), number, np.uint8) for number in range(80)}
    paths = [write_shard(tmp_path / f"{number:02}.h5", {f"u{number}": {"pixels": images[number]}}) for number in images]
    dataset = open_dataset(paths)
    for users in (range(80), range(79, -1, -1), [0, 79] * 3):
        assert np.array_equal(dataset.read(users).pixels, np.stack([as_batch(images[user])[0] for user in users]))


def overwrite(path: Path, content: bytes, mtime_ns: int) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def test_the_index_is_kept_beside_the_shards_until_size_or_time_changes(tmp_path, write_shard, patches):
    path = write_shard(tmp_path / "s.h5", patches(3))
    register([path], "simulation")
    users = open_dataset([path]).users
    status = path.stat()

    # Garbage can only be opened by not opening it.
    overwrite(path, bytes(status.st_size), status.st_mtime_ns)
    assert open_dataset([path]).users == users
    overwrite(path, bytes(status.st_size), status.st_mtime_ns + 1)
    with pytest.raises(DataError):
        open_dataset([path])
    overwrite(path, bytes(status.st_size + 1), status.st_mtime_ns)
    with pytest.raises(DataError):
        open_dataset([path])
    assert not list(tmp_path.rglob("*temporary*"))


def test_a_user_who_comes_later_is_seen(tmp_path, write_shard, patches):
    users = patches(3)
    newcomer, values = users.popitem()
    path = write_shard(tmp_path / "s.h5", users)
    register([path], "simulation")
    assert newcomer not in open_dataset([path]).users
    with h5py.File(path, "r+") as file:
        group = file["examples"].create_group(newcomer)
        for name, array in values.items():
            group.create_dataset(name, data=array)
    assert newcomer in open_dataset([path]).users


def test_nothing_is_written_beside_shards_that_are_not_registered(tmp_path, write_shard, patches):
    path = write_shard(tmp_path / "s.h5", patches(3))
    open_dataset([path]).read([0, 1])
    assert list(tmp_path.iterdir()) == [path]


def test_one_record_for_shards_of_one_name_keeps_them_apart(tmp_path, write_shard, patches):
    """With --record one folder serves several: not even equal size and time may let one pass for the other."""
    users = [{f"{side} {id}": values for id, values in patches(2).items()} for side in ("west", "east")]
    paths = [write_shard(tmp_path / side / "s.h5", part) for side, part in zip("we", users, strict=True)]
    for path in paths:
        os.utime(path, ns=(0, 0))
    assert paths[0].stat().st_size == paths[1].stat().st_size
    record = tmp_path / "record"
    register(paths, "simulation", record=record)
    for _ in range(2):
        dataset = open_dataset(paths, record)
        assert sorted(dataset.users) == sorted([*users[0], *users[1]])


def test_describe_counts_by_hand(tmp_path, write_shard):
    counts = {"a": 1, "b": 4, "c": 7}
    users = {id: {"pixels": np.zeros((count, 5, 4, 3), np.uint8)} for id, count in counts.items()}
    described = describe(open_dataset([write_shard(tmp_path / "s.h5", users)]))
    assert (described.users, described.examples, described.examples_per_user) == (3, 12, (1, 4, 7))
    assert (described.height, described.width, described.channels) == (5, 4, 3)
    assert (described.dtype, described.labelled, described.kind) == ("uint8", False, "unregistered")
