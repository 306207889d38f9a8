"""Seconds a round of train-gan's two presets, with one worker and with one a core, on synthetic users.

    python -m benchmarks.rounds [--rounds 20] [--json]
    python -m benchmarks.rounds --workload W1 [--rounds 20] [--json] [--workers 2]

Medians over rounds that take turns, so that a machine that slows down slows both; what to quote is the ratio.
With a workload (see workloads.py) fedprobe alone trains it, and a line a round says how long it took.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from benchmarks import workloads
from fedprobe.clients.data.shards import open_dataset
from fedprobe.clients.selection import Members
from fedprobe.clients.updates import CriticUpdate
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.server.engines.local import local_engine
from fedprobe.server.gan_presets import PRESETS
from fedprobe.server.participation import PoissonParticipation

USERS = 40
EXAMPLES = 192


def write_users(path: Path) -> None:
    """Users whose pixels are uniform noise: the speed of a round does not depend on what is drawn."""
    stream = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for user in range(USERS):
            group = file.create_group(f"examples/{user:03d}")
            group["pixels"] = stream.random((EXAMPLES, 28, 28), dtype=np.float32)


def measure(preset: str, rounds: int) -> dict[str, float]:
    """The median seconds a round of `preset` for 1 worker and for one a core, taking turns."""
    training = PRESETS[preset]
    config = training.networks((1, 28, 28))
    algorithm = training.algorithm(config, 0, "cpu")
    mechanism = Mechanism(training.clip_norm, training.noise_multiplier)
    participation = PoissonParticipation(training.users_per_round, USERS)
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        write_users(Path(folder) / "users.h5")
        dataset = open_dataset([folder])
        update = CriticUpdate(
            dataset,
            Members(np.arange(len(dataset))),
            config,
            mechanism,
            training.local_batch_size,
            training.local_steps,
            training.client_learning_rate,
            training.gradient_penalty,
            0,
        )
        state = algorithm.init()
        seconds: dict[int, list[float]] = {1: [], cores: []}
        with local_engine(update, 1) as one, local_engine(update, cores) as many:
            for round in range(1, rounds + 2):
                for workers, engine in {1: one, cores: many}.items():
                    started = time.perf_counter()
                    members = participation.draw_reproducibly(range(USERS), 0, round)
                    total = engine.sum(algorithm.broadcast(state, round), members, round)
                    mean = mechanism.release(total) / training.users_per_round
                    state, _ = algorithm.apply(state, torch.from_numpy(mean), round)
                    if round > 1:
                        seconds[workers].append(time.perf_counter() - started)
    medians = {workers: statistics.median(values) for workers, values in seconds.items()}
    return {"one_worker": medians[1], "one_a_core": medians[cores], "ratio": medians[cores] / medians[1]}


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--workload", choices=workloads.NAMES)
    parser.add_argument("--workers", type=int, help="With a workload: processes [default: one a core].")
    parser.add_argument("--users", type=int, help="With a workload: users a round, for a quick look.")
    parser.add_argument("--no-memory", action="store_true", help="With a workload: do not look at memory.")
    arguments = parser.parse_args(options)
    if arguments.workload:

        def say(line: dict) -> None:
            told = "{impl} {workload} round {round}: {sec:.3f} s, {rss_mb:.0f} MB".format(**line)
            print(json.dumps(line) if arguments.json else told, flush=True)

        options = arguments.workers, arguments.users, not arguments.no_memory
        workloads.run(arguments.workload, arguments.rounds, say, *options)
        return
    results = {preset: measure(preset, arguments.rounds) for preset in PRESETS}
    if arguments.json:
        print(json.dumps(results))
        return
    print(f"seconds a round, median of {arguments.rounds}, {os.cpu_count()} cores")
    for preset, result in results.items():
        print(
            f"{preset:<6} one worker {result['one_worker']:.3f}   one a core {result['one_a_core']:.3f}   "
            f"ratio {result['ratio']:.2f}"
        )


if __name__ == "__main__":
    main()
