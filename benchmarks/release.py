"""Seconds to add the noise to one released sum, on one core, and how many of its roundings float64 leaves open.

    python -m benchmarks.release [--noise-multiplier 1] [--coordinates 6553600] [--repeats 7] [--json]

The least of the repeats is what the machine can do; the median, what it did.
"""

import argparse
import json
import statistics
import time
from unittest import mock

import numpy as np

from fedprobe.privacy import noise
from fedprobe.privacy.mechanism import Mechanism


def measure(coordinates: int, noise_multiplier: float, repeats: int) -> dict[str, float]:
    """Least and median seconds of a release, and the mean number of pairs that needed more than float64."""
    mechanism, total = Mechanism(1.0, noise_multiplier), np.zeros(coordinates, dtype=np.int64)
    seconds = []
    with mock.patch.object(noise, "exact_pair", wraps=noise.exact_pair) as exact_pair:
        for _ in range(repeats):
            started = time.perf_counter()
            mechanism.release(total)
            seconds.append(time.perf_counter() - started)
    return {"least": min(seconds), "median": statistics.median(seconds), "exact_pairs": exact_pair.call_count / repeats}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--noise-multiplier", type=float, default=1.0)
    parser.add_argument("--coordinates", type=int, default=6_553_600)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments.coordinates, arguments.noise_multiplier, arguments.repeats)
    if arguments.json:
        print(json.dumps(result))
        return
    print(
        f"{arguments.coordinates:,} coordinates, noise multiplier {arguments.noise_multiplier:g}: "
        f"least {result['least']:.3f} s, median {result['median']:.3f} s, "
        f"{result['exact_pairs']:.0f} pairs evaluated with more digits"
    )


if __name__ == "__main__":
    main()
