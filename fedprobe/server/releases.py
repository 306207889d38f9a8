"""Noised sums on their way to the model, kept beside the data until a checkpoint holds what they did.

Each is written before it is applied, so that a crash loses neither it nor the round that it cost: a resumed run
applies it again. What is here was released through the wall, and applying it twice is post-processing.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedprobe.errors import FedprobeError


class ReleaseError(FedprobeError):
    """A noised sum cannot be written or read back."""

    exit_code = 2


@dataclass(frozen=True)
class Releases:
    """The noised mean updates of one run, by round, in `folder`; float32 [P] each, or uint8 [B], a table of words."""

    folder: Path

    def write(self, round: int, mean_update_P: np.ndarray) -> np.ndarray:
        """Write the mean update of `round`, durably, whole or not at all; return it as it will be read back."""
        kept = mean_update_P if mean_update_P.dtype == np.uint8 else mean_update_P.astype(np.float32)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{round:06d}.temporary"
        with temporary.open("wb") as file:
            np.save(file, kept)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path(round))
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return kept

    def read(self, round: int) -> np.ndarray | None:
        """The mean update of `round`, or None if it was never written."""
        path = self._path(round)
        if not path.exists():
            return None
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ReleaseError(f"the noised sum {path} is damaged; remove it, and the round is charged anew") from error

    def waiting_after(self, round: int) -> int:
        """How many rounds that follow `round` without a gap are written."""
        number = 0
        while self._path(round + number + 1).exists():
            number += 1
        return number

    def forget_through(self, round: int) -> None:
        """Remove those of rounds up to `round`, which a checkpoint holds."""
        for path in self.folder.glob("[0-9]*.npy"):
            if int(path.stem) <= round:
                path.unlink()

    def forget(self) -> None:
        """Remove all of them: the run is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, round: int) -> Path:
        return self.folder / f"{round:06d}.npy"
