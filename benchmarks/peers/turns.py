"""Programs that do rounds, taking turns: all but one are stopped, and a round is timed from outside.

A program prints a JSON line when a round ends. It goes on, for a moment, with its next round before it is stopped; that
moment is of the order of a millisecond, and the same for all. Linux only.
"""

import os
import selectors
import signal
import subprocess
import time
from pathlib import Path

from benchmarks.memory import tree_mb

_SECONDS_BETWEEN_LOOKS = 0.1


class TurnError(Exception):
    """A program ended, or took too long, before its round did."""


class Program:
    """A command that prints a line a round, stopped but for its turns. Use it as `with Program(...) as program`."""

    def __init__(self, command: list[str], environment: dict[str, str], errors: Path) -> None:
        self._errors = errors
        with errors.open("w") as file:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file
            )

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def round(self, limit: float, look_at_memory: bool = False) -> tuple[float, float]:
        """One round: its seconds, and the most proportional set size that was seen in it, in MB (0: not looked at).

        Raises TurnError.
        """
        most = 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            started = time.perf_counter()
            self._signal(signal.SIGCONT)
            while not selector.select(_SECONDS_BETWEEN_LOOKS if look_at_memory else limit):
                most = max(most, tree_mb(self._process.pid))
                if time.perf_counter() - started > limit:
                    raise TurnError(f"no round within {limit:g} s")
            seconds = time.perf_counter() - started
        line = self._process.stdout.readline()
        self._signal(signal.SIGSTOP)
        if not line:
            said = [line for line in self._errors.read_text().splitlines() if line.strip()]
            raise TurnError(f"it ended before its rounds did: {said[-1].strip() if said else 'it did not say why'}")
        return seconds, most

    def _signal(self, number: int) -> None:
        for process in _tree(self._process.pid):
            try:
                os.kill(process, number)
            except ProcessLookupError:
                pass


def _tree(process: int) -> list[int]:
    """A process and all below it."""
    children: list[int] = []
    for task in Path(f"/proc/{process}").glob("task/*/children"):
        try:
            children += map(int, task.read_text().split())
        except OSError:
            # That thread has ended meanwhile.
            continue
    return [process, *(below for child in children for below in _tree(child))]
