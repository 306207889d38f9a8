"""What else has to be fast, one after the other: bookkeeping, the CIFG layer, reading, noise, accounting, selection.

    python -m benchmarks.rest [--only release accounting] [--short] [--write]

Each runs as a command of its own and says what it measured. `--write` puts that into benchmarks/README.md; `--short`
checks that they run, on little.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import readme

# What each is given in the short form.
BENCHMARKS = {
    "overheads": ["--workloads", "W3", "--rounds", "1", "--users", "2"],
    "cifg": ["--steps", "1"],
    "packed": ["--users", "1000", "--read", "20"],
    "release": ["--coordinates", "1000", "--repeats", "1"],
    "accounting": ["--noise-multipliers", "1", "--accountants", "rdp"],
    "selection": ["--users", "50", "--kinds", "text"],
}


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--short", action="store_true", help="Only whether they run.")
    parser.add_argument("--write", action="store_true", help="Into benchmarks/README.md.")
    arguments = parser.parse_args(options)
    told = []
    for name in arguments.only:
        given = BENCHMARKS[name] if arguments.short else []
        command = [sys.executable, "-m", f"benchmarks.{name}", *given]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        told.append(f"$ python -m benchmarks.{name}\n{result.stdout.rstrip()}")
        print(told[-1], flush=True)
    if arguments.write:
        readme.write("rest", "\n".join(["", f"{readme.here()}.", "", "```", "\n\n".join(told), "```", ""]))


if __name__ == "__main__":
    main()
