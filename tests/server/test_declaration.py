"""The whole training of a GAN on a data set of ten users: what decides it, and what it leaves behind."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from fedprobe.clients.data.shards import FederatedDataset, open_dataset
from fedprobe.clients.selection import Members
from fedprobe.clients.updates import CriticUpdate
from fedprobe.models.stored import StoredError
from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.entries import Part
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.ledger import BudgetRefusal
from fedprobe.privacy.population import write_json
from fedprobe.privacy.randomness import key
from fedprobe.runs import Run, RunError
from fedprobe.server.algorithms.dp_fedavg_gan import GanState
from fedprobe.server.declaration import Declaration, resume, start, train_declared
from fedprobe.server.gan_presets import PRESETS

USERS = 10
ROUNDS = 4
TRAINING = replace(
    PRESETS["quick"],
    users_per_round=5,
    rounds=ROUNDS,
    noise_multiplier=0.0,
    clip_norm=0.1,
    local_batch_size=4,
    local_steps=2,
    server_optimizer="momentum",
    server_learning_rate=1.0,
    server_momentum=0.9,
    generator_batch_size=8,
)
DECLARED = Declaration(
    command="train-gan",
    training=TRAINING,
    networks=TRAINING.networks((1, 12, 12)),
    cohort={
        "rule": {"criterion": "random"},
        "population": "population one",
        "measurement": None,
    },
    population=USERS,
    conditional_on=None,
    # The quickest accountant.
    accountant="rdp",
)


def declared(seed: int = 0, **changes) -> Declaration:
    return replace(DECLARED, training=replace(TRAINING, **changes), seed=seed)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> FederatedDataset:
    """Ten users of one to nineteen images: dark strokes on white, mostly no whole number of batches."""
    path = tmp_path_factory.mktemp("shards") / "shard.h5"
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for user in range(USERS):
            pixels = np.ones((2 * user + 1, 12, 12), np.float32)
            for image in pixels:
                row, start_column = random.integers(2, 10, 2)
                image[row, min(start_column, 4) :] = random.uniform(0, 0.3)
            file[f"examples/Oak Street {user}/pixels"] = pixels
    return open_dataset([path])


@pytest.fixture(scope="module")
def train(dataset, simulated_ledger):
    """A function that trains what was declared, from the start or on from a run's last checkpoint."""

    def trained(declaration: Declaration, path: Path, begin=start, **options) -> tuple[GanState, Run]:
        ledger = simulated_ledger(path.parent)
        run, state, first_round = begin(declaration, path, ledger)
        training = declaration.training
        update = CriticUpdate(
            dataset,
            Members(np.arange(USERS)),
            declaration.networks,
            declaration.mechanism,
            training.local_batch_size,
            training.local_steps,
            training.client_learning_rate,
            training.gradient_penalty,
            declaration.seed,
        )

        def keys() -> list[int]:
            return [key(dataset.user_id(user)) for user in range(USERS)]

        options = {"workers": 1, "checkpoint_every": 1, **options}
        state, _ = train_declared(declaration, run, state, first_round, update, USERS, keys, ledger, **options)
        return state, run

    return trained


def bits(state: GanState) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in state.tensors().items()}


@pytest.fixture(scope="module")
def reference(train, tmp_path_factory) -> tuple[GanState, Run]:
    """A training without noise, in this process."""
    return train(declared(), tmp_path_factory.mktemp("runs") / "reference")


def test_training_moves_both_networks_and_stays_finite(reference):
    first, (state, _) = declared().algorithm.init(), reference
    assert not torch.equal(state.critic, first.critic)
    assert not torch.equal(state.generator, first.generator)
    assert all(tensor.isfinite().all() for tensor in state.tensors().values())


@pytest.mark.parametrize("workers", [1, 2])
def test_without_noise_the_seed_decides_every_bit_for_any_number_of_workers(train, reference, workers, tmp_path):
    state, run = train(declared(), tmp_path / "again", workers=workers)
    assert bits(state) == bits(reference[0])
    assert run.metrics() == reference[1].metrics()


def test_another_seed_is_another_training(train, reference, tmp_path):
    state, _ = train(declared(seed=1), tmp_path / "other")
    assert not torch.equal(state.critic, reference[0].critic)


def test_with_noise_no_training_is_ever_repeated(train, tmp_path):
    states = [train(declared(noise_multiplier=0.01), tmp_path / name)[0] for name in ("one", "two")]
    assert not torch.equal(states[0].critic, states[1].critic)
    assert not torch.equal(states[0].generator, states[1].generator)


def test_noise_of_the_stated_size_falls_on_every_coordinate_of_the_critic(train, tmp_path):
    # Everybody takes part, so that what is left between the two is the noise alone.
    noisy, exact = (
        train(replace(declared(noise_multiplier=z, rounds=1), population=5), tmp_path / str(z))[0] for z in (2.0, 0.0)
    )
    # Nesterov's momentum makes the first step 1 + 0.9 times the update.
    noise = (noisy.critic - exact.critic).double() / 1.9
    # Float32 rounds some 1 in 10 million to zero; five of 25,625 would be no chance.
    assert len(noise) == 25_625
    assert int((noise == 0).sum()) < 5
    # z S / m = 2 * 0.1 / 5, to six standard deviations of the mean of so many squares.
    assert abs(float(noise.square().mean()) / 0.04**2 - 1) < 6 * (2 / len(noise)) ** 0.5


@pytest.mark.parametrize("stopped", [1, 3])
def test_resuming_equals_training_without_a_stop(train, reference, tmp_path, stopped):
    asked = iter(range(1, ROUNDS + 1))
    train(declared(), tmp_path / "run", stop=lambda: next(asked) == stopped, checkpoint_every=50)
    state, run = train(declared(), tmp_path / "run", begin=resume)
    assert bits(state) == bits(reference[0])
    assert run.metrics() == reference[1].metrics()
    assert run.rounds_opened == ROUNDS


@pytest.mark.parametrize("every", [1, 2, 50])
def test_after_a_crash_rounds_since_the_checkpoint_are_applied_again(
    train, reference, tmp_path, every, simulated_ledger
):
    class Crash(Exception):
        pass

    def crash(round, state):
        if round == 3:
            raise Crash

    # After round 3 and its checkpoint, where there is one.
    with pytest.raises(Crash):
        train(declared(), tmp_path / "run", on_round=crash, checkpoint_every=every)
    state, run = train(declared(), tmp_path / "run", begin=resume)
    assert bits(state) == bits(reference[0])
    assert run.metrics() == reference[1].metrics()
    assert run.rounds_opened == ROUNDS
    # Their noised sums were written before they were applied, so that none had to be opened again.
    assert simulated_ledger(tmp_path).rounds_left(run.run_id, declared().event()) == 0


def test_a_run_that_another_process_trains_is_not_resumed_and_keeps_its_figures_and_its_plan(train, tmp_path):
    asked = iter(range(1, ROUNDS + 1))
    _, run = train(declared(), tmp_path / "run", stop=lambda: next(asked) == 2)
    # What the other process has done since its last checkpoint.
    run.log({"round": 3, "released_update_norm": 0.1})
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with run.locked(), pytest.raises(RunError, match="another process"):
        train(declared(rounds=9), tmp_path / "run", begin=resume)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_run_is_held_while_it_is_trained_and_no_longer(train, tmp_path):
    asked = []

    def ask(round, state):
        with pytest.raises(RunError, match="another process"), Run.open(tmp_path / "run").locked():
            pass
        asked.append(round)

    _, run = train(declared(), tmp_path / "run", on_round=ask, workers=2)
    assert asked == list(range(1, ROUNDS + 1))
    with run.locked():
        pass


def test_a_finished_run_may_go_on_to_more_rounds(train, reference, tmp_path, simulated_ledger):
    _, run = train(declared(rounds=2), tmp_path / "run")
    assert not run.statement().indicative
    state, run = train(declared(), tmp_path / "run", begin=resume)
    # The ledger adds up two plans; one figure for all rounds is as if they had been planned together.
    assert run.statement().indicative and "indicative" in "".join(run.statement().brief())
    # As if a crash had come before the run could say so: the ledger knows.
    write_json(run.path / "privacy.json", {**run.privacy, "extended": False})
    resume(declared(), run.path, simulated_ledger(tmp_path))
    assert run.extended
    assert bits(state) == bits(reference[0])
    assert run.config["training"]["rounds"] == ROUNDS
    assert SampledGaussian.from_json(run.privacy["event"]).rounds == ROUNDS


@pytest.mark.parametrize(
    "name, other",
    [
        ("noise_multiplier", declared(noise_multiplier=0.5)),
        ("clip_norm", declared(noise_multiplier=1.0, clip_norm=0.2)),
        ("population", replace(declared(noise_multiplier=1.0), population=100)),
        ("delta", replace(declared(noise_multiplier=1.0), delta=1e-3)),
        ("conditional_on", replace(declared(noise_multiplier=1.0), conditional_on="primary model")),
        ("seed", declared(noise_multiplier=1.0, seed=1)),
    ],
)
def test_a_resumed_run_is_the_one_that_was_declared(tmp_path, name, other, simulated_ledger):
    ledger = simulated_ledger(tmp_path)
    start(declared(noise_multiplier=1.0), tmp_path / "run", ledger)
    with pytest.raises(RunError, match=f"another {name}[,;]"):
        resume(other, tmp_path / "run", ledger)


@pytest.mark.parametrize("changed", [{"noise_multiplier": 0.5}, {"clip_norm": 0.2, "noise_multiplier": 0.5}])
def test_a_run_whose_directory_was_altered_opens_nothing(tmp_path, changed, simulated_ledger):
    """It is resumed as its config.json says now; the ledger knows what was charged."""
    ledger = simulated_ledger(tmp_path)
    run, _, _ = start(declared(noise_multiplier=1.0), tmp_path / "run", ledger)
    altered = run.config
    altered["training"] |= changed
    write_json(run.path / "config.json", altered)
    with pytest.raises(BudgetRefusal, match="another plan"):
        resume(declared(**changed), tmp_path / "run", ledger)
    assert len(ledger.entries()) == 1 and ledger.opened(run.run_id) == 0


@pytest.mark.parametrize("study", ["all", "another"])
def test_no_run_becomes_a_part_of_a_study_later(tmp_path, study, simulated_ledger):
    ledger = simulated_ledger(tmp_path)
    alone = declared(noise_multiplier=1.0)
    start(alone, tmp_path / "alone", ledger)
    with pytest.raises(RunError, match="from its start"):
        resume(replace(alone, study=study), tmp_path / "alone", ledger)
    ledger.declare("all", [Part("", alone.command, alone.cohort["rule"], (alone.event(),))], delta=1e-6)
    run, _, _ = start(replace(alone, study="all"), tmp_path / "part", ledger)
    # As a version before this one left it, when it was resumed without its study's name.
    write_json(run.path / "privacy.json", {**run.privacy, "study": None})
    for again in (None, "all"):
        resume(replace(alone, study=again), tmp_path / "part", ledger)
        assert run.privacy["study"] == "all" and not run.extended


def test_a_checkpoint_of_other_networks_is_refused_before_anything_is_charged(train, tmp_path, simulated_ledger):
    _, run = train(declared(rounds=1), tmp_path / "run")
    tensors, round = run.load()
    for name in ("critic", "average", "critic_optimizer/momentum_buffer", "critic_optimizer"):
        shutil.rmtree(run.checkpoints()[-1])
        run.checkpoint(round, tensors | {name: torch.zeros(5)})
        with pytest.raises(StoredError, match="no state of what the run trains"):
            resume(declared(), tmp_path / "run", simulated_ledger(tmp_path))
    assert len(simulated_ledger(tmp_path).entries()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"population": 0},
        {"training": replace(TRAINING, clip_norm=0.0)},
    ],
    ids=lambda changes: "".join(changes),
)
def test_what_cannot_be_trained_is_not_declared(changes):
    with pytest.raises(ValueError):
        replace(DECLARED, **changes)


@pytest.mark.parametrize("counted, simulation", [({"count_is": "exact-simulation"}, True), ({}, False)])
def test_a_run_is_a_simulation_only_where_its_cohort_was_counted_in_one(
    counted, simulation, tmp_path, simulated_ledger
):
    declaration = replace(DECLARED, cohort={**DECLARED.cohort, **counted})
    assert declaration.statement().simulation == simulation
    assert declaration.privacy("abc", simulated_ledger(tmp_path))["simulation"] == simulation


def test_a_run_is_not_started_where_one_is(train, reference, simulated_ledger):
    with pytest.raises(RunError, match="--resume"):
        start(declared(), reference[1].path, simulated_ledger(reference[1].path.parent))


def test_a_run_says_what_it_was_declared_to_cost(train, tmp_path):
    declaration = replace(declared(noise_multiplier=1.0), delta=1e-4, conditional_on="primary model")
    _, run = train(declaration, tmp_path / "run")
    expected = epsilon([SampledGaussian(1.0, 0.5, ROUNDS)], 1e-4, "rdp")
    assert declaration.statement().bound == run.statement(accountant="rdp").bound == expected
    assert run.statement(accountant="rdp").conditional_on == "primary model"
    assert (run.privacy["population_id"], run.privacy["measurement"]) == ("population one", None)


def test_the_default_delta_is_that_of_the_population():
    assert replace(DECLARED, population=200_000).statement().delta == 1 / (100 * 200_000)


def test_a_run_holds_released_figures_and_nothing_that_counts_or_names_users(reference):
    _, run = reference
    assert {name for line in run.metrics() for name in line} == {"round", "released_update_norm", "generator_loss"}
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {
        "config.json",
        "privacy.json",
        "metrics.jsonl",
        "rounds_opened",
        "manifest.json",
        "tensors.safetensors",
    }
    assert not any(b"Oak Street" in path.read_bytes() for path in files)
