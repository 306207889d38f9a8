"""Makes each peer's virtual environment, or says why it cannot be had.

    python -m benchmarks.peers.environments --cache FOLDER [--peers pfl]

Versions are pinned. torch comes first and alone, so that a build that is at hand is taken. What is there is left.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

# What is installed, one after the other.
PEERS = {"pfl": [["torch==2.13.0"], ["pfl==0.6.0"]]}


def python_of(cache: Path, peer: str) -> Path | None:
    """The interpreter of a peer's environment, or None where it was not made."""
    python = cache / peer / "bin" / "python"
    return python if (cache / peer / ".installed").exists() and python.exists() else None


def make(cache: Path, peer: str) -> str | None:
    """Make the environment of `peer`; return why that failed, or None."""
    if python_of(cache, peer):
        return None
    folder = cache / peer
    shutil.rmtree(folder, ignore_errors=True)
    commands = [[sys.executable, "-m", "venv", str(folder)]]
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    commands += [[*install, *packages] for packages in PEERS[peer]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
            return said[-1] if said else f"{command[-1]} could not be installed"
    (folder / ".installed").touch()
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    for peer in options.peers:
        failed = make(options.cache, peer)
        print(f"{peer}: {failed or 'installed'}", flush=True)


if __name__ == "__main__":
    main()
