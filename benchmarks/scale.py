"""What a training on two million users costs, computed from rates that are measured here and figures that are named.

    python -m benchmarks.scale [--population 2000000] [--users-per-round 5000] [--rounds 2000] [--json]

Measured on one core of this machine, on one thread: a user's update of workloads W1 to W3 and how much of it is reading
her examples (in TFF's layout, and packed); to clip, quantise and add what she sends; to draw who takes part; to add the
noise; to write the noised sum. Not measured, but published or assumed, and printed as such: what a GPU does, a network,
a device. The table of `docs/scale.md` is this one's output.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch

from benchmarks.workloads import NAMES, workload
from fedprobe.clients.data.packing import pack
from fedprobe.clients.data.shards import FederatedDataset, open_dataset
from fedprobe.clients.language_update import LanguageModelUpdate
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.privacy.planning import PlannedRounds
from fedprobe.server.declaration import Declaration
from fedprobe.server.participation import participation
from fedprobe.server.releases import Releases

_USERS = 24
# NVIDIA's data sheet of the H100 SXM: 67 Tflop/s in float32 without tensor cores. That small recurrent models reach a
# tenth of it, users of a round trained together, is an assumption.
_GPU_FLOPS, _REACHED = 67e12, 0.1
# A server's network, and how much slower than this core a phone is: assumptions.
_BYTES_PER_SECOND, _DEVICE_SLOWER = 10e9 / 8, 10


def _median(work: Callable[[], object], repeats: int = 7) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def update_rates(name: str) -> dict[str, float]:
    """Seconds a user of a workload: her whole update, and of it reading, in both layouts."""
    work = workload(name)
    cohort = {"rule": {"criterion": "random"}, "population": "any", "measurement": None, "count_is": "exact-simulation"}
    declared = Declaration(
        *("benchmark", work.training, work.networks, cohort, _USERS, None),
        **{"accountant": "rdp", "participation_name": "fixed"},
    )
    public = declared.algorithm.broadcast(declared.algorithm.init(), 1)
    with tempfile.TemporaryDirectory() as folder:
        groups = Path(folder) / "groups.h5"
        with h5py.File(groups, "w") as file:
            for user in range(_USERS):
                work.write_user(file.create_group(f"examples/{user:04d}"), np.random.default_rng(user))
        pack(open_dataset([groups]), Path(folder) / "packed.h5")
        update = work.update(open_dataset([groups]), declared)
        update(public, [0], 1)
        users = iter(range(1, _USERS))
        result = {"update": _median(lambda: update(public, [next(users)], 1), 9)}
        for layout in ("groups", "packed"):
            dataset = open_dataset([Path(folder) / f"{layout}.h5"])
            result[f"reading_{layout}"] = _reading(work.update(dataset, declared), dataset)
    return result


def _reading(update, dataset: FederatedDataset) -> float:
    """Seconds to read one user as an update reads her."""
    users = iter(np.random.default_rng(0).permutation(_USERS).tolist())
    if isinstance(update, LanguageModelUpdate):
        return _median(lambda: update.sequences(next(users)), _USERS)
    return _median(lambda: update.members.read(dataset, [next(users)]), _USERS)


def server_rates(parameters: int, population: int, users_per_round: int) -> dict[str, float]:
    """Seconds of what is done beside the training: once a user (`contribution`, `add`), or once a round."""
    mechanism, stream = Mechanism(0.1, 1.0), np.random.default_rng(0)
    delta, total = stream.normal(size=parameters).astype(np.float32), np.zeros(parameters, np.int64)
    sent = mechanism.contribution(delta)
    drawn = participation("poisson", users_per_round, population)
    with tempfile.TemporaryDirectory() as folder:
        releases, rounds = Releases(Path(folder) / "releases"), iter(range(1, 100))
        released = mechanism.release(total)
        return {
            "contribution": _median(lambda: mechanism.contribution(delta)),
            "add": _median(lambda: np.add(total, sent, out=total)),
            "draw": _median(lambda: drawn.draw(population)),
            "release": _median(lambda: mechanism.release(total)),
            "write": _median(lambda: releases.write(next(rounds), released / users_per_round)),
        }


def table(population: int, users_per_round: int, rounds: int, update: float, server: dict, parameters: int) -> dict:
    """Seconds a round on each kind of machine, what the largest part of it is, and what a user sends and gets."""
    # Six operations a parameter and symbol: two forwards, four backwards. W1's users have 64 words of 20 symbols.
    operations = 6 * parameters * 64 * 20
    on_a_gpu = operations / (_GPU_FLOPS * _REACHED)
    down, up = 4 * parameters, 8 * parameters
    once = server["draw"] + server["release"] + server["write"]
    summed = users_per_round * (server["contribution"] + server["add"])

    def machine(**parts: float) -> dict:
        seconds = sum(parts.values())
        bottleneck = max(parts, key=parts.get)
        return {"seconds_a_round": seconds, "days": seconds * rounds / 86400, "bottleneck": bottleneck, "parts": parts}

    training = users_per_round * update
    network = users_per_round * (down + up) / _BYTES_PER_SECOND
    return {
        "users": {"rounds_each": users_per_round * rounds / population, "bytes_down": down, "bytes_up": up},
        "machines": {
            "1 CPU core (from measured rates)": machine(training=training, once=once),
            "1 GPU (estimated)": machine(training=users_per_round * on_a_gpu, summing=summed, once=once),
            "8 GPUs (estimated)": machine(training=users_per_round * on_a_gpu / 8, summing=summed / 8, once=once),
            "Flower federation (estimated)": machine(
                device=_DEVICE_SLOWER * update, network=network, adding=users_per_round * server["add"], once=once
            ),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--population", type=int, default=2_000_000)
    parser.add_argument("--users-per-round", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=2_000)
    parser.add_argument("--json", action="store_true", help="One object.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = (arguments.population, arguments.users_per_round, arguments.rounds)
    parameters = sum(one.numel() for one in workload("W1").networks.build().parameters())
    updates = {name: update_rates(name) for name in NAMES}
    server = server_rates(parameters, *plan[:2])
    result = table(*plan, updates["W1"]["update"], server, parameters)
    epsilon = PlannedRounds(1.0, plan[1], plan[0], plan[2]).epsilon()
    if arguments.json:
        print(json.dumps({"updates": updates, "server": server, "parameters": parameters, **result}))
        return
    for name, rates in updates.items():
        shares = (f"{rates[f'reading_{layout}'] / rates['update']:.1%} {layout}" for layout in ("groups", "packed"))
        print(f"{name}: {rates['update'] * 1000:.0f} ms a user, reading {', '.join(shares)}")
    once, each = ("draw", "release", "write"), ("contribution", "add")
    print(f"{parameters:,} parameters: " + ", ".join(f"{name} {server[name] * 1000:.2f} ms" for name in (*each, *once)))
    users = result["users"]
    print(
        f"{plan[1]:,} of {plan[0]:,} users a round, {plan[2]:,} rounds: {users['rounds_each']:.1f} rounds a user, "
        f"{users['bytes_down'] / 1e6:.1f} MB down and {users['bytes_up'] / 1e6:.1f} MB up in each; "
        f"epsilon {epsilon:.2f} at noise multiplier 1"
    )
    for name, one in result["machines"].items():
        parts = ", ".join(f"{part} {seconds:.3g} s" for part, seconds in one["parts"].items())
        print(f"{name}: {one['seconds_a_round']:.3g} s a round, {one['days']:.3g} days; {parts}")


if __name__ == "__main__":
    main()
