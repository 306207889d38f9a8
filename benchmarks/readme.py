"""The README's places for what a benchmark measured: between a mark's begin and its end."""

import os
import re
from datetime import date
from pathlib import Path

README = Path(__file__).parent / "README.md"

_CPU = Path("/proc/cpuinfo")


def here(cpu: Path = _CPU) -> str:
    """Where and when something is measured: cores, processor (Linux tells it), day."""
    told = cpu.read_text() if cpu.exists() else ""
    model = re.search(r"^model name\s*: (.+)$", told, re.MULTILINE)
    vectors = "with" if re.search(r"\bavx512f\b", told) else "without"
    named = f" of an {model[1].strip()} {vectors} AVX-512" if model else ""
    return f"{os.cpu_count()} cores{named}, no GPU, {date.today()}"


def write(mark: str, text: str, readme: Path | None = None) -> None:
    """Put `text` between the markers of `mark`. Raises ValueError where the README has no such place."""
    readme = readme or README
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before = readme.read_text()
    if before.count(begin) != 1 or before.count(end) != 1:
        raise ValueError(f"{readme} has no place for the table; put {begin} and {end} into it")
    head, rest = before.split(begin)
    readme.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}")
