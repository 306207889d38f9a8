"""Writing a shard: whole or not at all, and never over another one."""

import h5py
import pytest

from fedprobe.clients.data.writing import new_shard
from fedprobe.errors import FedprobeError


def test_a_shard_has_its_name_only_once_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "s.h5"
    with new_shard(path) as file:
        file.create_group("examples")
        assert not path.exists()
    with h5py.File(path) as file:
        assert list(file) == ["examples"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_ends_early_leaves_nothing(tmp_path, error):
    with pytest.raises(error), new_shard(tmp_path / "s.h5") as file:
        file.create_group("examples")
        raise error
    assert not list(tmp_path.iterdir())


def test_another_file_is_never_overwritten(tmp_path):
    path = tmp_path / "s.h5"
    path.write_bytes(b"mine")
    with pytest.raises(FedprobeError, match="exists"), new_shard(path):
        raise AssertionError("the block was entered")
    assert path.read_bytes() == b"mine"
