"""Rounds of one run over time: which checkpoints to show, and what each draws from the same latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedprobe.errors import RequestError
from fedprobe.modeler.sampling import open_sampler, sample_images
from fedprobe.runs import Run, find

MOST_ROUNDS = 6
FRAMES = 12


@dataclass(frozen=True)
class Strip:
    """What one checkpoint draws from latents that all checkpoints of the run share: [n, C, H, W]."""

    round: int
    images: np.ndarray


def spread_checkpoints(run: Run, most: int = MOST_ROUNDS) -> list[Path]:
    """The folders of at most `most` checkpoints by round, the first and the last among them, evenly spread."""
    folders = run.checkpoints()
    places = np.linspace(0, len(folders) - 1, min(most, len(folders))).round().astype(int)
    return [folders[place] for place in places]


def rounds_of(path: Path) -> list[Path]:
    """`spread_checkpoints` of the run at `path`. Raises RequestError where there are fewer than two to show."""
    run, checkpoint = find(path)
    if checkpoint is not None:
        raise RequestError(f"{path} is one round of a run; give the run, {run.path}")
    folders = spread_checkpoints(run)
    if len(folders) < 2:
        raise RequestError(f"{path} has fewer than two checkpoints, so nothing moves; give a run of more rounds")
    return folders


def film_strip(folders: Sequence[Path], count: int = FRAMES, seed: int = 0) -> list[Strip]:
    """What each checkpoint of one run draws from the same `count` latents. Raises as `open_sampler` does."""
    samplers = map(open_sampler, folders)
    return [Strip(sampler.round, sample_images(sampler.generator, count, seed)) for sampler in samplers]
