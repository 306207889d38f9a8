"""Whether what was drawn as a digit is taken for that digit (T5): `export` against a classifier of other writers.

    python -m benchmarks.labelling mnist.h5 --epsilons 1 2 5 10 --seeds 3

An eighth of the writers train a judge, which nothing else sees; the others are the population. Of each release
`export` draws 100 images a digit, and says how often the judge takes them for what they were drawn as.
"""

import argparse
import contextlib
import tempfile
from pathlib import Path

import h5py
import numpy as np

from benchmarks.one_round import CLASSES, DELTA, HELD_OUT, fedprobe
from fedprobe.privacy.randomness import key

COUNT = 100


def prepare(shard: Path, folder: Path) -> None:
    """Split the writers, and train the judge on some of them."""
    with h5py.File(shard) as source:
        users = sorted(source["examples"])
        held_out = {user for user in users if key(0, "held out", user) < HELD_OUT * 2**63}
        for name, chosen in (("judged", held_out), ("private", set(users) - held_out)):
            with h5py.File(folder / f"{name}.h5", "w", libver="latest") as target:
                examples = target.create_group("examples")
                for user in sorted(chosen):
                    source["examples"].copy(user, examples)
            fedprobe("init", folder / f"{name}.h5", "--kind", "simulation")
    judge = ["--classes", CLASSES, "--epochs", 6, "-o", folder / "judge"]
    said = fedprobe("train-classifier", folder / "judged.h5", *judge, "--test", folder / "private.h5")
    print(f"judge of {len(held_out)} writers: accuracy {said['test_accuracy']:.3f} on the population\n")


def agreed(folder: Path, epsilon: float, seed: int, truncations: list[float]) -> list[float]:
    """How often the judge agrees, at each truncation."""
    run = Path(tempfile.mkdtemp(dir=folder)) / "run"
    release = ["--method", "one-round", "--target-epsilon", epsilon, "--delta", DELTA, "--workers", 1, "--seed", seed]
    fedprobe("train-gan", folder / "private.h5", *release, "--classes", CLASSES, "-o", run)
    found = []
    for truncation in truncations:
        asked = ["-n", COUNT, "--truncation", truncation, "--seed", seed, "-o", run.parent / f"out-{truncation:g}"]
        found.append(fedprobe("export", run, "--primary", folder / "judge", *asked)["agreement"]["value"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shard", type=Path)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1.0, 2.0, 5.0, 10.0])
    parser.add_argument("--truncations", type=float, nargs="+", default=[0.5, 0.7, 1.0])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    shard = arguments.shard.resolve()
    # What init writes into the folder it is run in, and fedprobe.toml of this one, stay out of it.
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        folder = Path(temporary).resolve()
        prepare(shard, folder)
        print("| epsilon | truncation | the judge agrees | each seed |")
        print("|---|---|---|---|")
        for epsilon in arguments.epsilons:
            found = [agreed(folder, epsilon, seed, arguments.truncations) for seed in range(arguments.seeds)]
            for truncation, rates in zip(arguments.truncations, np.array(found).T, strict=True):
                each = ", ".join(f"{rate:.3f}" for rate in rates)
                print(f"| {epsilon:g} | {truncation:g} | {rates.mean():.3f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
