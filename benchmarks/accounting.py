"""Seconds that accountants take for the paper's plan, 10 of 425 users in each of 1,000 rounds, at delta 1e-6.

python -m benchmarks.accounting [--noise-multipliers 1 0.5] [--accountants rdp pld prv] [--json]
"""

import argparse
import json
import time
from collections.abc import Sequence

from fedprobe.privacy import accountants
from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.events import SampledGaussian

DELTA = 1e-6


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--noise-multipliers", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--accountants", nargs="+", choices=["rdp", "pld", "prv"], default=["rdp", "pld", "prv"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(options)
    for noise_multiplier in arguments.noise_multipliers:
        plan = [SampledGaussian(noise_multiplier, 10 / 425, 1000)]
        for accountant in arguments.accountants:
            # What is imported at the first use is not the accountant's work.
            epsilon([SampledGaussian(2.0, 0.01, 1)], DELTA, accountant)
            # Nor is what another accountant was asked before.
            accountants._rdp.cache_clear()
            started = time.perf_counter()
            bound = epsilon(plan, DELTA, accountant).value
            line = {"noise_multiplier": noise_multiplier, "accountant": accountant, "epsilon": round(bound, 4)}
            line["sec"] = round(time.perf_counter() - started, 3)
            told = "z = {noise_multiplier:g}, {accountant}: epsilon {epsilon:.3f} in {sec:.2f} s".format(**line)
            print(json.dumps(line) if arguments.json else told, flush=True)


if __name__ == "__main__":
    main()
