"""Ranks that share the users of a round: one exact sum for any number of them, and one rank that does all the rest.

The ranks are forked from this warm process and meet in a file, as torchrun's meet at an address.
"""

import json
import os
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kills import MEMBERS, ROUNDS, WORLD, Networks, Training, Update
from test_local_engine import PUBLIC, SECRET, Fake, by_hand

from fedprobe.clients.data.shards import FederatedDataset, open_dataset
from fedprobe.clients.selection import Members
from fedprobe.clients.updates import CriticUpdate, DataError
from fedprobe.models.gan import GanConfig
from fedprobe.privacy import noise
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.runs import Run
from fedprobe.server import participation
from fedprobe.server.declaration import Declaration, releases_of, resume, start, train_declared
from fedprobe.server.engines.distributed import distributed_engine, joined, ranks
from fedprobe.server.engines.local import EngineError, local_engine


class Notes:
    """Takes the place of what a world of test_kills notes."""

    def note(self, *words: object) -> None:
        pass


@pytest.fixture
def in_ranks(tmp_path):
    """Run `work` on rank 0 of `count`; return what it returned, as JSON has it, and how every rank ended."""

    def run(count: int, work: Callable[[], object]) -> tuple[object, list[int]]:
        meeting = tmp_path / f"meeting-{len(list(tmp_path.iterdir()))}"
        inside, outside = os.pipe()
        children = []
        for rank in range(count):
            child = os.fork()
            if child == 0:
                _be(rank, count, meeting, work, outside)
            children.append(child)
        os.close(outside)
        with os.fdopen(inside) as pipe:
            said = pipe.read()
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert "Traceback" not in said, said
        return json.loads(said) if said else None, codes

    return run


def _be(rank: int, count: int, meeting: Path, work: Callable[[], object], outside: int) -> None:
    """One rank, from its birth to its end: it never returns into the test."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count)}
    code = 99
    try:
        with ranks(f"file://{meeting}"):
            os.write(outside, json.dumps(work()).encode())
        code = 0
    except SystemExit as end:
        code = end.code
    except EngineError:
        code = EngineError.exit_code
    except BaseException:  # noqa: BLE001
        if rank == 0:
            os.write(outside, traceback.format_exc().encode())
    finally:
        os._exit(code)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_sums_are_exactly_the_same_for_any_number_of_ranks(in_ranks, count):
    def work() -> None:
        with distributed_engine(Fake()) as engine:

            @settings(deadline=None, max_examples=25, database=None)
            @given(st.lists(st.integers(0, 2000), max_size=12), st.integers(1, 1000))
            def sums_agree(members, round):
                total = engine.sum(PUBLIC, np.array(members, dtype=np.int64), round)
                assert total.dtype == np.int64
                assert total.tolist() == by_hand(members, round)

            sums_agree()

    assert in_ranks(count, work) == (None, [0] * count)


@pytest.mark.parametrize("count", [1, 3])
def test_sums_of_words_are_added_up_word_by_word(in_ranks, count):
    def work() -> list:
        with distributed_engine(name_words) as engine:
            return [engine.sum({}, np.arange(members), 1) for members in (7, 0)]

    seven = {"all": 7 * 2**60} | {f"only {member}": member for member in range(1, 7)}
    assert in_ranks(count, work) == ([seven, {}], [0] * count)


def name_words(public: dict, members: Sequence[int], round: int) -> Counter[str]:
    """Every member names two words. Of this module, so that it can be sent to the ranks by its name."""
    return +Counter({"all": 2**60 * len(members)} | {f"only {member}": int(member) for member in members})


def test_a_data_error_of_any_rank_reaches_the_first_and_the_engine_goes_on(in_ranks):
    def work() -> list:
        said = []
        with distributed_engine(Fake("fault")) as engine:
            for members in (10, 10, 7):
                try:
                    said.append(engine.sum(PUBLIC, np.arange(members), 1).tolist())
                except DataError as error:
                    said.append(str(error))
        return said

    said, codes = in_ranks(3, work)
    assert said == ["a shard can no longer be read"] * 2 + [by_hand(range(7), 1)]
    assert codes == [0, 0, 0]


@pytest.mark.parametrize("how", ["error", "exit", "kill"])
@pytest.mark.parametrize("count", [2, 4])
def test_a_lost_rank_is_an_engine_error_which_prints_and_says_nothing(in_ranks, how, count, capfd):
    """Member 7 is never the first rank's: that one is the command, and what befalls it is the command's end."""

    def work() -> list:
        with distributed_engine(Fake(how)) as engine:
            first = engine.sum(PUBLIC, np.arange(7), 1).tolist()
            with pytest.raises(EngineError, match="--resume") as raised:
                engine.sum(PUBLIC, np.arange(10), 2)
            # Nor does the engine go on with a share of the users missing.
            assert not joined()
        return [first, str(raised.value)]

    (first, message), codes = in_ranks(count, work)
    assert first == by_hand(range(7), 1)
    assert SECRET not in message and tuple(capfd.readouterr()) == ("", "")
    # All have ended, and only the first, which answered the error, well.
    assert codes[0] == 0 and all(codes[1:])


def test_all_ranks_end_with_the_first_though_there_was_no_round(in_ranks):
    assert in_ranks(3, lambda: "nothing to train") == ("nothing to train", [0, 0, 0])


def test_a_job_that_is_stopped_is_an_engine_error(in_ranks):
    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    assert in_ranks(2, work) == (None, [EngineError.exit_code, 0])


@pytest.fixture
def trained(tmp_path, simulated_ledger, monkeypatch):
    """Train three members a round with `update`, or go on with it; return the ledger and the run."""
    monkeypatch.setattr("test_kills.WORLD", [*WORLD, Notes()])

    def train(name: str, update: object = None, noise_multiplier: float = 0.0) -> None:
        ledger, path = simulated_ledger(tmp_path / name), tmp_path / name / "run"
        declaration = Declaration(
            command="train-gan",
            training=Training(noise_multiplier=noise_multiplier),
            networks=Networks(),
            cohort={"rule": {"criterion": "random"}, "population": "abc", "measurement": None},
            population=MEMBERS,
            conditional_on=None,
            accountant="rdp",
        )
        run, state, first_round = (resume if path.exists() else start)(declaration, path, ledger)
        update = update or Update(declaration.mechanism)
        keys = lambda: list(range(MEMBERS))  # noqa: E731
        train_declared(declaration, run, state, first_round, update, MEMBERS, keys, ledger, workers=1)

    return train


def final(run: Path) -> dict[str, torch.Tensor]:
    tensors, done = Run.open(run).load()
    assert done == ROUNDS
    return tensors


class Mortal(Update):
    """The same, and a rank other than the first kills itself in round 3."""

    def __call__(self, public, members, round):
        if round == 3 and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(public, members, round)


def test_a_round_that_lost_a_rank_stays_counted_and_resume_goes_on(tmp_path, in_ranks, trained, simulated_ledger):
    trained("calm")

    assert in_ranks(2, lambda: trained("lost", Mortal(Mechanism(1.0, 0.0)))) == (
        None,
        [EngineError.exit_code, -signal.SIGKILL],
    )
    ledger, run = simulated_ledger(tmp_path / "lost"), Run.open(tmp_path / "lost" / "run")
    assert [entry.opened for entry in ledger.entries()] == [3] and run.rounds_opened == 3
    assert releases_of(ledger, run.run_id).waiting_after(0) == 2

    assert in_ranks(2, lambda: trained("lost")) == (None, [0, 0])
    expected, tensors = final(tmp_path / "calm" / "run"), final(run.path)
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    # The lost round was counted, and is no more than one.
    assert run.rounds_opened == ROUNDS + 1 == ledger.opened(run.run_id)


def test_the_first_rank_alone_draws_noise_and_who_takes_part(tmp_path, in_ranks, trained, monkeypatch):
    """Every draw is noted by the rank that made it."""
    notes = tmp_path / "notes"

    def noted(what: str, draw: Callable) -> Callable:
        def noting(*arguments):
            with notes.open("a") as file:
                file.write(f"{what} {os.environ['RANK']}\n")
            return draw(*arguments)

        return noting

    monkeypatch.setattr(noise, "gaussian", noted("noise", noise.gaussian))
    monkeypatch.setattr(participation, "uniform_bits", noted("members", participation.uniform_bits))
    assert in_ranks(3, lambda: trained("noisy", noise_multiplier=1.0)) == (None, [0, 0, 0])
    assert Counter(notes.read_text().splitlines()) == {"noise 0": ROUNDS, "members 0": ROUNDS}


@pytest.fixture(scope="module")
def critics(tmp_path_factory, write_shard):
    """A real update: critics of nine users with 0 to 8 images."""
    stream = np.random.default_rng(0)
    users = {f"u{count}": {"pixels": stream.random((count, 12, 12), dtype=np.float32)} for count in range(9)}
    dataset = open_dataset([write_shard(tmp_path_factory.mktemp("shards") / "s.h5", users)])
    mechanism = Mechanism(1.0, 0.0)
    return CriticUpdate(dataset, Members(np.arange(9)), GanConfig("small", 12, 12), mechanism, 4, 2, 0.05, 10.0, 0)


def test_critics_are_the_same_bit_for_bit_on_1_2_and_4_ranks(critics, in_ranks):
    stream = torch.Generator().manual_seed(0)
    size = sum(weight.numel() for weight in critics.config.critic().parameters())
    public = {
        "critic": torch.randn(size, generator=stream) / 10,
        "fakes": torch.rand(2, 4, 1, 12, 12, generator=stream) * 2 - 1,
    }

    def work() -> list:
        with distributed_engine(critics) as engine:
            return [engine.sum(public, np.arange(9), round).tolist() for round in (1, 2)]

    with local_engine(critics, 1) as engine:
        expected = [engine.sum(public, np.arange(9), round).tolist() for round in (1, 2)]
    assert any(expected[0]) and expected[0] != expected[1]
    for count in (1, 2, 4):
        assert in_ranks(count, work) == (expected, [0] * count)


def test_ranks_with_other_shards_are_refused_before_any_round(critics, in_ranks, monkeypatch):
    """As on another machine, whose file at that path is another one."""
    monkeypatch.setattr(FederatedDataset, "_digests", lambda dataset: [os.environ["RANK"].encode()])

    def work() -> str:
        with pytest.raises(DataError, match="not the same on all machines") as raised:
            with distributed_engine(critics):
                raise AssertionError("a round could begin")
        with distributed_engine(Fake()) as engine:
            assert engine.sum(PUBLIC, np.arange(7), 1).tolist() == by_hand(range(7), 1)
        return str(raised.value)

    said, codes = in_ranks(3, work)
    assert "copy" in said and codes == [0, 0, 0]
