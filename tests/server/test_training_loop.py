"""The round loop, with an algorithm and an engine small enough to follow by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedprobe.privacy.mechanism import CLIP_STEPS, Mechanism
from fedprobe.runs import Run
from fedprobe.server.participation import PoissonParticipation
from fedprobe.server.releases import Releases
from fedprobe.server.training import Plan
from fedprobe.server.training import train as train_rounds

# With this clip norm a grid step is 1: what the engine sums is what the mechanism releases.
EXACT = Mechanism(float(CLIP_STEPS), 0.0)
USERS_PER_ROUND = 4


@dataclass
class Counting:
    """Counts the rounds that are opened, as the ledger does."""

    opened: list[int] = field(default_factory=list)

    def open(self) -> int:
        self.opened.append(len(self.opened) + 1)
        return len(self.opened)


def train(algorithm: Any, state: Any, plan: Plan, engine: Any, run: Run, rounds: Any = None, **options: Any) -> Any:
    """The loop, with a ledger that only counts, and noised sums that lie beside the run."""
    releases = Releases(run.path.parent / "releases")
    return train_rounds(algorithm, state, plan, engine, run, rounds or Counting(), releases, **options)


@dataclass(frozen=True)
class State:
    """A position and a velocity, so that a state lost or taken twice shows in every later one."""

    place: Tensor
    velocity: Tensor

    def tensors(self) -> dict[str, Tensor]:
        return {"place": self.place, "velocity": self.velocity}


@dataclass(frozen=True)
class Coasting:
    """velocity <- velocity / 2 + mean update; place <- place + velocity + round."""

    def init(self) -> State:
        return State(torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))

    def broadcast(self, state: State, round: int) -> dict[str, Tensor]:
        return {"place": state.place}

    def apply(self, state: State, mean_update: Tensor, round: int) -> tuple[State, dict[str, float]]:
        velocity = state.velocity / 2 + mean_update
        return State(state.place + velocity + round, velocity), {"speed": float(velocity.abs().sum())}


class Adding:
    """Every member m sends [m + 1, round]."""

    def sum(self, public: dict[str, Tensor], members: Any, round: int) -> np.ndarray:
        return sum((np.array([int(m) + 1, round], dtype=np.int64) for m in members), start=np.zeros(2, np.int64))


def plan(rounds: int) -> Plan:
    """20 members at q = 4 / 10: 8 a round on average, while the denominator stays 4."""
    return Plan(PoissonParticipation(USERS_PER_ROUND, 10), EXACT, rounds, 20, seed=1, member_keys=list(range(20)))


def new_run(folder: str | Path) -> Run:
    return Run.create(Path(folder) / "run", {}, {})


def expected_state(rounds: int) -> State:
    """The loop written out."""
    place, velocity = np.zeros(2), np.zeros(2)
    for round in range(1, rounds + 1):
        members = plan(rounds).draw(round)
        velocity = velocity / 2 + np.array([(members + 1).sum(), round * len(members)]) / USERS_PER_ROUND
        place = place + velocity + round
    return State(torch.from_numpy(place), torch.from_numpy(velocity))


def equal(one: State, other: State) -> bool:
    return torch.equal(one.place, other.place) and torch.equal(one.velocity, other.velocity)


def test_one_round_by_hand(tmp_path):
    @dataclass(frozen=True)
    class Everybody(PoissonParticipation):
        def draw(self, members: int) -> np.ndarray:
            return np.arange(members)

    fixed = Plan(Everybody(4, 10), EXACT, 1, 6, seed=0)
    state, done = train(Coasting(), Coasting().init(), fixed, Adding(), new_run(tmp_path))
    # Six members sent 1 + 2 + ... + 6 = 21 and 6 * 1; divided by 4, not by 6. The round's number is added once.
    assert state.place.tolist() == [21 / 4 + 1, 6 / 4 + 1]
    assert done == 1


def test_the_denominator_is_users_per_round_even_where_nobody_came(tmp_path):
    class Nobody(PoissonParticipation):
        def draw(self, members: int) -> np.ndarray:
            return np.arange(0)

    empty = Plan(Nobody(4, 10), EXACT, 3, 6, seed=0)
    state, _ = train(Coasting(), Coasting().init(), empty, Adding(), new_run(tmp_path))
    assert state.place.tolist() == [1 + 2 + 3] * 2


def test_the_released_sum_is_divided_by_users_per_round_with_its_noise(tmp_path, monkeypatch):
    # Noise of exactly 8 grid steps a coordinate: 8 / 4 = 2 in the mean.
    monkeypatch.setattr("fedprobe.privacy.noise.gaussian", lambda count, deviation: np.full(count, 8, np.int64))

    class Nobody:
        def sum(self, public, members, round):
            return np.zeros(2, np.int64)

    noisy = Plan(PoissonParticipation(4, 10), Mechanism(float(CLIP_STEPS), 1.0), 1, 6, seed=0)
    state, _ = train(Coasting(), Coasting().init(), noisy, Nobody(), new_run(tmp_path))
    assert state.velocity.tolist() == [2.0, 2.0]


@dataclass
class Watched:
    """Writes down what happens in a round, and how many rounds the run says were opened by then."""

    run: Run
    happened: list[tuple] = field(default_factory=list)

    def saw(self, what: str) -> None:
        # Read from the disk, as another process would.
        self.happened.append((what, Run.open(self.run.path).rounds_opened))

    def plan(self, rounds: int) -> Plan:
        watched = self

        class Participation(PoissonParticipation):
            def draw(self, members: int) -> np.ndarray:
                watched.saw("draw")
                return super().draw(members)

        return Plan(Participation(1, 2), EXACT, rounds, 5, seed=0)

    def sum(self, public: dict[str, Tensor], members: Any, round: int) -> np.ndarray:
        self.saw("sum")
        return np.zeros(2, np.int64)


def test_a_round_is_opened_before_its_users_are_drawn(tmp_path):
    watched = Watched(new_run(tmp_path))
    train(Coasting(), Coasting().init(), watched.plan(3), watched, watched.run)
    assert watched.happened == [("draw", 1), ("sum", 1), ("draw", 2), ("sum", 2), ("draw", 3), ("sum", 3)]


def test_a_round_that_a_crash_lost_stays_opened_and_leaves_no_trace_of_its_sum(tmp_path):
    class Crash(Exception):
        pass

    class Crashing(Adding):
        def sum(self, public, members, round):
            if round == 3:
                raise Crash
            return super().sum(public, members, round)

    run = new_run(tmp_path)
    with pytest.raises(Crash):
        train(Coasting(), Coasting().init(), plan(5), Crashing(), run, checkpoint_every=2)
    assert run.rounds_opened == 3
    assert [line["round"] for line in run.metrics()] == [1, 2]
    assert [folder.name for folder in run.checkpoints()] == ["round_000002"]
    tensors, done = run.load()
    state, _ = train(Coasting(), State(**tensors), plan(5), Adding(), run, first_round=done + 1)
    assert equal(state, expected_state(5))
    # Rounds 1 to 5, and round 3 once more.
    assert run.rounds_opened == 6


def test_a_round_whose_noised_sum_was_written_is_applied_again_and_not_opened(tmp_path):
    class Crash(Exception):
        pass

    def crash(round, state):
        if round == 5:
            raise Crash

    # Rounds 3 to 5 were applied, and their checkpoint was never written.
    run, rounds = new_run(tmp_path), Counting()
    with pytest.raises(Crash):
        train(Coasting(), Coasting().init(), plan(7), Adding(), run, rounds, checkpoint_every=2, on_round=crash)
    tensors, done = run.load()
    assert done == 4
    state, _ = train(Coasting(), State(**tensors), plan(7), Adding(), run, rounds, first_round=done + 1)
    assert equal(state, expected_state(7))
    assert rounds.opened == [1, 2, 3, 4, 5, 6, 7]
    assert not (tmp_path / "releases").exists()


def test_what_is_applied_is_what_was_written(tmp_path):
    """The noised sum of a round is never drawn twice: what is on disk decides."""

    class Crash(Exception):
        pass

    class Crashing(Coasting):
        def apply(self, state, mean_update, round):
            raise Crash

    noisy = Plan(PoissonParticipation(4, 10), Mechanism(1.0, 3.0), 1, 6, seed=0)
    run, rounds = new_run(tmp_path), Counting()
    with pytest.raises(Crash):
        train(Crashing(), Coasting().init(), noisy, Adding(), run, rounds)
    written = np.load(tmp_path / "releases" / "000001.npy")
    state, _ = train(Coasting(), Coasting().init(), noisy, Adding(), run, rounds)
    assert state.velocity.tolist() == written.tolist()
    assert rounds.opened == [1]


def stop_after(rounds: int) -> Callable[[], bool]:
    """A stop() that is asked once a round and says yes the `rounds`th time."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked >= rounds

    return stop


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 8), st.integers(1, 10))
def test_checkpoints_come_every_so_often_and_at_the_end(rounds, every):
    with TemporaryDirectory() as folder:
        run, seen = new_run(folder), []
        state, done = train(
            Coasting(),
            Coasting().init(),
            plan(rounds),
            Adding(),
            run,
            checkpoint_every=every,
            on_round=lambda round, state: seen.append((round, state)),
        )
        assert done == rounds
        assert equal(state, expected_state(rounds))
        assert [round for round, _ in seen] == list(range(1, rounds + 1))
        assert [line["round"] for line in run.metrics()] == list(range(1, rounds + 1))
        written = [run.load(folder) for folder in run.checkpoints()]
        assert [round for _, round in written] == [
            round for round in range(1, rounds + 1) if round % every == 0 or round == rounds
        ]
        for tensors, round in written:
            assert equal(State(**tensors), seen[round - 1][1])


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 10))
def test_stopping_ends_after_a_whole_round_and_resuming_equals_no_stop(rounds, stopped, every):
    with TemporaryDirectory() as folder:
        run = new_run(folder)
        _, done = train(
            Coasting(), Coasting().init(), plan(rounds), Adding(), run, checkpoint_every=every, stop=stop_after(stopped)
        )
        assert done == run.rounds_opened == len(run.metrics()) == min(rounds, stopped)
        tensors, saved = run.load()
        assert saved == done
        assert equal(State(**tensors), expected_state(done))
        state, done = train(
            Coasting(), State(**tensors), plan(rounds), Adding(), run, first_round=saved + 1, checkpoint_every=every
        )
        assert done == run.rounds_opened == rounds
        assert equal(state, expected_state(rounds))
        assert equal(State(**run.load()[0]), state)
        assert [line["round"] for line in run.metrics()] == list(range(1, rounds + 1))


def test_a_finished_run_opens_no_round(tmp_path):
    run, state = new_run(tmp_path), Coasting().init()
    again, done = train(Coasting(), state, plan(3), Adding(), run, first_round=4)
    assert again is state
    assert (done, run.rounds_opened, run.metrics(), run.checkpoints()) == (3, 0, [], [])


def test_figures_are_logged_with_their_round(tmp_path):
    run = new_run(tmp_path)
    train(Coasting(), Coasting().init(), plan(2), Adding(), run)
    assert run.metrics() == [
        {"round": round, "speed": float(expected_state(round).velocity.abs().sum())} for round in (1, 2)
    ]
