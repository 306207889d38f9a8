"""What `unlike-public` selects (T6): letters, where the public images are digits; and what its generator shows.

    python -m benchmarks.bias femnist.h5 --epsilons 1 2 5 --seeds 5

66 writers are made public: their digits are what `train-density` knows, and all their images train a judge, a
classifier that nothing else sees. The others are the population: `select` decides on their devices which of their
images are rare among public digits, and `train-gan --method one-round` makes a generator of those, and one of all. It
looks at labels, which a modeler could not: the data set is a simulation.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from benchmarks.one_round import DELTA, PUBLIC_WRITERS, fedprobe
from fedprobe.clients.cohort_files import read_cohort
from fedprobe.clients.data.shards import open_dataset
from fedprobe.modeler.sampling import open_sampler, sample_images
from fedprobe.models.classifier import predict
from fedprobe.models.primary import load_primary
from fedprobe.privacy.randomness import key

DIGITS = 10
SAMPLES = 2000
TRUNCATIONS = (1.0, 0.5)


def prepare(shard: Path, folder: Path) -> None:
    """Split the writers, fit the density of public digits, and train the judge on all images of the public writers."""
    with h5py.File(shard) as source:
        examples = source["examples"]
        users = sorted(examples, key=lambda user: key(0, "public", user))
        whole = [user for user in users if examples[user].attrs.get("complete", True)]
        public = set(whole[:PUBLIC_WRITERS])
        for name, chosen in (("digits", public), ("judged", public), ("private", set(users) - public)):
            with h5py.File(folder / f"{name}.h5", "w", libver="latest") as target:
                target.create_group("examples")
                for user in sorted(chosen):
                    wanted = examples[user]["label"][...] < (DIGITS if name == "digits" else np.inf)
                    if wanted.any():
                        group = target["examples"].create_group(user)
                        for column in ("pixels", "label"):
                            group[column] = examples[user][column][...][wanted]
            fedprobe("init", folder / f"{name}.h5", "--kind", "simulation")
    fedprobe("train-density", folder / "digits.h5", "-o", folder / "density")
    judge = ["--classes", 62, "--merge-case", "--epochs", 6, "-o", folder / "judge"]
    said = fedprobe("train-classifier", folder / "judged.h5", *judge, "--test", folder / "private.h5")
    print(f"judge: accuracy {said['test_accuracy']:.3f} on the population\n")


def letters(folder: Path, images: np.ndarray) -> float:
    """The share of images in [0, 1] that the judge takes for letters."""
    judge, _ = load_primary(folder / "judge")
    return float((predict(judge, torch.from_numpy(images) * 2 - 1).argmax(1) >= DIGITS).double().mean())


def selected(folder: Path, shares: Sequence[float]) -> None:
    """Print what is selected, by true labels and by the judge's; a cohort file for each share is left in `folder`."""
    dataset = open_dataset([folder / "private.h5"])
    everything = dataset.read(range(len(dataset)))
    of_all = (everything.labels >= DIGITS).mean()
    print(f"population: {of_all:.1%} letters by label, {letters(folder, everything.pixels):.1%} by the judge")
    print("| public share | examples | users | letters by label | by the judge | of all letters | of all digits |")
    print("|---|---|---|---|---|---|---|")
    for share in shares:
        file = folder / f"unlike-{share:g}.json"
        asked = ["--cohort", "unlike-public", "--public", folder / "density", "--public-share", share]
        fedprobe("select", folder / "private.h5", *asked, "-o", file)
        members = read_cohort(file, dataset).members
        chosen = members.read(dataset, range(len(members)))
        true = chosen.labels >= DIGITS
        recall = true.sum() / (everything.labels >= DIGITS).sum()
        wrong = (~true).sum() / (everything.labels < DIGITS).sum()
        print(
            f"| {share:g} | {len(true):,} | {len(members)} | {true.mean():.1%} | {letters(folder, chosen.pixels):.1%} "
            f"| {recall:.1%} | {wrong:.1%} |"
        )


def generated(folder: Path, cohort: str, classes: int | None, epsilon: float, seed: int) -> list[float]:
    """The share of letters, by the judge, among the samples of a generator of the cohort, at each truncation it has."""
    run = Path(tempfile.mkdtemp(dir=folder)) / "run"
    release = ["--method", "one-round", "--target-epsilon", epsilon, "--delta", DELTA, "--workers", 1, "--seed", seed]
    by_class = [] if classes is None else ["--classes", classes]
    fedprobe("train-gan", folder / "private.h5", "--cohort", cohort, *release, *by_class, "-o", run)
    generator = open_sampler(run).generator
    return [
        letters(folder, sample_images(generator, SAMPLES, seed, truncation=truncation))
        for truncation in ((1.0,) if classes is None else TRUNCATIONS)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shard", type=Path)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.005, 0.01, 0.02, 0.05])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1.0, 2.0, 5.0])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shard = arguments.shard.resolve()
    # What init writes into the folder it is run in, and fedprobe.toml of this one, stay out of it.
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        folder = Path(temporary).resolve()
        prepare(shard, folder)
        selected(folder, sorted({*arguments.shares, 0.01}))
        print("\n| labels | truncation | epsilon | letters in samples of unlike-public | in samples of all |")
        print("|---|---|---|---|---|")
        for classes in (None, 62):
            for epsilon in arguments.epsilons:
                sides = []
                for cohort in (str(folder / "unlike-0.01.json"), "random"):
                    shares = [generated(folder, cohort, classes, epsilon, seed) for seed in range(arguments.seeds)]
                    sides.append([f"{np.mean(one):.1%} ± {np.std(one):.1%}" for one in np.array(shares).T])
                for truncation, one, other in zip(TRUNCATIONS, *sides, strict=False):
                    said = f"{classes or 'none'} | {truncation:g} | {epsilon:g} | {one} | {other}"
                    print(f"| {said} |", flush=True)


if __name__ == "__main__":
    main()
