"""Stored folders: what was written comes back, and whatever was altered since is noticed."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedprobe.models.stored import StoredError, load_stored, store

DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint8,
    torch.bool,
)
FILES = ("tensors.safetensors", "manifest.json")
TENSORS = {"weights": torch.arange(6.0).view(2, 3), "step": torch.tensor(7)}
DESCRIPTION = {"round": 3, "kind": "gan", "figures": {"loss": 0.1, "list": [1, None, True, "a"]}, "empty": {}}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, bytes]:
    """The two files of one stored folder."""
    folder = tmp_path_factory.mktemp("stored") / "one"
    store(folder, TENSORS, DESCRIPTION)
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def load_altered(written, tmp_path_factory):
    """A function that loads the stored folder with one file's content replaced."""
    folder = tmp_path_factory.mktemp("altered")

    def load(name: str, content: bytes):
        for file in FILES:
            (folder / file).write_bytes(content if file == name else written[file])
        return load_stored(folder)

    return load


def bits_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@st.composite
def tensors(draw) -> torch.Tensor:
    """Random bits in any dtype and shape, empty and scalar ones too, sometimes not contiguous."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    stream = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size = torch.Size(shape).numel()
    high = 2 if dtype == torch.bool else 256
    raw = torch.randint(0, high, (size * dtype.itemsize,), dtype=torch.uint8, generator=stream)
    tensor = raw.view(dtype).view(shape) if size else torch.zeros(shape, dtype=dtype)
    return tensor.mT if tensor.dim() >= 2 and draw(st.booleans()) else tensor


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.text("abc/._", min_size=1, max_size=6), tensors(), max_size=4),
    st.dictionaries(st.text(max_size=6), json_values, max_size=4),
)
def test_tensors_of_any_dtype_and_their_description_come_back(many, description):
    assume(not {"tensors_sha256", "manifest_sha256"} & set(description))
    with TemporaryDirectory() as parent:
        store(Path(parent) / "one", many, description)
        back, described = load_stored(Path(parent) / "one")
        assert os.listdir(parent) == ["one"]
    assert back.keys() == many.keys()
    for name, tensor in many.items():
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        assert bits_of(back[name]) == bits_of(tensor)
    assert len(described.pop("tensors_sha256")) == 64
    assert described == description


def test_tensors_that_share_memory_and_need_gradients_are_stored_too(tmp_path):
    base = torch.arange(4.0, requires_grad=True)
    store(tmp_path / "one", {"whole": base, "part": base[1:3], "wide": torch.ones(1).expand(3)}, {})
    back, _ = load_stored(tmp_path / "one")
    assert {name: tensor.tolist() for name, tensor in back.items()} == {
        "whole": [0.0, 1.0, 2.0, 3.0],
        "part": [1.0, 2.0],
        "wide": [1.0, 1.0, 1.0],
    }


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_flipped_bit_in_the_tensors_is_noticed(written, load_altered, data):
    content = bytearray(written["tensors.safetensors"])
    position = data.draw(st.integers(0, 8 * len(content) - 1))
    content[position // 8] ^= 1 << position % 8
    with pytest.raises(StoredError):
        load_altered("tensors.safetensors", bytes(content))


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_flipped_bit_in_the_manifest_is_noticed_unless_it_says_the_same(written, load_altered, data):
    content = bytearray(written["manifest.json"])
    position = data.draw(st.integers(0, 8 * len(content) - 1))
    content[position // 8] ^= 1 << position % 8
    try:
        _, described = load_altered("manifest.json", bytes(content))
    except StoredError:
        return
    described.pop("tensors_sha256")
    assert described == DESCRIPTION


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_altered_removed_or_added_value_in_the_manifest_is_noticed(written, load_altered, data):
    manifest = json.loads(written["manifest.json"])
    inside = data.draw(st.sampled_from([manifest, manifest["figures"], manifest["empty"]]))
    name = data.draw(st.sampled_from([*inside, "new"]))
    value = data.draw(json_values)
    if name in inside and data.draw(st.booleans()):
        del inside[name]
    else:
        assume(json.dumps(inside.get(name, "absent")) != json.dumps(value))
        inside[name] = value
    with pytest.raises(StoredError):
        load_altered("manifest.json", json.dumps(manifest).encode())


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(FILES), st.data())
def test_a_file_that_was_cut_short_is_noticed(written, load_altered, name, data):
    # Less than the manifest's last newline.
    keep = data.draw(st.integers(0, len(written[name]) - 2))
    with pytest.raises(StoredError):
        load_altered(name, written[name][:keep])


@pytest.mark.parametrize("content", [b"[]", b"null", b'"text"', b"{}", b"\xff\xfe"])
def test_a_manifest_of_another_kind_is_noticed(load_altered, content):
    with pytest.raises(StoredError):
        load_altered("manifest.json", content)


@pytest.mark.parametrize("missing", [*FILES, None])
def test_missing_files_and_a_missing_folder_are_noticed(written, tmp_path, missing):
    folder = tmp_path / "one"
    if missing is not None:
        folder.mkdir()
        for name in set(FILES) - {missing}:
            (folder / name).write_bytes(written[name])
    with pytest.raises(StoredError, match="not a whole"):
        load_stored(folder)


def test_the_tensors_of_one_folder_do_not_pass_for_anothers(written, tmp_path):
    store(tmp_path / "other", {"weights": torch.zeros(2, 3), "step": torch.tensor(7)}, DESCRIPTION)
    (tmp_path / "other" / "manifest.json").write_bytes(written["manifest.json"])
    with pytest.raises(StoredError, match="digest"):
        load_stored(tmp_path / "other")


def test_an_existing_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "deep" / "one"
    store(folder, TENSORS, DESCRIPTION)
    (folder / "stray").write_text("from before")
    store(folder, {"other": torch.ones(2)}, {"kind": "other"})
    back, described = load_stored(folder)
    assert list(back) == ["other"]
    assert described["kind"] == "other"
    assert sorted(os.listdir(folder)) == sorted(FILES)
    assert os.listdir(folder.parent) == ["one"]


def refuse(*arguments, **named):
    raise OSError("no space left on device")


@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
def test_a_write_that_fails_leaves_nothing_under_the_new_name(tmp_path, monkeypatch, step):
    monkeypatch.setattr(f"fedprobe.models.stored.{step}", refuse)
    with pytest.raises(OSError):
        store(tmp_path / "one", TENSORS, DESCRIPTION)
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, step):
    store(tmp_path / "one", TENSORS, DESCRIPTION)
    with monkeypatch.context() as broken:
        broken.setattr(f"fedprobe.models.stored.{step}", refuse)
        with pytest.raises(OSError):
            store(tmp_path / "one", {"weights": torch.zeros(1)}, {"round": 4})
    tensors, described = load_stored(tmp_path / "one")
    assert described["round"] == 3
    assert torch.equal(tensors["weights"], TENSORS["weights"])
    # The same process may try again.
    store(tmp_path / "one", {"weights": torch.zeros(1)}, {"round": 4})
    assert load_stored(tmp_path / "one")[1]["round"] == 4


@pytest.mark.parametrize("failing", [1, 2])
def test_whichever_rename_fails_what_was_there_stays(tmp_path, monkeypatch, failing):
    store(tmp_path / "one", TENSORS, DESCRIPTION)
    calls, rename = [], os.replace

    def replace(source, target):
        calls.append(target)
        return refuse() if len(calls) == failing else rename(source, target)

    with monkeypatch.context() as broken:
        broken.setattr("fedprobe.models.stored.os.replace", replace)
        with pytest.raises(OSError):
            store(tmp_path / "one", {"weights": torch.zeros(1)}, {"round": 4})
    assert load_stored(tmp_path / "one")[1]["round"] == 3
