"""Makes each peer's virtual environment, or says why it cannot be had.

    python -m benchmarks.peers.environments --cache FOLDER [--peers pfl flower flsim fedjax]

What is named is pinned. torch comes first and alone, so that a build that is at hand is taken. What is there is left.
"""

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKLOADS = ("W1", "W2", "W3")
# W1 again with `CifgPlain` in the others' networks (plain.py). Measured where it is asked for.
W1_PLAIN = "W1-plain"
_TORCH = ["torch==2.13.0"]
_TWO_RANKS = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@dataclass(frozen=True)
class Peer:
    """What is installed for it, one after the other; what its interpreter is given; which workloads it can do.

    Where it cannot do all, `lacking` says why not.
    """

    packages: list[list[str]]
    command: list[str]
    workloads: tuple[str, ...] = WORKLOADS
    lacking: str = ""


PEERS = {
    "pfl": Peer([_TORCH, ["pfl==0.6.0"]], [*_TWO_RANKS, str(ROOT / "benchmarks/peers/pfl_rounds.py")]),
    "flower": Peer([_TORCH, ["flwr[simulation]==1.42.0"]], ["-m", "benchmarks.peers.flower_rounds"]),
    # Of what FLSim asks for, torchvision, which is for its examples, would bring a torch of its own.
    "flsim": Peer(
        [
            _TORCH,
            ["--no-deps", "flsim==0.1.0"],
            ["hydra-core==1.3.8", "opacus==1.6.0", "pandas==3.1.1", "scikit-learn==1.9.1", "tqdm==4.70.1"],
        ],
        [*_TWO_RANKS, str(ROOT / "benchmarks/peers/flsim_rounds.py")],
    ),
    # Later versions of jax lack names that FedJAX asks for.
    "fedjax": Peer(
        [_TORCH, ["fedjax==0.0.17", "jax==0.5.3", "jaxlib==0.5.3", "dm-haiku==0.0.14"]],
        ["-m", "benchmarks.peers.fedjax_rounds"],
        ("W3",),
        "it does not train torch's networks, and has one of its own for W3 alone",
    ),
}


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
    commands += [[*install, *packages] for packages in PEERS[peer].packages]
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
