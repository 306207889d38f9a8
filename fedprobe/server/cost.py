"""How long a plan will take, from parts of a round that are timed here on made-up examples: no shard is opened.

Users are timed in the engine that would train them, with every worker at work: on most machines processes slow each
other down.
"""

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedprobe.clients.made_up import made_up_update
from fedprobe.models.gan import GanConfig
from fedprobe.models.vocabulary import SPECIALS, VocabularyError, read_vocabulary
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.server.engines.local import local_engine
from fedprobe.server.gan_presets import GanTraining
from fedprobe.server.language_presets import LanguageTraining

# What is timed of one part, in seconds, and how often at most.
_BUDGET, _REPEATS = 0.3, 7
# More than this is not timed but multiplied: batches of a user, examples of a batch.
_BATCHES, _EXAMPLES = 4, 256
# A round after which the generator learns, where the first is none.
_PHASE = 2
# A model of more parameters is not tried: building it might take all memory.
_PARAMETERS = 30_000_000


@dataclass(frozen=True)
class Cost:
    """Seconds of each part of a round, and what they are multiplied by.

    `user` is one user's update, at the plan's caps: users who have less take less. `users_each` is how many of them a
    worker trains in a round; `dealing` is what it takes to hand a round to the workers and to add up what they return.
    Reading shards, the ledger and checkpoints are not in it.
    """

    rounds: int
    users_each: int
    broadcast: float
    dealing: float
    user: float
    release: float
    apply: float

    @property
    def seconds_per_round(self) -> float:
        return self.broadcast + self.dealing + self.users_each * self.user + self.release + self.apply

    @property
    def seconds(self) -> float:
        return self.rounds * self.seconds_per_round


def predict(training: Any, networks: Any, workers: int | None = None, precision: str = "float32") -> Cost | None:
    """What `training` of `networks` costs on this machine's CPU, with `workers` processes (None: one a core).

    Takes about two seconds, and some where one step of the model does. None where the model is too large to be tried.
    Raises EngineError where a worker dies of it.
    """
    if _parameters(networks) > _PARAMETERS:
        return None
    full = min(training.local_batch_size, _examples_of(training))
    batches = math.ceil(_examples_of(training) / full) * getattr(training, "local_epochs", 1)
    tried, few = _small(training, full), min(batches, _BATCHES)
    mechanism = Mechanism(training.clip_norm, training.noise_multiplier)
    workers = workers or os.cpu_count() or 1
    with local_engine(made_up_update(tried, networks, 1, precision), workers) as engine:
        algorithm = tried.algorithm(networks, 0, "cpu")
        state = algorithm.init()
        public = algorithm.broadcast(state, 1)
        # Each part runs once before it is timed: what is first done in a process takes longer.
        total = engine.sum(public, [0] * workers, 1)
        mean = torch.from_numpy(mechanism.release(total).astype(np.float32))
        algorithm.apply(state, mean, _PHASE)
        dealing = _seconds(lambda: engine.sum(public, [], 1))
        first = each = max(0.0, _seconds(lambda: engine.sum(public, [0] * workers, 1)) - dealing)
        apply = _seconds(lambda: algorithm.apply(state, mean, 1))
        broadcast = _seconds(lambda: algorithm.broadcast(state, 1))
        if isinstance(training, GanTraining):
            phase = max(0.0, _seconds(lambda: algorithm.apply(state, mean, _PHASE)) - apply)
            apply += phase * _latents_of(training) / _latents_of(tried) / training.critic_rounds_per_generator_phase
            broadcast *= _examples_of(training) / _examples_of(tried)
        release = _seconds(lambda: mechanism.release(total))
    if few > 1 and first < _BUDGET:
        with local_engine(made_up_update(tried, networks, few, precision), workers) as engine:
            engine.sum(public, [0] * workers, 1)
            several = _seconds(lambda: engine.sum(public, [0] * workers, 1)) - dealing
        each = max(0.0, several - first) / (few - 1)
    return Cost(
        rounds=training.rounds,
        users_each=math.ceil(training.users_per_round / workers),
        broadcast=broadcast,
        dealing=dealing,
        user=(first + each * (batches - 1)) * full / tried.local_batch_size,
        release=release,
        apply=apply,
    )


def symbols_of(vocabulary: Path | None) -> int:
    """How many symbols a model over the words of this file has; 10,000 words where none can be read."""
    try:
        return 10_000 + SPECIALS if vocabulary is None else read_vocabulary(vocabulary).symbols
    except VocabularyError:
        return 10_000 + SPECIALS


def _examples_of(training: Any) -> int:
    """How many images or sequences a user trains on in a pass, if she has as many as the plan takes."""
    if isinstance(training, GanTraining):
        return training.local_steps * training.local_batch_size
    if isinstance(training, LanguageTraining):
        return min(training.sequences_per_user, training.symbols_per_user // training.sequence_length)
    return training.examples_per_user


def _latents_of(training: GanTraining) -> int:
    return training.generator_steps * training.generator_batch_size


def _small(training: Any, full: int) -> Any:
    """`training` with as much in a step as is timed, where `full` examples are a batch."""
    changed = {"local_batch_size": min(full, _EXAMPLES)}
    if isinstance(training, GanTraining):
        changed |= {"local_steps": min(training.local_steps, _BATCHES), "generator_steps": 1}
        changed |= {"generator_batch_size": min(training.generator_batch_size, _EXAMPLES)}
        changed |= {"critic_rounds_per_generator_phase": _PHASE}
    return replace(training, **changed)


def _parameters(networks: Any) -> int:
    """How many parameters there are, without any memory for them."""
    with torch.device("meta"):
        gan = isinstance(networks, GanConfig)
        modules = [networks.critic(), networks.generator()] if gan else [networks.build()]
        return sum(one.numel() for module in modules for one in module.parameters())


def _seconds(work: Callable[[], Any]) -> float:
    """The median time of `work`: as many times as a share of the budget allows, once where it is used up."""
    taken: list[float] = []
    while len(taken) < _REPEATS and sum(taken) < _BUDGET:
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
