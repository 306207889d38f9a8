"""One release of words as a run: what decides it, and what a kill at every step leaves."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprobe.modeler.word_table import open_word_table
from fedprobe.privacy import noise
from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.partition_selection import PartitionSelection, ReleasedWords
from fedprobe.runs import Run
from fedprobe.server.algorithms.heavy_hitters import HeavyHitters
from fedprobe.server.declaration import Declaration, releases_of, resume, start, train_declared
from fedprobe.server.heavy_hitter_training import HeavyHitterTraining
from fedprobe.server.releases import Releases

DELTA = 1e-6
TRAINING = HeavyHitterTraining(noise_multiplier=1.0, words_per_user=2).at_delta(DELTA)
MEMBERS = 60


class Killed(Exception):
    """Stands for the end of the process at that point."""


def declared(training: HeavyHitterTraining = TRAINING) -> Declaration:
    return Declaration(
        command="train-charlm",
        training=training,
        networks=training.networks(),
        cohort={"rule": {"criterion": "random"}, "population": "abc", "measurement": None},
        population=None,
        conditional_on=None,
        delta=DELTA,
        method="one-round",
        participation_name="every-user",
    )


def named(public, members, round) -> Counter[str]:
    """Every member has `ours`, and a word of her own."""
    one = TRAINING.mechanism
    return sum((one.contribution(["ours", f"hers {member}"]) for member in members), Counter())


def release(path, ledger, declaration: Declaration | None = None, update=named) -> Run:
    declaration = declaration or declared()
    run, state, first_round = (resume if path.exists() else start)(declaration, path, ledger)
    train_declared(declaration, run, state, first_round, update, MEMBERS, lambda: range(MEMBERS), ledger, workers=1)
    return run


@pytest.fixture
def ledger(tmp_path, simulated_ledger):
    return simulated_ledger(tmp_path)


@pytest.fixture
def draws(monkeypatch) -> list[int]:
    """How many values each draw of noise had."""
    counts, true_gaussian = [], noise.gaussian

    def noted(count: int, deviation: float) -> np.ndarray:
        counts.append(count)
        return true_gaussian(count, deviation)

    monkeypatch.setattr(noise, "gaussian", noted)
    return counts


def test_a_release_is_a_run_that_holds_the_common_word_alone(tmp_path, ledger, draws):
    run = release(tmp_path / "run", ledger)
    assert draws == [MEMBERS + 1]
    table = open_word_table(run.path)
    assert table.released.words == ("ours",)
    assert table.words[0].count == pytest.approx(MEMBERS / 2**0.5, abs=7)
    assert run.metrics() == [{"round": 1, "released_words": 1}]
    assert table.mechanism == TRAINING.mechanism
    assert "hers" not in "".join(file.read_bytes().decode("latin-1") for file in run.path.rglob("*") if file.is_file())
    assert releases_of(ledger, run.run_id).read(1) is None, "what was released is in the checkpoint"


def test_it_is_charged_as_declared(tmp_path, ledger):
    run = release(tmp_path / "run", ledger)
    (entry,) = ledger.entries()
    (event,) = entry.events
    assert (event.noise_multiplier, event.sampling_probability, event.rounds) == (1.0, 1.0, 1)
    assert event.threshold_delta == TRAINING.threshold_delta == DELTA / 2
    statement = run.statement()
    assert statement.bound.value == entry.epsilon == declared().statement().bound.value
    assert statement.bound == epsilon([replace(event, threshold_delta=0.0)], DELTA / 2)
    assert (statement.delta, statement.rounds_opened, entry.opened) == (DELTA, 1, 1)


def test_a_round_that_a_kill_lost_is_charged_anew(tmp_path, ledger, draws):
    def killed(public, members, round):
        raise Killed

    with pytest.raises(Killed):
        release(tmp_path / "run", ledger, update=killed)
    assert draws == []
    run = release(tmp_path / "run", ledger)
    assert len(draws) == 1
    entries = ledger.entries()
    assert [entry.events[0].threshold_delta for entry in entries] == [DELTA / 2] * 2
    assert sum(entry.opened for entry in entries) / len(entries) == 2, "both rounds are the run's"
    statement = run.statement()
    assert statement.rounds_opened == 2
    assert statement.delta == pytest.approx(1.5 * DELTA)
    assert statement.bound.value > entries[0].epsilon
    assert open_word_table(run.path).released.words == ("ours",)


def test_a_kill_after_the_release_was_written_releases_nothing_again(tmp_path, ledger, draws, monkeypatch):
    def killed(self, state, table, round):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(HeavyHitters, "apply", killed)
        release(tmp_path / "run", ledger)
    written = releases_of(ledger, Run.open(tmp_path / "run").run_id).read(1)
    run = release(tmp_path / "run", ledger)
    assert len(draws) == 1, "noise is never drawn again"
    assert open_word_table(run.path).released == ReleasedWords.from_bytes(written)
    assert run.rounds_opened == 1
    assert len(ledger.entries()) == 1


def test_a_kill_between_noise_and_disk_releases_with_fresh_noise_and_pays(tmp_path, ledger, draws, monkeypatch):
    def killed(self, round, mean_update):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Releases, "write", killed)
        release(tmp_path / "run", ledger)
    run = release(tmp_path / "run", ledger)
    assert len(draws) == 2
    assert run.rounds_opened == 2
    assert len(ledger.entries()) == 2


def test_a_done_run_is_not_released_again(tmp_path, ledger, draws):
    release(tmp_path / "run", ledger)
    release(tmp_path / "run", ledger)
    assert len(draws) == 1
    assert len(ledger.entries()) == 1


def test_the_state_is_the_released_table():
    algorithm = HeavyHitters()
    assert algorithm.init().released == ReleasedWords((), ())
    assert algorithm.broadcast(algorithm.init(), 1) == {}
    table = ReleasedWords(("a b", "c"), (3.5, 2.0))
    state, figures = algorithm.apply(algorithm.init(), torch.from_numpy(table.to_bytes()), 1)
    assert (state.released, figures) == (table, {"released_words": 2})
    assert algorithm.restore(state.tensors()) == state
    with pytest.raises(ValueError):
        algorithm.restore({"model": torch.zeros(3)})


def test_the_threshold_takes_a_share_of_the_plans_delta():
    asked = HeavyHitterTraining()
    assert asked.at_delta(1e-7).threshold_delta == 5e-8
    assert asked.at_delta(1e-3).threshold_delta == 1e-6
    assert replace(asked, threshold_delta=2e-7).at_delta(1e-6).threshold_delta == 2e-7
    with pytest.raises(ValueError, match="threshold-delta"):
        replace(asked, threshold_delta=1e-6).at_delta(1e-6)
    with pytest.raises(ValueError, match="not decided"):
        _ = asked.mechanism
    assert TRAINING.mechanism == PartitionSelection(2, 1.0, DELTA / 2)
