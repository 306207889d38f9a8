"""fedprobe beside its peers, round by round in turns: ratios of seconds with intervals, and peak memory.

    python -m benchmarks.peers.compare [--cache FOLDER] [--rounds 10] [--workloads W1 W2 W3] [--write] [--short]

A peer whose environment is not under `--cache` (see environments.py), or that cannot do a workload, is left out, and
said to be. `--write` puts the table and the plot into benchmarks/README.md; `--short` checks that it runs, with a few
users and a round. On W1-plain the others take the CIFG's equations as they stand.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import readme
from benchmarks.peers.environments import PEERS, ROOT, W1_PLAIN, WORKLOADS, python_of
from benchmarks.peers.ratios import median_ratio
from benchmarks.peers.turns import Program

PLOT = ROOT / "benchmarks" / "peers.svg"
BARE = "bare loop"
_LIMIT_SECONDS = 900.0
_WARM_UP = 1


def commands(cache: Path, workload: str, rounds: int, users: int | None) -> dict[str, list[str]]:
    """What runs each simulator that can be had, fedprobe first."""
    few = [] if users is None else ["--users", str(users)]
    options = ["--workload", workload, "--rounds", str(rounds), *few]
    same = ["--workload", _fedprobes(workload), *options[2:]]
    ours = [sys.executable, "-m", "benchmarks.rounds", *same, "--json", "--no-memory", "--workers", "2"]
    found = {"fedprobe": ours, BARE: [sys.executable, "-m", "benchmarks.peers.bare_loop", *options]}
    for name, peer in PEERS.items():
        if _fedprobes(workload) in peer.workloads and (python := python_of(cache, name)):
            found[name] = [str(python), *peer.command, *options]
    return found


def _fedprobes(workload: str) -> str:
    """The workload that fedprobe does beside others' `workload`."""
    return "W1" if workload == W1_PLAIN else workload


def left_out(cache: Path, workloads: Sequence[str], peers: Sequence[str]) -> list[str]:
    """A line for each of `peers` that is not measured on all of `workloads`, which says why."""
    lines = []
    for name in (name for name in PEERS if name in peers):
        missing = [workload for workload in workloads if _fedprobes(workload) not in PEERS[name].workloads]
        if not python_of(cache, name):
            make = f"python -m benchmarks.peers.environments --cache {cache} --peers {name}"
            lines.append(f"{name} is left out, having no environment; make it with {make}")
        elif missing:
            lines.append(f"{name} is left out of {', '.join(missing)}: {PEERS[name].lacking}")
    return lines


def measure(cache: Path, workload: str, rounds: int, users: int | None, peers: Sequence[str]) -> dict[str, dict]:
    """Seconds of each of `rounds` rounds and peak memory in MB, by simulator.

    A round to warm up comes first; memory is looked at in a round of its own at the end, which is not timed.
    """
    every = commands(cache, workload, rounds + _WARM_UP + 2, users)
    chosen = {name: command for name, command in every.items() if name in ("fedprobe", *peers)}
    results = {name: {"seconds": [], "peak_mb": 0.0} for name in chosen}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        # What they leave behind when they are ended goes with the folder.
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": folder}
        programs = {}
        for number, (name, command) in enumerate(chosen.items()):
            programs[name] = stack.enter_context(Program(command, environment, Path(folder) / str(number)))
            for _ in range(_WARM_UP):
                programs[name].round(_LIMIT_SECONDS)
        for round in range(rounds):
            # Who goes first changes, so that what slows down for a while slows all of them.
            for name in list(programs) if round % 2 else list(reversed(programs)):
                results[name]["seconds"].append(programs[name].round(_LIMIT_SECONDS)[0])
        for name, program in programs.items():
            results[name]["peak_mb"] = program.round(_LIMIT_SECONDS, look_at_memory=True)[1]
    return results


def table(measured: dict[str, dict[str, dict]]) -> str:
    """Markdown: a row a workload and peer."""
    lines = [
        "| workload | beside | fedprobe s/round | its s/round | ratio | 95% interval | fedprobe MB | its MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for workload, results in measured.items():
        ours = results["fedprobe"]
        for name, theirs in results.items():
            if name == "fedprobe":
                continue
            ratio, low, high = median_ratio(ours["seconds"], theirs["seconds"])
            medians = (f"{statistics.median(result['seconds']):.2f}" for result in (ours, theirs))
            peaks = (f"{result['peak_mb']:,.0f}" for result in (ours, theirs))
            cells = [workload, name, *medians, f"{ratio:.2f}", f"{low:.2f} to {high:.2f}", *peaks]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(measured: dict[str, dict[str, dict]], path: Path) -> None:
    """The ratios with their intervals, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    rows = [
        (f"{workload} / {name}", *median_ratio(results["fedprobe"]["seconds"], theirs["seconds"]))
        for workload, results in measured.items()
        for name, theirs in results.items()
        if name != "fedprobe"
    ]
    figure, axes = pyplot.subplots(figsize=(6, 0.6 + 0.4 * len(rows)), layout="constrained")
    for position, (_, ratio, low, high) in enumerate(rows):
        axes.errorbar(ratio, position, xerr=[[ratio - low], [high - ratio]], fmt="o", color="#1f5f8b", capsize=3)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.invert_yaxis()
    axes.axvline(1, color="#888888", linewidth=1)
    axes.set_xlim(0, max(1.1, *(row[3] * 1.05 for row in rows)))
    axes.set_xlabel("fedprobe's seconds a round over the other's (95% interval)")
    pyplot.rcParams["svg.hashsalt"] = "fedprobe"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=ROOT / ".peers")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--workloads", nargs="+", choices=[*WORKLOADS, W1_PLAIN], default=list(WORKLOADS))
    choices = [*PEERS, BARE]
    parser.add_argument("--peers", nargs="+", choices=choices, default=choices, metavar="PEER", help=", ".join(choices))
    parser.add_argument("--short", action="store_true", help="One round of two users: only whether it runs.")
    parser.add_argument("--write", action="store_true", help="Into benchmarks/README.md.")
    parser.add_argument("--json", action="store_true", help="Every round's seconds, too.")
    arguments = parser.parse_args(options)
    # So that what it started ends with it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    rounds, users = (1, 2) if arguments.short else (arguments.rounds, None)
    for line in left_out(arguments.cache, arguments.workloads, arguments.peers):
        print(line, file=sys.stderr)
    measured = {}
    for workload in arguments.workloads:
        measured[workload] = measure(arguments.cache, workload, rounds, users, arguments.peers)
        if arguments.json:
            print(json.dumps({workload: measured[workload]}), flush=True)
    print(table(measured))
    if arguments.write:
        draw(measured, PLOT)
        pairs = f"{rounds} pairs of rounds, {readme.here()}."
        readme.write("peers", f"\n{pairs}\n\n{table(measured)}\n\n![Ratios with intervals]({PLOT.name})\n")


if __name__ == "__main__":
    main()
