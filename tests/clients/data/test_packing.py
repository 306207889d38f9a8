"""Packed shards hold what the shards held, bit for bit, and are refused where they are damaged."""

import multiprocessing
import os
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprobe.clients.data.checking import check
from fedprobe.clients.data.corrupt import corrupt_users
from fedprobe.clients.data.packing import pack
from fedprobe.clients.data.shards import DataError, FederatedDataset, open_dataset
from fedprobe.errors import RequestError
from fedprobe.privacy.population import register

IDS = st.text(st.characters(blacklist_characters="/.\0", blacklist_categories=("Cs",)), min_size=1, max_size=8)
COUNTS = st.dictionaries(IDS, st.integers(0, 4), min_size=1, max_size=6)


def images(path: Path, counts: dict[str, int], kind: str, labelled: bool, seed: int = 0) -> FederatedDataset:
    """A shard of 3 x 2 images: `kind` is uint8, whole (float32 of k / 255) or float32."""
    stream = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file.create_group("examples")
        for user, count in counts.items():
            whole = stream.integers(0, 256, (count, 3, 2)).astype(np.uint8)
            pixels = {"uint8": whole, "whole": whole.astype(np.float32) / np.float32(255)}.get(kind)
            if pixels is None:
                pixels = stream.random((count, 3, 2), dtype=np.float32)
            group = file["examples"].create_group(user)
            group["pixels"] = pixels
            group.attrs["version"], group.attrs["age"] = f"{count}.ä", count
            if labelled:
                group["label"] = stream.integers(0, 9, count)
    return open_dataset([path])


def same(packed: FederatedDataset, dataset: FederatedDataset) -> None:
    """Users are found by their ids: packed ones are sorted."""
    assert sorted(packed.users) == sorted(dataset.users)
    for position, user in enumerate(packed.users):
        before = dataset.users.index(user)
        assert packed.user_id(position) == user
        assert packed.examples[position] == dataset.examples[before]
        assert packed.attributes(position) == dataset.attributes(before)


@settings(max_examples=30, deadline=None)
@given(
    counts=COUNTS, kind=st.sampled_from(["uint8", "whole", "float32"]), labelled=st.booleans(), seed=st.integers(0, 99)
)
def test_images_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str, int], kind: str, labelled: bool, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("packed")
    dataset = images(folder / "users.h5", counts, kind, labelled, seed)
    files, dtype = pack(dataset, folder / "packed.h5")
    packed = open_dataset(files)
    same(packed, dataset)
    assert packed.dtype == dtype
    assert dtype == "uint8" or kind == "float32"
    users = range(len(packed))
    ours, theirs = packed.read(users), dataset.read([dataset.users.index(user) for user in packed.users])
    np.testing.assert_array_equal(ours.pixels, theirs.pixels, strict=True)
    np.testing.assert_array_equal(ours.offsets, theirs.offsets)
    if labelled:
        np.testing.assert_array_equal(ours.labels, theirs.labels, strict=True)
    else:
        assert ours.labels is None


@settings(max_examples=20, deadline=None)
@given(rows=st.dictionaries(IDS, st.lists(st.binary(max_size=9).filter(lambda row: b"\0" not in row)), min_size=1))
def test_text_comes_back_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, list[bytes]]) -> None:
    folder = tmp_path_factory.mktemp("packed")
    with h5py.File(folder / "users.h5", "w") as file:
        file.create_group("examples").attrs["tokens_separator"] = "\t"
        for user, sentences in rows.items():
            data = np.array(sentences, object) if sentences else np.zeros(0, object)
            file.create_dataset(f"examples/{user}/tokens", data=data, dtype=h5py.string_dtype())
    dataset = open_dataset([folder / "users.h5"])
    packed = open_dataset(pack(dataset, folder / "packed.h5")[0])
    same(packed, dataset)
    faults = check(packed)
    assert faults == check(dataset)
    for position, user in enumerate(packed.users):
        assert packed.stored(position)["tokens"].tolist() == rows[user]
        if user not in faults:
            assert packed.sentences(position) == dataset.sentences(dataset.users.index(user))


def test_pixels_that_cannot_be_are_kept_and_found(tmp_path: Path) -> None:
    images(tmp_path / "users.h5", {"a": 2, "b": 1}, "whole", True)
    with h5py.File(tmp_path / "users.h5", "r+") as file:
        file["examples/a/pixels"][1, 0, 0] = np.nan
    files, dtype = pack(open_dataset([tmp_path / "users.h5"]), tmp_path / "packed.h5")
    assert dtype == "float32"
    assert list(check(open_dataset(files))) == ["a"]


def received(sent: bytes) -> FederatedDataset:
    return pickle.loads(sent)  # noqa: S301


def test_what_another_machine_is_sent_is_of_the_same_files_or_refused(tmp_path: Path) -> None:
    """Of another pack of the same users the offsets would be wrong, and one user's rows another's."""
    dataset, other = (images(tmp_path / f"{n}.h5", {"a": n, "b": 4 - n}, "uint8", False) for n in (1, 2))
    (file,), _ = pack(dataset, tmp_path / "packed.h5")
    (stranger,), _ = pack(other, tmp_path / "other.h5")
    sent = pickle.dumps(open_dataset([file]))
    np.testing.assert_array_equal(received(sent).read([1]).pixels, open_dataset([file]).read([1]).pixels)
    os.utime(stranger, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    os.replace(stranger, file)
    with pytest.raises(DataError, match="not the same on all machines"):
        received(sent)
    file.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        received(sent)


def test_the_record_goes_along_and_packed_shards_are_not_corrupted(tmp_path: Path) -> None:
    images(tmp_path / "users.h5", {"a": 2, "b": 1}, "uint8", True)
    population, _ = register([tmp_path / "users.h5"], "simulation")
    files, _ = pack(open_dataset([tmp_path / "users.h5"]), tmp_path / "other" / "packed.h5")
    packed = open_dataset(files)
    assert packed.population == population
    with pytest.raises(RequestError, match="then pack the copies"):
        corrupt_users(packed, tmp_path / "struck.h5", "invert-pixels", 0.5, 0)


def _replace(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.Group], None]:
    def damage(group: h5py.Group) -> None:
        values = group[name][...]
        del group[name]
        group[name] = change(values)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        _replace("label", lambda label: label[:-1]),
        _replace("label", lambda label: label + 0.5),
        _replace("pixels", lambda pixels: pixels.astype(np.float64)),
        _replace("pixels", lambda pixels: pixels[:-1]),
        _replace("offsets", lambda offsets: offsets[::-1]),
        _replace("offsets", lambda offsets: offsets[:-1]),
        _replace("users", lambda users: users[::-1]),
        _replace("users", lambda users: users[[0, 0]]),
        _replace("attribute_offsets", lambda offsets: offsets + 1),
        lambda group: group.__delitem__("offsets"),
        lambda group: group.__delitem__("pixels"),
    ],
)
def test_damaged_structure_is_refused(tmp_path: Path, damage: Callable[[h5py.Group], object]) -> None:
    files, _ = pack(images(tmp_path / "users.h5", {"zoe": 2, "yve": 1}, "uint8", True), tmp_path / "packed.h5")
    with h5py.File(files[0], "r+") as file:
        damage(file["packed"])
    with pytest.raises(DataError, match=r"packed\.h5") as error:
        open_dataset(files)
    assert "zoe" not in str(error.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    files, _ = pack(images(tmp_path / "users.h5", {"zoe": 2}, "uint8", True), tmp_path / "packed.h5")
    os.truncate(files[0], files[0].stat().st_size // 2)
    with pytest.raises(DataError, match="cut short"):
        open_dataset(files)


def test_an_attribute_that_is_no_text_is_refused_without_its_value(tmp_path: Path) -> None:
    images(tmp_path / "users.h5", {"zoe": 1}, "uint8", False)
    with h5py.File(tmp_path / "users.h5", "r+") as file:
        file["examples/zoe"].attrs["secret"] = np.bytes_(b"\xffhidden")
    with pytest.raises(DataError) as error:
        pack(open_dataset([tmp_path / "users.h5"]), tmp_path / "packed.h5")
    assert "hidden" not in str(error.value) and error.value.__context__ is None
    assert not (tmp_path / "packed.h5").exists()


def test_an_attribute_of_a_type_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    images(tmp_path / "users.h5", {"zoe": 1}, "uint8", False)
    with h5py.File(tmp_path / "users.h5", "r+") as file:
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5a.create(file["examples/zoe"].id, b"when", h5py.h5t.UNIX_D32LE, space)
    with pytest.raises(DataError, match="type that cannot be read") as error:
        pack(open_dataset([tmp_path / "users.h5"]), tmp_path / "packed.h5")
    assert "zoe" not in str(error.value) and error.value.__context__ is None
    assert not (tmp_path / "packed.h5").exists()


@given(ids=st.lists(st.binary(min_size=1, max_size=4).filter(lambda id: id[-1]), min_size=1, max_size=4, unique=True))
def test_ids_that_are_not_utf8_are_refused_and_others_are_not(
    tmp_path_factory: pytest.TempPathFactory, ids: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("ids") / "packed.h5"
    pack(images(path.with_name("users.h5"), {f"{n}": 1 for n in range(len(ids))}, "uint8", True), path)
    with h5py.File(path, "r+") as file:
        _replace("users", lambda _: np.array(sorted(ids), "S"))(file["packed"])
    try:
        expected = [id.decode() for id in sorted(ids)]
    except UnicodeDecodeError:
        with pytest.raises(DataError, match="not UTF-8"):
            open_dataset([path])
    else:
        assert open_dataset([path]).users == expected


@settings(max_examples=30, deadline=None)
@given(
    shards=st.lists(COUNTS, min_size=1, max_size=3).filter(lambda shards: any(sum(one.values()) for one in shards)),
    data=st.data(),
)
def test_users_read_together_are_what_each_is_alone(
    tmp_path_factory: pytest.TempPathFactory, shards: list[dict[str, int]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("packed")
    paths = []
    for number, counts in enumerate(shards):
        named = {f"{number}{user}": count for user, count in counts.items()}
        dataset = images(folder / "users.h5", named, "uint8", True, seed=number)
        paths += pack(dataset, folder / f"packed{number}.h5")[0]
        (folder / "users.h5").unlink()
    packed = open_dataset(paths)
    asked = data.draw(st.lists(st.integers(0, len(packed) - 1), max_size=9) | st.just(list(range(len(packed)))))
    together = packed.read(asked)
    assert len(together) == len(asked)
    for one, user in zip(together, asked, strict=True):
        alone = packed.read([user])
        assert len(alone.pixels) == packed.examples[user]
        np.testing.assert_array_equal(one.pixels, alone.pixels, strict=True)
        np.testing.assert_array_equal(one.labels, alone.labels, strict=True)


def test_a_forked_process_reads_with_handles_of_its_own(tmp_path: Path) -> None:
    packed = open_dataset(pack(images(tmp_path / "users.h5", {"a": 3, "b": 2}, "uint8", False), tmp_path / "p.h5")[0])
    before = packed.read([0, 1]).pixels
    inherited = set(packed._files)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_read_in_child, args=(packed, theirs))
    child.start()
    pixels, handles = ours.recv()
    child.join()
    np.testing.assert_array_equal(pixels, before)
    assert handles - inherited
    np.testing.assert_array_equal(packed.read([0, 1]).pixels, before)


def _read_in_child(packed: FederatedDataset, connection: Connection) -> None:
    connection.send((packed.read([0, 1]).pixels, set(packed._files)))


def test_the_faulty_are_found_among_many(tmp_path: Path) -> None:
    images(tmp_path / "users.h5", {f"u{number:03d}": 1 + number % 2 for number in range(150)}, "float32", True)
    with h5py.File(tmp_path / "users.h5", "r+") as file:
        file["examples/u070/pixels"][0, 0, 0] = 2
        file["examples/u149/label"][0] = -1
    packed = open_dataset(pack(open_dataset([tmp_path / "users.h5"]), tmp_path / "packed.h5")[0])
    done = []
    assert check(packed, on_users=done.append) == {"u070": "pixels outside [0, 1]", "u149": "negative labels"}
    assert done[-1] == 150 and done == sorted(set(done))
