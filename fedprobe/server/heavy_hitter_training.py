"""Everything that decides a release of heavy hitters, and the numbers to start from."""

from dataclasses import dataclass, replace

from fedprobe.privacy.partition_selection import MOST_THRESHOLD_DELTA, PartitionSelection
from fedprobe.server.algorithms.heavy_hitters import HeavyHitters, OpenDomain
from fedprobe.server.hyperparameters import require_in_range

# Of a plan's delta, for the threshold, which is lowest near it at any epsilon from 0.25 to 4; a quarter makes 1% of it.
SHARE_OF_DELTA = 0.5
# So many that most users name all of their words outside a vocabulary of 10,000: then no luck of the order is in what
# is found. Tuned on public text with the bug of joined tokens; benchmarks/heavy_hitters.py measures it.
WORDS_PER_USER = 100


@dataclass(frozen=True)
class HeavyHitterTraining:
    """The numbers of `train-charlm --method one-round`, spelled as its options are.

    `threshold_delta` None: SHARE_OF_DELTA of the plan's, see `at_delta`. Every user takes part in the one round; the
    clip norm is 1, the norm of her weights.
    """

    # Epsilon 1 at a delta of 1e-6.
    noise_multiplier: float = 4.37
    words_per_user: int = WORDS_PER_USER
    threshold_delta: float | None = None
    users_per_round: int | None = None
    rounds: int = 1
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        require_in_range(self, at_least_one=("words_per_user", "rounds"), below_one=())

    def at_delta(self, delta: float) -> "HeavyHitterTraining":
        """The same with the share of a plan's `delta` that its threshold takes. Raises ValueError where that is all."""
        if self.threshold_delta is not None and self.threshold_delta >= delta:
            raise ValueError(f"--threshold-delta must be below the plan's delta, {delta:.3g}: noise takes some, too")
        if self.threshold_delta is not None:
            return self
        return replace(self, threshold_delta=min(MOST_THRESHOLD_DELTA, SHARE_OF_DELTA * delta))

    @property
    def mechanism(self) -> PartitionSelection:
        """Raises ValueError for numbers that it cannot have, or before `at_delta`."""
        if self.threshold_delta is None:
            raise ValueError("how much the threshold takes of delta is not decided yet")
        return PartitionSelection(self.words_per_user, self.noise_multiplier, self.threshold_delta)

    def networks(self) -> OpenDomain:
        return OpenDomain()

    def algorithm(self, config: OpenDomain, seed: int, device: str) -> HeavyHitters:
        return HeavyHitters()
