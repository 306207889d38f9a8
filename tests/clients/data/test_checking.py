"""Checking contents: every fault is found and named for the steward, and what has passed is not read again."""

import numpy as np
import pytest

from fedprobe.clients.data.checking import check, require_valid
from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.privacy.population import register


def test_content_that_has_passed_is_not_read_again_unless_asked(tmp_path, write_shard, damage, patches):
    users = patches(3)
    path = write_shard(tmp_path / "s.h5", users, checksums=True)
    register([path], "simulation")
    require_valid(open_dataset([path]), classes=2)
    damage(path, next(iter(users.values()))["pixels"])
    require_valid(open_dataset([path]), classes=2)
    with pytest.raises(DataError):
        require_valid(open_dataset([path]), classes=2, again=True)
    with pytest.raises(DataError):
        require_valid(open_dataset([path]), classes=3)


def test_check_names_each_users_fault(tmp_path, write_shard, patches):
    users = patches(6)
    nan, high, low, empty, negative, _ = users
    users[nan]["pixels"][1, 2, 3] = np.nan
    users[high]["pixels"][0, 0, 0] = 1.001
    users[low]["pixels"][0, 0, 0] = -0.001
    users[empty] = {name: values[:0] for name, values in users[empty].items()}
    users[negative]["label"][0] = -1
    dataset = open_dataset([write_shard(tmp_path / "s.h5", users)])
    done = []
    assert check(dataset, on_users=done.append) == {
        nan: "pixels that are not finite (NaN or infinite)",
        high: "pixels outside [0, 1]",
        low: "pixels outside [0, 1]",
        empty: "no examples",
        negative: "negative labels",
    }
    assert done[-1] == 6 and done == sorted(done)
    wrong_class = check(dataset, classes=1)
    assert set(wrong_class) == set(users)
