"""The local engine: one exact sum for any number of processes, and faults that say no more than they may."""

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprobe.clients.updates import DataError
from fedprobe.server.engines import local
from fedprobe.server.engines.local import EngineError, local_engine

PUBLIC = {"critic": torch.tensor([1.0, 2.0, 3.0]), "fakes": torch.zeros(2, 3)}
SECRET = "the-value-of-a-pixel"


@dataclass(frozen=True)
class Fake:
    """Each member sends integers that a float64 sum would round; `at_seven` is what befalls member 7."""

    at_seven: str = "nothing"

    def __call__(self, public: dict[str, torch.Tensor], members: Sequence[int], round: int) -> np.ndarray:
        total = np.zeros(3, np.int64)
        for member in members:
            if member == 7:
                self._befall()
            scale = public["critic"].numpy().astype(np.int64)
            total += scale * (2**53 + 1) + np.array([member**3, -member, round * member])
        return total

    def _befall(self) -> None:
        match self.at_seven:
            case "fault":
                raise DataError("a shard can no longer be read")
            case "error":
                warnings.warn(SECRET, stacklevel=1)
                sys.stderr.write(SECRET)
                raise RuntimeError(SECRET)
            case "exit":
                os._exit(1)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)


def by_hand(members: Sequence[int], round: int) -> list[int]:
    """In Python's integers, which never round."""
    large = len(members) * (2**53 + 1)
    return [
        large + sum(int(member) ** 3 for member in members),
        2 * large - sum(map(int, members)),
        3 * large + round * sum(map(int, members)),
    ]


def test_sums_are_exactly_the_same_for_any_number_of_processes_and_reports(monkeypatch):
    monkeypatch.setattr(local, "_BETWEEN_REPORTS", 2)
    told: list[int] = []
    with local_engine(Fake(), 1) as one, local_engine(Fake(), 2) as two, local_engine(Fake(), 3, told.append) as three:

        @settings(deadline=None, max_examples=40)
        @given(st.lists(st.integers(0, 2000), max_size=12), st.integers(1, 1000))
        def sums_agree(members, round):
            for engine in (one, two, three):
                total = engine.sum(PUBLIC, np.array(members, dtype=np.int64), round)
                assert total.dtype == np.int64
                assert total.tolist() == by_hand(members, round)
            assert told[-1] == len(members) and told == sorted(set(told))
            assert len(told) == max(1, -(-len(members) // 6))
            told.clear()

        sums_agree()


@pytest.mark.parametrize("workers", [1, 3])
def test_a_round_that_nobody_came_to_sums_to_zeros(workers):
    with local_engine(Fake(), workers) as engine:
        assert engine.sum(PUBLIC, np.arange(0), 1).tolist() == [0, 0, 0]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_data_error_reaches_the_parent_and_the_engine_goes_on(workers):
    with local_engine(Fake("fault"), workers) as engine:
        for _ in range(2):
            with pytest.raises(DataError, match="a shard can no longer be read"):
                engine.sum(PUBLIC, np.arange(10), 1)
            assert engine.sum(PUBLIC, np.arange(7), 2).tolist() == by_hand(range(7), 2)


def test_who_is_slow_holds_nobody_up():
    """Member 0 takes as long as all the others together."""
    context = multiprocessing.get_context("fork")
    done, others_are_done = context.Value("i", 0), context.Event()

    def update(public, members, round):
        total = np.zeros(1, np.int64)
        for member in members:
            total += 10**member
            if member == 0:
                assert others_are_done.wait(60)
            else:
                with done.get_lock():
                    done.value += 1
                    if done.value == 9:
                        others_are_done.set()
        return total

    with local_engine(update, 2) as engine:
        assert engine.sum(PUBLIC, np.arange(10), 1).tolist() == [1_111_111_111]


def test_more_users_are_dealt_than_fit_into_a_pipe():
    def update(public, members, round):
        return np.array([sum(members)], np.int64)

    with local_engine(update, 2) as engine:
        assert engine.sum(PUBLIC, np.arange(50_000), 1).tolist() == [50_000 * 49_999 // 2]


@pytest.mark.parametrize("how", ["error", "exit", "kill"])
@pytest.mark.parametrize("workers", [2, 3])
def test_a_worker_that_dies_is_an_engine_error_which_prints_and_says_nothing(how, workers, capfd):
    with local_engine(Fake(how), workers) as engine:
        with pytest.raises(EngineError, match="--resume") as raised:
            engine.sum(PUBLIC, np.arange(10), 1)
        # Nor does the engine come back to life with a share of the users missing.
        with pytest.raises(EngineError):
            engine.sum(PUBLIC, np.arange(7), 2)
    assert SECRET not in str(raised.value)
    assert tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("fails", [False, True])
def test_every_update_is_computed_on_one_thread_and_nothing_is_left_behind(workers, fails):
    class Failure(Exception):
        pass

    def threads(public, members, round):
        return np.full(1, torch.get_num_threads(), np.int64)

    before, children = torch.get_num_threads(), set(multiprocessing.active_children())
    torch.set_num_threads(2)
    try:
        with local_engine(threads, workers) as engine:
            assert engine.sum(PUBLIC, np.arange(9), 1).tolist() == [workers]
            assert len(set(multiprocessing.active_children()) - children) == (0 if workers == 1 else workers)
            if fails:
                raise Failure
    except Failure:
        pass
    finally:
        after = torch.get_num_threads()
        torch.set_num_threads(before)
    assert after == 2
    assert set(multiprocessing.active_children()) <= children


def test_a_worker_cannot_change_the_public_parameters_that_the_state_holds():
    public = {"critic": torch.tensor([5.0])}

    def greedy(given, members, round):
        total = np.array([sum(int(given["critic"].item()) for _ in members)], np.int64)
        given["critic"].zero_()
        return total

    with local_engine(greedy, 2) as engine:
        assert engine.sum(public, np.arange(4), 1).tolist() == [20]
        assert engine.sum(public, np.arange(4), 2).tolist() == [20]
    assert public["critic"].tolist() == [5.0]
