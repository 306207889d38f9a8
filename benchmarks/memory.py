"""Peak memory of `train-gan` on few and on many users: how much of it grows with the population.

    python -m benchmarks.memory [--users 1000 1000000] [--json]

Proportional set size of the command and its workers, looked at every twentieth of a second. Synthetic packed users of
five images of 8 x 8 each, two rounds of ten users with noise, and without (where the seed decides who takes part).
Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.packed import write_packed

_SECONDS_BETWEEN_LOOKS = 0.05
# The commands run in a folder of their own, and this very fedprobe, not one that is installed.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}


def tree_mb(process: int) -> float:
    """The proportional set size in MB of a process and all below it; those that end meanwhile count as nothing."""
    folder = Path(f"/proc/{process}")
    try:
        below = [int(child) for task in folder.glob("task/*/children") for child in task.read_text().split()]
        rows = dict(line.split(":") for line in (folder / "smaps_rollup").read_text().splitlines()[1:])
    except (OSError, ValueError):
        return 0.0
    return int(rows["Pss"].split()[0]) / 1024 + sum(map(tree_mb, below))


def peak_mb(command: list[str], folder: Path) -> tuple[float, float]:
    """The peak of a fedprobe command in `folder` in MB, and its seconds. Raises CalledProcessError where it fails."""
    started, peak = time.perf_counter(), 0.0
    fedprobe = [sys.executable, "-m", "fedprobe", *command]
    with subprocess.Popen(fedprobe, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, tree_mb(process.pid))
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak, time.perf_counter() - started


def measure(users: int, noise_multiplier: float, workers: int) -> dict[str, float]:
    """What two rounds on so many users take."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_packed(folder / "users.h5", users)
        peak_mb(["init", "users.h5", "--kind", "simulation", "--quiet"], folder)
        plan = ["--users-per-round", "10", "--rounds", "2", "--noise-multiplier", str(noise_multiplier)]
        command = ["train-gan", "users.h5", *plan, "--workers", str(workers), "--quiet"]
        peak, seconds = peak_mb([*command, "-o", "run"], folder)
    return {"users": users, "noise_multiplier": noise_multiplier, "peak_mb": round(peak, 1), "sec": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, nargs="+", default=[1_000, 1_000_000])
    parser.add_argument("--noise-multipliers", type=float, nargs="+", default=[1.0, 0.0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="One object a line.")
    arguments = parser.parse_args()
    for noise_multiplier in arguments.noise_multipliers:
        for users in arguments.users:
            result = measure(users, noise_multiplier, arguments.workers)
            noise = f"noise multiplier {noise_multiplier:g}"
            line = f"{users:>9,} users, {noise}: peak {result['peak_mb']:.0f} MB, {result['sec']:.0f} s"
            print(json.dumps(result) if arguments.json else line, flush=True)


if __name__ == "__main__":
    main()
