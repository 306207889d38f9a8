"""Three workloads that simulators of federated learning are compared on, run as fedprobe's commands run a training.

W1: a character model (3 x 256 CIFG, projection 128), 100 users a round of 64 words of 20 symbols, batches of 16.
W2: the paper's critic and generator, 10 users of 192 images, 6 steps of 32. W3: LEAF's CNN for EMNIST, 50 users of
100 labelled images, batches of 20. Content is noise, of which only W1's number of distinct letters,
26, matters to the speed of a round.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from benchmarks.memory import tree_mb
from benchmarks.networks import LABELS, ChannelsLastCnn
from fedprobe.clients.classifier_update import ClassifierUpdate
from fedprobe.clients.data.shards import FederatedDataset, open_dataset
from fedprobe.clients.language_update import LanguageModelUpdate
from fedprobe.clients.selection import Members
from fedprobe.clients.updates import ClientUpdate, CriticUpdate
from fedprobe.models.vocabulary import Bytes
from fedprobe.privacy.ledger import ledger_of
from fedprobe.privacy.population import register
from fedprobe.server import classifier_presets, gan_presets, language_presets
from fedprobe.server.declaration import Declaration, Networks, Training, start, train_declared

NAMES = ("W1", "W2", "W3")


@dataclass(frozen=True)
class LeafConfig:
    """LEAF's CNN in the place of a `ClassifierConfig`."""

    labels: int = LABELS
    merge_case: bool = False

    def build(self) -> ChannelsLastCnn:
        return ChannelsLastCnn()

    def to_json(self) -> dict:
        return {"labels": self.labels}


@dataclass(frozen=True)
class Workload:
    """What is trained, on how many users of what, and what runs beside the data."""

    training: Training
    networks: Networks
    population: int
    write_user: Callable[[h5py.Group, np.random.Generator], None]
    update: Callable[[FederatedDataset, Declaration], ClientUpdate]


def _words(group: h5py.Group, stream: np.random.Generator) -> None:
    letters = stream.integers(ord("a"), ord("z") + 1, (64, 19)).astype(np.uint8)
    group.create_dataset("tokens", data=[bytes(word) for word in letters], dtype=h5py.string_dtype())


def _images(group: h5py.Group, stream: np.random.Generator) -> None:
    group["pixels"] = stream.random((192, 28, 28), dtype=np.float32)


def _labelled_images(group: h5py.Group, stream: np.random.Generator) -> None:
    group["pixels"] = stream.random((100, 28, 28), dtype=np.float32)
    group["label"] = stream.integers(0, LABELS, 100)


def _char_lm(dataset: FederatedDataset, declared: Declaration) -> LanguageModelUpdate:
    training = declared.training
    return LanguageModelUpdate(
        *(dataset, Members(np.arange(len(dataset))), Bytes(), declared.networks, declared.mechanism),
        *(training.local_batch_size, training.local_epochs, training.sequences_per_user, training.symbols_per_user),
        *(training.sequence_length, training.client_learning_rate, declared.seed),
    )


def _critic(dataset: FederatedDataset, declared: Declaration) -> CriticUpdate:
    training = declared.training
    return CriticUpdate(
        *(dataset, Members(np.arange(len(dataset))), declared.networks, declared.mechanism),
        *(training.local_batch_size, training.local_steps, training.client_learning_rate, training.gradient_penalty),
        declared.seed,
    )


def _cnn(dataset: FederatedDataset, declared: Declaration) -> ClassifierUpdate:
    training = declared.training
    return ClassifierUpdate(
        *(dataset, Members(np.arange(len(dataset))), declared.networks, declared.mechanism),
        *(training.local_batch_size, training.local_epochs, training.examples_per_user, training.client_learning_rate),
        declared.seed,
    )


def workload(name: str) -> Workload:
    """W1, W2 or W3. Raises KeyError for another."""
    if name == "W1":
        training = replace(
            language_presets.CHAR_PRESETS["paper"],
            **{"users_per_round": 100, "peepholes": False, "clip_norm": 0.1, "noise_multiplier": 1.0},
            **{"sequences_per_user": 64, "symbols_per_user": 64 * 20, "sequence_length": 20},
        )
        return Workload(training, training.networks(Bytes.symbols), 200, _words, _char_lm)
    if name == "W2":
        training = gan_presets.PRESETS["paper"]
        return Workload(training, training.networks((1, 28, 28)), 20, _images, _critic)
    training = {"W3": classifier_presets.PRESETS["quick"]}[name]
    sgd = {"server_optimizer": "sgd", "server_learning_rate": 1.0, "server_momentum": 0.0, "model_average": 0.0}
    training = replace(training, users_per_round=50, clip_norm=0.1, noise_multiplier=1.0, local_batch_size=20, **sgd)
    return Workload(replace(training, examples_per_user=100), LeafConfig(), 100, _labelled_images, _cnn)


def run(
    name: str,
    rounds: int,
    on_line: Callable[[dict], None],
    workers: int | None = None,
    users: int | None = None,
    look_at_memory: bool = True,
) -> None:
    """Train `rounds` rounds after one to warm up, with ledger, releases and checkpoints as a command has them.

    `on_line` gets a line a round: its seconds, and the most memory so far (the proportional set size of this process
    and its workers at the ends of rounds, in MB). `users`: how many take part in a round, of twice as many, instead of
    the workload's. Without `look_at_memory`, which takes a moment after each round, that is 0.
    """
    work = workload(name)
    if users is not None:
        work = replace(work, training=replace(work.training, users_per_round=users), population=2 * users)
    work = replace(work, training=replace(work.training, rounds=rounds + 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "users.h5"
        with h5py.File(path, "w") as file:
            for user in range(work.population):
                work.write_user(file.create_group(f"examples/{user:04d}"), np.random.default_rng(user))
        population, _ = register([path], "simulation")
        cohort = {"rule": {"criterion": "random"}, "population": population.id, "measurement": None}
        declared = Declaration(
            command="benchmark",
            training=work.training,
            networks=work.networks,
            cohort=cohort | {"count_is": "exact-simulation"},
            population=work.population,
            conditional_on=None,
            accountant="rdp",
            participation_name="fixed",
            shards=[str(path)],
        )
        dataset, ledger = open_dataset([path]), ledger_of(population, [path])
        ended, most = time.perf_counter(), 0.0

        def on_round(round: int, state: object) -> None:
            nonlocal ended, most
            seconds = time.perf_counter() - ended
            most = max(most, tree_mb(os.getpid())) if look_at_memory else 0.0
            if round > 1:
                line = {"impl": "fedprobe", "workload": name, "round": round - 1}
                on_line(line | {"sec": float(f"{seconds:.4f}"), "rss_mb": float(f"{most:.1f}")})
            ended = time.perf_counter()

        started, state, first = start(declared, Path(folder) / "run", ledger)
        train_declared(
            *(declared, started, state, first, work.update(dataset, declared), work.population, list, ledger),
            workers=workers,
            on_round=on_round,
        )
