"""Demo shards of real English: the docstrings of the Python packages installed here, one user a module.

Nothing is downloaded. The text differs between versions of what is installed; it is as public as those packages are.
"""

import ast
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py

from fedprobe.clients.data.writing import new_shard
from fedprobe.clients.text import TOKENIZERS
from fedprobe.errors import RequestError

LEAST_SENTENCES = 20
MOST_SENTENCES = 200
_MOST_BYTES = 500_000
# Where a sentence ends: a full stop, question or exclamation mark before a blank, or an empty line.
_ENDS = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
# Prose, not code, tables or signatures: letters, and the punctuation of sentences.
_PROSE = re.compile(r"[A-Za-z][A-Za-z0-9 ,;:'’()\-]*[.!?]")
_WORDS = range(3, 51)
_LEFT_OUT = {"test", "tests", "_vendor"}


def write_demo_text(
    path: Path, users: int, sentences: int, on_users: Callable[[int], None] = lambda users: None
) -> tuple[int, int]:
    """Write one shard with at least `users` modules and `sentences` sentences; return how many of each there are.

    A module is a user if it has 20 sentences of prose or more, of which the first 200 count. The standard library
    comes first, then other packages, until there is enough. Raises RequestError if `path` is there already, or what
    is installed has not enough docstrings.
    """
    done = total = 0
    with new_shard(path) as file:
        examples = file.create_group("examples")
        for module in _modules():
            if done >= users and total >= sentences:
                break
            texts = _prose(module)
            if len(texts) < LEAST_SENTENCES:
                continue
            done, total = done + 1, total + len(texts)
            group = examples.create_group(f"module_{done:05d}")
            tokens = [" ".join(TOKENIZERS["words"](text)) for text in texts]
            group.create_dataset("text", data=texts, dtype=h5py.string_dtype())
            group.create_dataset("tokens", data=tokens, dtype=h5py.string_dtype())
            if done <= users:
                on_users(done)
        if done < users or total < sentences:
            raise RequestError(f"what is installed has docstrings for {done} users only; ask for fewer --users")
    return done, total


def _modules() -> Iterator[Path]:
    """Python files of the standard library, then of other packages, without tests; in alphabetical order."""
    folders = (("stdlib", {*_LEFT_OUT, "site-packages", "dist-packages"}), ("purelib", _LEFT_OUT))
    for name, left_out in folders:
        folder = Path(sysconfig.get_path(name))
        yield from (
            file for file in sorted(folder.rglob("*.py")) if left_out.isdisjoint(file.relative_to(folder).parts)
        )


def _prose(module: Path) -> list[str]:
    """The first sentences of a module's docstrings, blanks made single."""
    try:
        if module.stat().st_size > _MOST_BYTES:
            return []
        with warnings.catch_warnings():
            # Old escapes in other people's code.
            warnings.simplefilter("ignore")
            tree = ast.parse(module.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
    sentences = (" ".join(part.split()) for text in docstrings if text for part in _ENDS.split(text))
    kept = (one for one in sentences if _PROSE.fullmatch(one) and len(one.split()) in _WORDS)
    return list(dict.fromkeys(kept))[:MOST_SENTENCES]
