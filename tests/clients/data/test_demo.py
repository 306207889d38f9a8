"""The demo shards: real digits, the same for the same seed, white paper."""

import h5py
import numpy as np
import pytest

from fedprobe.cli.data import demo
from fedprobe.clients.data.checking import check
from fedprobe.clients.data.demo import LEAST_USERS, write_demo_images
from fedprobe.clients.data.shards import open_dataset

USERS = LEAST_USERS


def arrays(path) -> dict[str, np.ndarray]:
    """Every data set of a shard, by its name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[...]}) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "digits.h5"
    return path, write_demo_images(path, USERS, seed=3)


def test_the_seed_decides_every_pixel(digits, tmp_path):
    first = arrays(digits[0])
    for seed, equal in ((3, True), (4, False)):
        write_demo_images(tmp_path / f"{seed}.h5", USERS, seed)
        again = arrays(tmp_path / f"{seed}.h5")
        assert again.keys() == first.keys()
        assert all(np.array_equal(again[name], first[name]) for name in first) == equal


def test_more_users_leave_the_first_ones_as_they_were(digits, tmp_path):
    write_demo_images(tmp_path / "more.h5", USERS + 1, seed=3)
    more = arrays(tmp_path / "more.h5")
    assert all(np.array_equal(more[name], values) for name, values in arrays(digits[0]).items())


def test_digits_are_ink_on_white(digits):
    path, examples = digits
    dataset = open_dataset([path])
    assert (len(dataset), int(dataset.examples.sum())) == (USERS, examples)
    assert check(dataset, classes=10) == {}
    batch = dataset.read(range(USERS))
    assert batch.pixels.shape[1:] == (1, 28, 28)
    assert batch.pixels.min() < 0.1 and np.median(batch.pixels) == 1
    corners = batch.pixels[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.mean() > 0.99
    assert sorted(np.unique(batch.labels)) == list(range(10))


def test_writers_differ(digits):
    stacks = [batch.pixels for batch in open_dataset([digits[0]]).read(range(USERS))]
    thickness = [1 - float(stack.mean()) for stack in stacks]
    assert max(thickness) > 1.2 * min(thickness)


def test_the_command_makes_at_least_200_users_by_default(tmp_path, monkeypatch, write_shard, patches):
    asked = []

    def write(path, users, *rest):
        asked.append(users)
        write_shard(path, patches(1))
        return users, users

    monkeypatch.setattr("fedprobe.clients.data.demo.write_demo_images", lambda *given: write(*given)[1])
    monkeypatch.setattr("fedprobe.clients.data.demo_text.write_demo_text", write)
    for kind in ("images", "text"):
        demo(tmp_path / kind, kind, quiet=True)
    assert min(asked) >= 200 and len(asked) == 2
