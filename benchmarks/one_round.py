"""What one release shows, by epsilon: inverted handwriting (`hunt`), and digits by label (`digits`).

    python -m benchmarks.one_round hunt femnist.h5 --epsilons 1 --bugs 0.5 0 --seeds 20
    python -m benchmarks.one_round digits mnist.h5 --epsilons 1 2 5 10 --seeds 3

`hunt` runs fedprobe's own commands in this process. 66 writers are made public and train the primary model; of the
others `data corrupt` inverts a share, `train-gan --method one-round` makes a generator of the users below and one of
those above public thresholds, each at the whole epsilon, as their cohorts exclude each other, and `compare` says what
it finds. A line a share and epsilon: in how many seeds the finding is `inversion`, how dark both sides are.

`digits` trains a small convolutional network on labelled synthetic images of a generator with classes, and tests it on
real ones of writers who had no part in it (train on synthetic, test on real), beside the same network trained on real
images of the others.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedprobe.cli.main import main as command
from fedprobe.clients.data.shards import open_dataset
from fedprobe.clients.embedding import MeanEmbeddingUpdate
from fedprobe.clients.selection import Members
from fedprobe.modeler.sampling import generator_of, sample_images
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.privacy.planning import solve
from fedprobe.privacy.randomness import key
from fedprobe.server.one_round_presets import PRESETS, OneRoundTraining

PUBLIC_WRITERS = 66
DELTA = 1e-6
# Quartiles of the public primary's accuracy over healthy writers are 0.68 and 0.86 or so: fixed before any bug.
BELOW, ABOVE = 0.68, 0.86
HELD_OUT = 0.125
SYNTHETIC = 1000
CLASSES = 10


def fedprobe(*arguments: object) -> dict:
    """Run a command with --json; return what it prints. Raises RuntimeError where it fails."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command([*map(str, arguments), "--json"])
    except SystemExit as stopped:
        if stopped.code:
            raise RuntimeError(f"fedprobe {arguments[0]}: {err.getvalue()}") from stopped
    return json.loads(out.getvalue() or "null")


def prepare(shard: Path, folder: Path) -> None:
    """Split the writers into public and private ones, and train the primary model on the public ones."""
    with h5py.File(shard) as source:
        users = sorted(source["examples"], key=lambda user: key(0, "public", user))
        whole = [user for user in users if source["examples"][user].attrs.get("complete", True)]
        public = set(whole[:PUBLIC_WRITERS])
        for name, chosen in (("public", public), ("private", set(users) - public)):
            with h5py.File(folder / f"{name}.h5", "w", libver="latest") as target:
                examples = target.create_group("examples")
                for user in sorted(chosen):
                    source["examples"].copy(user, examples)
            fedprobe("init", folder / f"{name}.h5", "--kind", "simulation")
    classifier = ["--classes", 62, "--merge-case", "--epochs", 6, "-o", folder / "primary"]
    said = fedprobe("train-classifier", folder / "public.h5", *classifier, "--test", folder / "private.h5")
    print(f"primary model of {len(public)} public writers: accuracy {said['test_accuracy']:.3f} on the others\n")


def hunt(folder: Path, share: float, epsilon: float, seed: int) -> dict:
    """One hunt; returns whether it finds inversion, and where."""
    torch.set_num_threads(1)
    here = Path(tempfile.mkdtemp(dir=folder))
    shard = here / "broken.h5"
    started = time.perf_counter()
    if share:
        bug = ["--bug", "invert-pixels", "--users", share, "--seed", seed]
        fedprobe("data", "corrupt", folder / "private.h5", shard, *bug)
    else:
        shutil.copy(folder / "private.h5", shard)
        fedprobe("init", shard, "--kind", "simulation")
    seconds = {}
    for name, side in (("low", ["--below", BELOW]), ("high", ["--above", ABOVE])):
        cohort = ["--cohort", f"{name}-accuracy", *side, "--primary", folder / "primary"]
        release = ["--method", "one-round", "--target-epsilon", epsilon, "--delta", DELTA, "--workers", 1]
        run = ["-o", here / name, "--seed", seed]
        said = fedprobe("train-gan", shard, *cohort, *release, *run)
        seconds[name] = said["seconds"]
    said = fedprobe("compare", here / "high", here / "low", "--seed", seed, "-o", here / "both.png")
    charged = said["privacy"]["epsilon"]
    found = {finding["name"]: finding["says"] for finding in said["findings"]}
    shown = folder / f"share-{share:g}-epsilon-{epsilon:g}-seed-{seed}.png"
    shutil.move(here / "both.png", shown)
    shutil.rmtree(here)
    return {
        "share": share,
        "epsilon": charged,
        "found": "low looks like high with" in found.get("inversion", ""),
        "wrongly": "high looks like low with" in found.get("inversion", ""),
        "ink": [run["mean_ink"]["value"] for run in said["runs"]],
        "fit_seconds": max(seconds.values()),
        "seconds": time.perf_counter() - started,
    }


def hunts(shard: Path, shares: Sequence[float], epsilons: Sequence[float], seeds: int, folder: Path, processes: int):
    """Print the table of `hunt`."""
    prepare(shard, folder)
    print("| inverted writers | epsilon | found | wrongly | ink of high | ink of low | release and fit | whole hunt |")
    print("|---|---|---|---|---|---|---|---|")
    # Not a pool of multiprocessing, whose processes may start none of their own, as commands do.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for share in shares:
            for epsilon in epsilons:
                results = list(pool.map(partial(hunt, folder, share, epsilon), range(seeds)))
                high, low = np.array([one["ink"] for one in results]).T
                count = {name: sum(one[name] for one in results) for name in ("found", "wrongly")}
                print(
                    f"| {share:.0%} | {max(one['epsilon'] for one in results):.2f} | {count['found']} of {seeds} "
                    f"| {count['wrongly']} of {seeds} | {high.mean():.2f} ± {high.std():.2f} "
                    f"| {low.mean():.2f} ± {low.std():.2f} "
                    f"| {np.median([one['fit_seconds'] for one in results]):.0f} s "
                    f"| {np.median([one['seconds'] for one in results]):.0f} s |",
                    flush=True,
                )


def network() -> nn.Module:
    """Two convolutions and two dense layers, for digits."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ReLU()),
        *(nn.Flatten(), nn.LazyLinear(64), nn.ReLU(), nn.Linear(64, CLASSES)),
    )


def accuracy(images: Tensor, labels: Tensor, real: Tensor, real_labels: Tensor, seed: int) -> float:
    """Train on the first, test on the second."""
    torch.manual_seed(seed)
    model, batch = network(), 100
    model(images[:2])
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    steps = 4 * (len(images) // batch)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, steps)
    for _ in range(4):
        for some in torch.randperm(len(images)).split(batch):
            loss = functional.cross_entropy(model(images[some]), labels[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return float((model.eval()(real).argmax(1) == real_labels).float().mean())


def digits(shard: Path, epsilons: Sequence[float], seeds: int) -> None:
    """Print the table of train on synthetic, test on real."""
    torch.set_num_threads(1)
    dataset = open_dataset([shard])
    held_out = np.array([key(0, "held out", user) < HELD_OUT * 2**63 for user in dataset.users])

    def of(users: np.ndarray) -> tuple[Tensor, Tensor]:
        batch = dataset.read(np.flatnonzero(users).tolist())
        return 1 - torch.from_numpy(batch.pixels), torch.from_numpy(batch.labels)

    real, members = of(held_out), Members(np.flatnonzero(~held_out))
    own = of(~held_out)
    few = torch.randperm(len(own[0]), generator=torch.Generator().manual_seed(0))[: CLASSES * SYNTHETIC]
    print(f"{len(members)} writers, {held_out.sum()} held out with {len(real[0])} images")
    print(f"trained on {len(few)} real images: {accuracy(own[0][few], own[1][few], *real, 0):.3f}\n")
    print("| epsilon | noise multiplier | accuracy | each seed | release and fit |")
    print("|---|---|---|---|---|")
    preset = PRESETS["quick"]
    config = OneRoundTraining(1.0, CLASSES, preset.coefficients).networks(dataset.shape)
    # The sum does not depend on the noise.
    started = time.perf_counter()
    total = MeanEmbeddingUpdate(dataset, members, config, Mechanism(1.0, 0.0))({}, range(len(members)), 1)
    summed = time.perf_counter() - started
    once = {"users_per_round": 1, "population": 1, "rounds": 1, "participation": "every-user", "delta": DELTA}
    for epsilon in [*epsilons, None]:
        noise = 0.0 if epsilon is None else solve("noise-multiplier", target_epsilon=epsilon, **once).noise_multiplier
        results = []
        for seed in range(seeds):
            started = time.perf_counter()
            algorithm = OneRoundTraining(noise, CLASSES, preset.coefficients).algorithm(config, seed, "cpu")
            released = torch.from_numpy(Mechanism(1.0, noise).release(total))
            generator = generator_of(config, algorithm.apply(algorithm.init(), released, 1)[0].tensors())
            fitted = time.perf_counter() - started
            images = [1 - sample_images(generator, SYNTHETIC, seed, f"class {k}", k) for k in range(CLASSES)]
            labels = torch.arange(CLASSES).repeat_interleave(SYNTHETIC)
            results.append(accuracy(torch.from_numpy(np.concatenate(images)), labels, *real, seed))
        each = ", ".join(f"{one:.3f}" for one in results)
        name = "no noise" if epsilon is None else f"{epsilon:g}"
        mean, spread = np.mean(results), np.std(results, ddof=1) if seeds > 1 else 0.0
        print(f"| {name} | {noise:.3g} | {mean:.3f} ± {spread:.3f} | {each} | {summed + fitted:.0f} s |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=("hunt", "digits"))
    parser.add_argument("shard", type=Path)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1.0])
    parser.add_argument("--bugs", type=float, nargs="+", default=[0.5, 0.0], help="shares of writers that are inverted")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="a new folder, to keep the pictures in [default: a temporary one]")
    arguments = parser.parse_args()
    if arguments.study == "digits":
        digits(arguments.shard, arguments.epsilons, arguments.seeds)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        shard, inside = arguments.shard.resolve(), folder.resolve()
        # What init writes into the folder it is run in, and fedprobe.toml of this one, stay out of it.
        with contextlib.chdir(inside):
            hunts(shard, arguments.bugs, arguments.epsilons, arguments.seeds, inside, arguments.processes)


if __name__ == "__main__":
    main()
