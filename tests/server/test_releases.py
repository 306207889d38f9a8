"""Noised sums beside the data: whole or not there, and what they were when they are read back."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedprobe.server.releases import ReleaseError, Releases

MEAN = np.array([1.5, -0.25, 1e-30, 0.1])


@pytest.fixture
def releases(tmp_path) -> Releases:
    return Releases(tmp_path / "releases" / "run")


def names(releases: Releases) -> list[str]:
    return sorted(path.name for path in releases.folder.iterdir())


finite = st.floats(-(2.0**100), 2.0**100)


@given(arrays(np.float64, st.integers(0, 20), elements=finite), st.integers(1, 10**7))
def test_what_is_read_is_what_writing_returned(tmp_path_factory, mean, round):
    releases = Releases(tmp_path_factory.mktemp("releases"))
    kept = releases.write(round, mean)
    assert kept.dtype == np.float32 and np.array_equal(kept, mean.astype(np.float32))
    read = Releases(releases.folder).read(round)
    assert read.dtype == np.float32 and read.shape == kept.shape and read.tobytes() == kept.tobytes()


def test_a_round_that_was_never_written_is_none(releases):
    assert releases.read(1) is None and releases.waiting_after(0) == 0
    releases.write(1, MEAN)
    assert releases.read(2) is None
    releases.forget()
    assert releases.read(1) is None and not releases.folder.exists()
    releases.forget()


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_crash_while_writing_leaves_nothing_that_is_taken_for_a_sum(releases, monkeypatch, broken):
    releases.write(1, MEAN)

    def crash(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, crash)
        with pytest.raises(KeyboardInterrupt):
            releases.write(2, MEAN)
    assert releases.read(2) is None and releases.waiting_after(0) == 1
    releases.forget_through(1)
    assert releases.waiting_after(0) == 0
    assert np.array_equal(releases.write(2, MEAN), releases.read(2)) and names(releases) == ["000002.npy"]


def test_it_is_on_the_disk_before_it_has_its_name(releases, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        done.append("fsync of a folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "fsync")
        fsync(descriptor)

    def replaced(source, target):
        done.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    releases.write(1, MEAN)
    assert done == ["fsync", "replace", "fsync of a folder"]


def test_a_damaged_one_is_an_error_and_not_nothing(releases):
    releases.write(1, MEAN)
    path = releases.folder / "000001.npy"
    whole = path.read_bytes()
    for damage in (b"", whole[:-1], whole[:50], whole[:4], b"something else" * 10, b"\x80\x04N."):
        path.write_bytes(damage)
        with pytest.raises(ReleaseError, match="remove it") as caught:
            releases.read(1)
        assert caught.value.exit_code == 2 and len(str(caught.value).splitlines()) == 1
    path.unlink()
    assert releases.read(1) is None


def test_nothing_is_unpickled(releases):
    releases.folder.mkdir(parents=True)
    np.save(releases.folder / "000001.npy", np.array([{"an": "object"}], object), allow_pickle=True)
    with pytest.raises(ReleaseError):
        releases.read(1)


@given(st.sets(st.integers(1, 12)), st.integers(0, 12))
def test_only_rounds_that_follow_without_a_gap_wait(tmp_path_factory, written, done):
    releases = Releases(tmp_path_factory.mktemp("releases"))
    for round in written:
        releases.write(round, MEAN)
    waiting = releases.waiting_after(done)
    assert set(range(done + 1, done + waiting + 1)) <= written and done + waiting + 1 not in written
    releases.forget_through(done)
    assert {round for round in range(1, 13) if releases.read(round) is not None} == {
        round for round in written if round > done
    }
    assert releases.waiting_after(done) == waiting


def test_forgetting_leaves_what_is_no_sum(releases):
    releases.forget_through(5)
    releases.write(1, MEAN)
    (releases.folder / ".000002.temporary").write_bytes(b"half of i")
    releases.forget_through(5)
    assert names(releases) == [".000002.temporary"]


def test_runs_do_not_share_theirs(tmp_path):
    one, other = Releases(tmp_path / "one"), Releases(tmp_path / "other")
    one.write(1, MEAN)
    other.write(1, -MEAN)
    one.forget()
    assert one.read(1) is None and np.array_equal(other.read(1), (-MEAN).astype(np.float32))
