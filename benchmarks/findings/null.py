"""Do the two-sample tests hold their level? Their p-values where nothing differs, against the uniform distribution.

    python -m benchmarks.findings.null runs/high --comparisons 1000

Each comparison draws two sets from the same generator, a run of `train-gan` of either kind, and makes the tests that
`compare` makes of them. A test holds its level where its p-values are not below uniform: the statistic of Kolmogorov
and Smirnov on that side, and its own p-value. A line a test.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kstest

from fedprobe.modeler.sampling import open_sampler, sample_images
from fedprobe.modeler.two_sample import two_sample_tests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("-n", "--count", type=int, default=40, help="samples a side")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator, started = open_sampler(arguments.run).generator, time.perf_counter()
    p_values = {"classifier": [], "MMD": []}
    for number in range(arguments.seed, arguments.seed + arguments.comparisons):
        sides = (sample_images(generator, arguments.count, number, side) for side in ("left", "right"))
        result = two_sample_tests(*sides, seed=number)
        p_values["classifier"].append(result.p_value)
        p_values["MMD"].append(result.mmd.p_value)
    print("| test | comparisons | p < 0.01 | p < 0.05 | p < 0.2 | below uniform by | p of that |")
    print("|---|---|---|---|---|---|---|")
    for test, its in p_values.items():
        below = kstest(its, "uniform", alternative="greater")
        shares = " | ".join(f"{np.mean(np.array(its) < level):.3f}" for level in (0.01, 0.05, 0.2))
        print(f"| {test} | {len(its)} | {shares} | {below.statistic:.3f} | {below.pvalue:.2f} |")
    print(f"\n{time.perf_counter() - started:.0f} seconds")


if __name__ == "__main__":
    main()
