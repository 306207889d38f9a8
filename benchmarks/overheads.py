"""What a round's bookkeeping takes: ledger, written releases, metrics and a checkpoint every 50 rounds, as a share.

    python -m benchmarks.overheads [--workloads W1 W2 W3] [--rounds 5] [--json]

Each is timed where it happens, in rounds that do it all; the last round's checkpoint counts as a fiftieth.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from unittest import mock

from benchmarks import workloads
from fedprobe.privacy import ledger
from fedprobe.runs import Run
from fedprobe.server.releases import Releases

CHECKPOINT_EVERY = 50
_BOOKKEEPING = {
    "ledger": [(ledger.Rounds, "open"), (Run, "open_round")],
    "releases": [(Releases, "read"), (Releases, "write")],
    "metrics": [(Run, "log")],
    "checkpoint": [(Run, "checkpoint"), (Releases, "forget_through")],
}


def _timed(method: Callable, seconds: list[float]) -> Callable:
    def timed(*arguments, **keywords):
        started = time.perf_counter()
        try:
            return method(*arguments, **keywords)
        finally:
            seconds.append(time.perf_counter() - started)

    return timed


def measure(workload: str, rounds: int, users: int | None = None) -> dict[str, float]:
    """The median seconds of a round, and the mean seconds that each kind of bookkeeping takes of it."""
    spent: dict[str, list[float]] = {name: [] for name in _BOOKKEEPING}
    lines: list[dict] = []
    with ExitStack() as stack:
        for name, methods in _BOOKKEEPING.items():
            for owner, method in methods:
                timed = _timed(getattr(owner, method), spent[name])
                stack.enter_context(mock.patch.object(owner, method, timed))
        workloads.run(workload, rounds, lines.append, users=users, look_at_memory=False)
    # One round warms up, and it is kept in the ledger as the others are.
    result = {name: sum(seconds) / (rounds + 1) for name, seconds in spent.items()}
    result["checkpoint"] = sum(spent["checkpoint"]) / CHECKPOINT_EVERY
    # The last round has the checkpoint in it.
    round = statistics.median(line["sec"] for line in lines[: max(1, rounds - 1)])
    return {"round": round, **result, "share": sum(result.values()) / round}


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=workloads.NAMES, default=list(workloads.NAMES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--users", type=int, help="Users a round, for a quick look.")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(options)
    for workload in arguments.workloads:
        result = measure(workload, arguments.rounds, arguments.users)
        if arguments.json:
            print(json.dumps({"workload": workload, **result}), flush=True)
            continue
        parts = ", ".join(f"{name} {1000 * result[name]:.1f} ms" for name in _BOOKKEEPING)
        print(f"{workload}: {100 * result['share']:.2f}% of a round of {result['round']:.2f} s ({parts})", flush=True)


if __name__ == "__main__":
    main()
