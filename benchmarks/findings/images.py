"""The bug zoo of images: which finding comes first, before against after each rehearsed bug, and without any.

    python -m benchmarks.findings.images femnist.h5 --seeds 3 --nulls 20
    python -m benchmarks.findings.images mnist.h5 --classes 10 --bugs drop-class shift-labels --seeds 3 --nulls 20

All users of a shard take part once before the bug and once after it, each time in one release at the whole epsilon, as
`train-gan --method one-round` does. `data corrupt` makes the struck copies. A line a bug and seed: the first finding,
its strength, what else was found. Pairs without a bug are two releases of the same healthy users. `--before 0.2` makes
the first sum that of a fifth of the users, whose mean is that of all: so that nothing but noise differs.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fedprobe.clients.data.corrupt import corrupt_users
from fedprobe.clients.data.image_bugs import USER_BUGS
from fedprobe.clients.data.shards import open_dataset
from fedprobe.clients.embedding import MeanEmbeddingUpdate
from fedprobe.clients.selection import Members
from fedprobe.modeler.image_causes import findings
from fedprobe.modeler.sampling import ImageSampler, Release, generator_of, sample_images
from fedprobe.modeler.symptoms import with_symptoms
from fedprobe.models.classifier import Classifier
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.primary import load_primary
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.privacy.planning import solve
from fedprobe.privacy.population import register
from fedprobe.runs import Run
from fedprobe.server.one_round_presets import PRESETS, OneRoundTraining

DELTA = 1e-6
SAMPLES = 500
# What each bug is called by the findings.
RIGHT = {
    "invert-pixels": "inversion",
    **dict.fromkeys(("brighten", "darken"), "brightness"),
    "low-contrast": "contrast",
    "gamma": "gamma",
    "flip-horizontal": "horizontal-flip",
    "flip-vertical": "vertical-flip",
    **dict.fromkeys(("rotate-90", "rotate-180", "rotate-15"), "rotation"),
    "translate": "translation",
    **dict.fromkeys(("shrink", "enlarge"), "scale"),
    "blur": "blur",
    **dict.fromkeys(("block", "cut-off"), "blocked-region"),
    "stuck-pixels": "stuck-pixels",
    "quantise": "quantisation",
    "jpeg": "compression",
    **dict.fromkeys(("noise", "speckle"), "noise"),
    "drop-class": "class-missing",
    "repeat-class": "class-over-represented",
    **dict.fromkeys(("shift-labels", "swap-labels"), "label-confusion"),
}


def summed(shard: Path, config: EmbeddingConfig) -> np.ndarray:
    """The sum of all users' vectors, before noise."""
    dataset = open_dataset([shard])
    members = Members(np.arange(len(dataset)))
    return MeanEmbeddingUpdate(dataset, members, config, Mechanism(1.0, 0.0))({}, range(len(members)), 1)


def sampler(total: np.ndarray, config: EmbeddingConfig, training: OneRoundTraining, name: str) -> ImageSampler:
    """A release of a sum, with fresh noise, and the generator fitted to it."""
    noise = training.noise_multiplier
    released = torch.from_numpy(Mechanism(1.0, noise).release(total))
    algorithm = training.algorithm(config, 0, "cpu")
    generator = generator_of(config, algorithm.apply(algorithm.init(), released, 1)[0].tensors())
    return ImageSampler(Run(Path(name)), 1, generator, Release(released, noise))


def found(before: ImageSampler, after: ImageSampler, seed: int, primary: Classifier | None = None) -> Sequence:
    """What `compare` finds between the two; `primary` adds what it confuses where the two have labels."""
    names = ("before", "after")
    drawn = [sample_images(one.generator, SAMPLES, seed, side) for one, side in ((before, "left"), (after, "right"))]
    causes = findings(before, after, drawn, names, seed)
    if primary is None or before.caution:
        return causes
    return with_symptoms(causes, before, after, ((), ()), 0, primary, names, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shard", type=Path)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--epsilon", type=float, default=4.0)
    parser.add_argument("--bugs", nargs="*", choices=list(USER_BUGS), help="default: all that do not need --classes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nulls", type=int, default=20)
    parser.add_argument("--before", type=float, default=1.0, help="the share of users whose sum comes first")
    parser.add_argument("--exchanged", action="store_true", help="the side with the bug comes first")
    parser.add_argument("--primary", type=Path, help="a run of train-classifier; adds what it confuses (--classes)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = {"users_per_round": 1, "population": 1, "rounds": 1, "participation": "every-user", "delta": DELTA}
    noise = solve("noise-multiplier", target_epsilon=arguments.epsilon, **plan).noise_multiplier
    training = OneRoundTraining(noise, arguments.classes, PRESETS["quick"].coefficients)
    bugs = arguments.bugs
    if bugs is None:
        bugs = [name for name, bug in USER_BUGS.items() if bug.labels is None or arguments.classes]
    primary = None if arguments.primary is None else load_primary(arguments.primary)[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shard = folder / "healthy.h5"
        shard.symlink_to(arguments.shard.resolve())
        register([shard], "simulation")
        dataset = open_dataset([shard])
        config = training.networks(dataset.shape)
        everybody = summed(shard, config)
        healthy = (everybody * arguments.before).astype(np.int64)
        print(
            "| bug | release | first finding | strength | right | also found | seconds |\n|---|---|---|---|---|---|---|"
        )
        right = 0
        for bug in bugs:
            (copy,), _ = corrupt_users(dataset, folder / f"{bug}.h5", bug, None, 0)
            broken = summed(copy, config)
            copy.unlink()
            for seed in range(arguments.seeds):
                started = time.perf_counter()
                sides = [sampler(healthy, config, training, "before"), sampler(broken, config, training, "after")]
                result = found(*(sides[::-1] if arguments.exchanged else sides), seed, primary)
                first = result[0] if result else None
                right += first is not None and first.name == RIGHT[bug]
                strength = "" if first is None else f"{first.strength:.2f} ± {first.margin:.2f}"
                print(
                    f"| {bug} | {seed} | {'none' if first is None else first.name} | {strength} "
                    f"| {'yes' if first is not None and first.name == RIGHT[bug] else 'NO'} "
                    f"| {', '.join(one.name for one in result[1:])} | {time.perf_counter() - started:.0f} |",
                    flush=True,
                )
        silent = 0
        for seed in range(arguments.nulls):
            pair = [sampler(healthy, config, training, "before"), sampler(everybody, config, training, "after")]
            result = found(*(pair[::-1] if arguments.exchanged else pair), seed, primary)
            silent += not result
            if result:
                print(f"without a bug, pair {seed}: {', '.join(one.name for one in result)}", flush=True)
        print(f"\nright: {right} of {len(bugs) * arguments.seeds}; without a bug silent: {silent} of {arguments.nulls}")


if __name__ == "__main__":
    main()
