"""A training that is killed at random moments, with SIGKILL, forked from this warm process.

A moment is a line of the modules that a round goes through: every one of them is as likely, so also those between a
round's being opened, noised, written, applied and checkpointed. `FEDPROBE_KILLS` sets how many (make soak: 20).
"""

import hashlib
import os
import signal
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fedprobe.privacy import noise
from fedprobe.privacy.ledger import Ledger
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.privacy.randomness import key
from fedprobe.runs import Run
from fedprobe.server.declaration import Declaration, releases_of, resume, start, train_declared

KILLS = int(os.environ.get("FEDPROBE_KILLS", "8"))
MEMBERS, ROUNDS, SIZE = 6, 5, 3
TRACED = ("training.py", "releases.py", "ledger.py", "declaration.py", "runs.py", "mechanism.py", "noise.py")

# Where a child notes what it applies; a child has a copy of its own.
WORLD: list["World"] = []


@dataclass(frozen=True)
class State:
    place: Tensor
    velocity: Tensor

    def tensors(self) -> dict[str, Tensor]:
        return {"place": self.place, "velocity": self.velocity}


@dataclass(frozen=True)
class Coasting:
    """velocity <- velocity / 2 + mean update; place <- place + velocity: what is lost or taken twice shows."""

    def init(self) -> State:
        return State(torch.zeros(SIZE), torch.zeros(SIZE))

    def restore(self, tensors: dict[str, Tensor]) -> State:
        return State(tensors["place"], tensors["velocity"])

    def broadcast(self, state: State, round: int) -> dict[str, Tensor]:
        return {"place": state.place}

    def apply(self, state: State, mean_update: Tensor, round: int) -> tuple[State, dict[str, float]]:
        WORLD[-1].note("applied", round, hashlib.sha256(mean_update.numpy().tobytes()).hexdigest())
        velocity = state.velocity / 2 + mean_update
        return State(state.place + velocity, velocity), {"speed": float(velocity.norm())}


@dataclass(frozen=True)
class Training:
    users_per_round: int = 3
    rounds: int = ROUNDS
    noise_multiplier: float = 0.0
    clip_norm: float = 1.0

    def algorithm(self, config: object, seed: int, device: str) -> Coasting:
        return Coasting()


class Networks:
    def to_json(self) -> dict:
        return {}


@dataclass(frozen=True)
class Update:
    """Member i sends a vector of her own, which depends on the model and the round."""

    mechanism: Mechanism

    def __call__(self, public: dict[str, Tensor], members: np.ndarray, round: int) -> np.ndarray:
        total = np.zeros(SIZE, np.int64)
        for member in members:
            vector = np.random.default_rng(key(round, int(member))).normal(size=SIZE)
            total += self.mechanism.contribution(vector + public["place"].numpy())
        return total


@dataclass(frozen=True)
class World:
    """One run and its ledger, and the notes of what children did, which outlive them."""

    folder: Path
    ledger: Ledger
    noise_multiplier: float

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def notes(self) -> list[list[str]]:
        path = self.folder / "notes"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def note(self, *words: object) -> None:
        """One line, in one write: it is there if the child got this far, whatever happened to it then."""
        with (self.folder / "notes").open("ab", buffering=0) as file:
            file.write((" ".join(map(str, words)) + "\n").encode())

    def opened(self) -> int:
        return sum(entry.opened for entry in self.ledger.entries())

    def train(self) -> State:
        """Start the run or go on with it."""
        WORLD.append(self)
        declaration = Declaration(
            command="train-gan",
            training=Training(noise_multiplier=self.noise_multiplier),
            networks=Networks(),
            cohort={"rule": {"criterion": "random"}, "population": "abc", "measurement": None},
            population=MEMBERS,
            conditional_on=None,
            accountant="rdp",
        )
        run, state, first_round = (resume if self.run.exists() else start)(declaration, self.run, self.ledger)
        update = Update(declaration.mechanism)
        keys = lambda: list(range(MEMBERS))  # noqa: E731
        state, done = train_declared(
            declaration, run, state, first_round, update, MEMBERS, keys, self.ledger, workers=1, checkpoint_every=2
        )
        assert done == ROUNDS
        return state

    def attempt(self, kill_at: int | None) -> tuple[bool, int]:
        """Train in a child that kills itself at line `kill_at`; tell whether it was killed, and how far it came."""
        inside, outside = os.pipe()
        child = os.fork()
        if child == 0:
            self._child(kill_at, outside)
        os.close(outside)
        with os.fdopen(inside) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return True, 0
        assert os.WEXITSTATUS(status) == 0, said
        return False, int(said)

    def _child(self, kill_at: int | None, outside: int) -> None:
        lines = 0

        def each_line(frame, event, argument):
            nonlocal lines
            if event == "line":
                lines += 1
                if lines == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return each_line

        def each_call(frame, event, argument):
            file = frame.f_code.co_filename
            return each_line if "fedprobe" in file and file.endswith(TRACED) else None

        true_gaussian = noise.gaussian

        def noted(count: int, deviation: float) -> np.ndarray:
            drawn = true_gaussian(count, deviation)
            self.note("noised", self.opened())
            return drawn

        noise.gaussian = noted
        code = 1
        try:
            sys.settrace(each_call)
            self.train()
            sys.settrace(None)
            os.write(outside, str(lines).encode())
            code = 0
        finally:
            # A child never returns into the test: it says what went wrong, if anything did, and ends.
            sys.settrace(None)
            if code:
                os.write(outside, traceback.format_exc().encode())
            os._exit(code)


def kill_again_and_again(new_world: Callable[[], World], kills: int, seed: int) -> None:
    """Kill runs at `kills` random moments; after each, what must hold holds; every run is finished in the end."""
    random = np.random.default_rng(seed)
    calm = new_world()
    killed, lines = calm.attempt(None)
    assert not killed
    expected = Run.open(calm.run).load()[0]
    while kills > 0:
        world, opened = new_world(), 0
        finished = False
        while not finished:
            was_killed, _ = world.attempt(int(random.integers(1, lines + 1)) if kills > 0 else None)
            kills -= was_killed
            finished = not was_killed
            now = world.opened()
            assert now >= opened, "opened rounds only grow"
            opened = now
            noised = [int(number) for what, number, *_ in world.notes if what == "noised"]
            assert len(noised) == len(set(noised)), "two noised sums for one opened round"
            assert len(noised) <= opened, "the ledger is below what could have been seen"
            applied = defaultdict(set)
            for what, round, *hashes in world.notes:
                if what == "applied":
                    applied[round] |= set(hashes)
            assert all(len(sums) == 1 for sums in applied.values()), "a round was applied with two noised sums"
            assert set(map(int, applied)) <= set(range(1, ROUNDS + 1))
        run = Run.open(world.run)
        tensors, done = run.load()
        assert done == ROUNDS
        assert [line["round"] for line in run.metrics()] == list(range(1, ROUNDS + 1))
        assert run.rounds_opened <= opened
        assert releases_of(world.ledger, run.run_id).waiting_after(0) == 0
        if world.noise_multiplier == 0:
            assert all(torch.equal(tensors[name], expected[name]) for name in expected)


@pytest.mark.parametrize("noise_multiplier", [0.0, 1.0])
def test_killed_at_random_moments_nothing_is_lost_or_drawn_twice(tmp_path_factory, simulated_ledger, noise_multiplier):
    def new_world() -> World:
        folder = tmp_path_factory.mktemp("world")
        return World(folder, simulated_ledger(folder), noise_multiplier)

    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    kill_again_and_again(new_world, KILLS, seed)
