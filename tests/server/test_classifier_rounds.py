"""The whole federated training of a classifier: the one round loop, and what decides it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedprobe.clients.classifier_update import ClassifierUpdate
from fedprobe.clients.data.shards import FederatedDataset, open_dataset
from fedprobe.clients.selection import Members
from fedprobe.models.classifier import ClassifierConfig
from fedprobe.privacy.randomness import key
from fedprobe.runs import Run
from fedprobe.server.algorithms.dp_fedavg import FedAvgState
from fedprobe.server.classifier_presets import PRESETS
from fedprobe.server.declaration import Declaration, resume, start, train_declared

USERS = 6
ROUNDS = 3
TRAINING = replace(
    PRESETS["quick"],
    users_per_round=3,
    rounds=ROUNDS,
    noise_multiplier=0.0,
    local_batch_size=4,
)
DECLARED = Declaration(
    command="train-classifier",
    training=TRAINING,
    networks=ClassifierConfig(20, 20, 1, 2),
    cohort={"rule": {"criterion": "random"}, "population": "population one", "measurement": None},
    population=USERS,
    conditional_on=None,
    accountant="rdp",
)


def declared(**changes) -> Declaration:
    return replace(DECLARED, training=replace(TRAINING, **changes))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, write_shard, patches) -> FederatedDataset:
    return open_dataset([write_shard(tmp_path_factory.mktemp("shards") / "s.h5", patches(USERS))])


@pytest.fixture(scope="module")
def train(dataset, simulated_ledger):
    """A function that trains what was declared, from the start or on from a run's last checkpoint."""

    def trained(declaration: Declaration, path: Path, begin=start, **options) -> tuple[FedAvgState, Run]:
        ledger = simulated_ledger(path.parent)
        run, state, first_round = begin(declaration, path, ledger)
        training = declaration.training
        update = ClassifierUpdate(
            dataset,
            Members(np.arange(USERS)),
            declaration.networks,
            declaration.mechanism,
            training.local_batch_size,
            training.local_epochs,
            training.examples_per_user,
            training.client_learning_rate,
            declaration.seed,
        )

        def keys() -> list[int]:
            return [key(dataset.user_id(user)) for user in range(USERS)]

        options = {"workers": 1, "checkpoint_every": 1, **options}
        state, _ = train_declared(declaration, run, state, first_round, update, USERS, keys, ledger, **options)
        return state, run

    return trained


def bits(state: FedAvgState) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in state.tensors().items()}


@pytest.fixture(scope="module")
def reference(train, tmp_path_factory) -> tuple[FedAvgState, Run]:
    return train(declared(), tmp_path_factory.mktemp("runs") / "reference")


@pytest.mark.parametrize("workers", [1, 2])
def test_without_noise_the_seed_decides_every_bit_for_any_number_of_workers(train, reference, workers, tmp_path):
    state, run = train(declared(), tmp_path / "again", workers=workers)
    assert bits(state) == bits(reference[0])
    assert run.metrics() == reference[1].metrics()


@pytest.mark.parametrize("stopped", [1, 2])
def test_resuming_equals_training_without_a_stop(train, reference, tmp_path, stopped):
    asked = iter(range(1, ROUNDS + 1))
    train(declared(), tmp_path / "run", stop=lambda: next(asked) == stopped, checkpoint_every=50)
    state, run = train(declared(), tmp_path / "run", begin=resume)
    assert bits(state) == bits(reference[0])
    assert run.rounds_opened == ROUNDS


def test_noise_of_the_stated_size_falls_on_every_coordinate(train, tmp_path):
    # Everybody takes part, so that what is left between the two is the noise alone.
    noisy, exact = (
        train(replace(declared(noise_multiplier=z, rounds=1), population=3), tmp_path / str(z))[0] for z in (2.0, 0.0)
    )
    # Nesterov's momentum makes the first step 1 + 0.9 times the update.
    noise = (noisy.model - exact.model).double() / 1.9
    # z S / m = 2 * 1 / 3, to six standard deviations of the mean of so many squares.
    assert abs(float(noise.square().mean()) / (2 / 3) ** 2 - 1) < 6 * (2 / len(noise)) ** 0.5
    # Float32 rounds some 1 in 10 million to zero; five would be no chance.
    assert int((noise == 0).sum()) < 5


def test_a_run_holds_released_figures_and_nothing_that_counts_or_names_users(reference):
    _, run = reference
    assert {name for line in run.metrics() for name in line} == {"round", "released_update_norm"}
    assert not any(b"Oak Street" in path.read_bytes() for path in run.path.rglob("*") if path.is_file())
