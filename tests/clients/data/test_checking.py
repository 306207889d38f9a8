"""Checking contents: every fault is found and named for the steward, and what has passed is not read again."""

import json

import numpy as np
import pytest

from fedprobe.clients.data.checking import check, require_valid
from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.clients.text import TextFormat
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


@pytest.fixture
def texts(sentences):
    """Four users: the first one's text is not UTF-8, the second has no rows, the third nothing but an empty one."""
    users = sentences(4)
    broken, none, blank, _ = users
    users[broken]["tokens"][2] = b"at oak-street \xff"
    users[none]["tokens"] = users[none]["tokens"][:0]
    users[blank]["tokens"] = np.array([""], object)
    return users


def test_check_names_each_users_fault_in_text(tmp_path, write_shard, texts):
    broken, none, *_ = texts
    done = []
    faults = check(open_dataset([write_shard(tmp_path / "s.h5", texts)]), on_users=done.append)
    assert faults == {broken: "text that is not UTF-8, or holds a NUL", none: "no examples"}
    assert done[-1] == 4


def test_faults_of_text_are_in_the_file_and_counted_in_the_message(tmp_path, write_shard, texts):
    path = write_shard(tmp_path / "s.h5", texts)
    register([path], "simulation")
    broken, none, *_ = texts
    with pytest.raises(DataError, match="2 users cannot be used: no examples; text that is not UTF-8") as raised:
        require_valid(open_dataset([path]))
    assert raised.value.exit_code == 3
    assert not any(secret in str(raised.value) for secret in ("oak-street", "Oak Street", "№"))
    (file,) = tmp_path.rglob("faults.json")
    assert set(json.loads(file.read_text())) == {broken, none}
    assert "oak-street" not in file.read_text()


def test_text_that_has_passed_is_read_again_for_another_column(tmp_path, write_shard):
    column = np.array(["a"], object)
    path = write_shard(tmp_path / "s.h5", {"u": {"tokens": column, "title": np.array([b"\xff"], object)}})
    register([path], "simulation")
    require_valid(open_dataset([path]))
    with pytest.raises(DataError, match="not UTF-8"):
        require_valid(open_dataset([path], text=TextFormat("title")))


def test_a_column_that_is_not_there_is_no_users_fault(tmp_path, write_shard, sentences):
    dataset = open_dataset([write_shard(tmp_path / "s.h5", sentences(2))], text=TextFormat("title"))
    with pytest.raises(DataError, match="--column"):
        check(dataset)
