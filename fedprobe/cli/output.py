"""What a command prints and where: results on stdout, progress and hints on stderr, JSON as one object."""

import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedprobe.modeler.printable import one_line

_SECONDS_BETWEEN_LINES = 10
_INDENT = 11


class Output:
    """The streams of one command. `as_json` leaves stdout to a single object; `quiet` leaves stderr to errors.

    `verbose` says the whole of what goes with an epsilon.
    """

    def __init__(
        self, as_json: bool = False, quiet: bool = False, no_progress: bool = False, verbose: bool = False
    ) -> None:
        self.as_json = as_json
        self.verbose = verbose and not quiet
        self.quiet = quiet
        self.stdout = Console(highlight=False, emoji=False)
        self.stderr = Console(stderr=True, highlight=False, emoji=False)
        self.bars = self.stderr.is_terminal and not no_progress and not quiet
        self.lines = not self.bars and not no_progress and not quiet

    def row(self, name: str, text: str) -> None:
        """One named line of a result, `text` wrapped under itself."""
        if self.as_json:
            return
        width = max(20, self.stdout.width - _INDENT)
        for number, line in enumerate(textwrap.wrap(one_line(text), width) or [""]):
            self.stdout.print(f"{'' if number else name:<{_INDENT}}{line}".rstrip(), markup=False, soft_wrap=True)

    def statement(self, statement: object, whole: bool = False) -> None:
        """An epsilon with what must be said beside it: the `whole` where it is asked for, one line if quiet."""
        full = whole or self.verbose
        for number, line in enumerate(
            [statement.line()] if self.quiet else statement.lines() if full else statement.brief()
        ):
            self.row("" if number else "epsilon", line)

    def print(self, renderable: object = "") -> None:
        """Anything Rich can show, on stdout."""
        if not self.as_json:
            self.stdout.print(renderable)

    def hint(self, text: str) -> None:
        """A remark or the next command, on stderr, under the text of the rows."""
        if not self.quiet:
            self.stderr.print(" " * _INDENT + one_line(text), markup=False, soft_wrap=True)

    def detail(self, text: str) -> None:
        """What only `--verbose` shows, on stderr."""
        if self.verbose:
            self.stderr.print(f"  {text}", markup=False, soft_wrap=True)

    def object(self, value: dict) -> None:
        """The command's JSON, on stdout."""
        if self.as_json:
            print(json.dumps(value, indent=2))

    @contextmanager
    def waiting(self, what: str, by_line: bool = True) -> Iterator[None]:
        """Show that something goes on, and not how far it is, of how much, or since when: each would tell.

        On private data the time that it takes is a figure like any other. Without `by_line` only a terminal shows it:
        where a line would stand before that of an error.
        """
        if self.lines and by_line:
            self.stderr.print(f"  {what}", soft_wrap=True)
        if not self.bars:
            yield
            return
        columns = (TextColumn("  {task.description}"), BarColumn(bar_width=30))
        with Progress(*columns, console=self.stderr) as bar:
            bar.add_task(what, total=None)
            yield

    @contextmanager
    def progress(
        self, what: str, total: int, unit: str, note: str = "", start: int = 0, rates: bool = True
    ) -> Iterator[Callable[[int], None]]:
        """Yield a function to be told how much of `total` is done: a bar on a terminal, a line at times elsewhere.

        `start` is what had been done before, which does not count for the rate. Without `rates` nothing says
        how fast it goes or how long it takes.
        """
        if self.bars:
            columns = (
                TextColumn("  {task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                *((TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True), TextColumn("left")) * rates),
                TextColumn(note),
            )
            with Progress(*columns, console=self.stderr, transient=False) as bar:
                started = time.monotonic()
                task = bar.add_task(what, total=total, completed=start, rate="")

                def advance(done: int) -> None:
                    rate = (done - start) / max(1e-9, time.monotonic() - started)
                    bar.update(task, completed=done, rate=f"{rate:.3g} {unit}/s")

                yield advance
            return
        started = time.monotonic()
        said = started

        def advance(done: int) -> None:
            nonlocal said
            now = time.monotonic()
            if self.lines and (done == total or now - said >= _SECONDS_BETWEEN_LINES):
                said = now
                rate = (done - start) / max(1e-9, now - started)
                left = f"{(total - done) / rate:.0f} s left" if done < total else f"{now - started:.0f} s"
                speed = f", {rate:.3g} {unit}/s, {left}" if rates else ""
                self.stderr.print(f"  {what} {done}/{total} {unit}{speed} {note}".rstrip(), soft_wrap=True)

        yield advance


def error(message: str, code: int, as_json: bool) -> None:
    """One line on stderr, or one JSON object there; the hint is what follows the last semicolon or full stop."""
    if as_json:
        value = {"schema": "fedprobe.error/1", "code": code, "message": message, "hint": _hint(message)}
        print(json.dumps(value), file=sys.stderr)
        return
    word = {4: "refused", 5: "failed"}.get(code, "error")
    Console(stderr=True, highlight=False, emoji=False).print(
        f"{word}: {one_line(message)}", markup=False, soft_wrap=True
    )


def _hint(message: str) -> str | None:
    for separator in (". ", "; ", ": "):
        _, found, hint = message.rpartition(separator)
        if found:
            return hint
    return None
