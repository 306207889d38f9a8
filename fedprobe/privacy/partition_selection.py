"""Partition selection: the Gaussian mechanism on words that nobody listed beforehand, released above a threshold.

Weighted Gaussian of Gopi et al., "Differentially Private Set Union", ICML 2020 (arXiv 2002.09745), on an integer grid.

**Proof.** Let D' be D and one user more, with at most k words of the same weight 1/sqrt(m), m <= k. Let T be those of
them that nobody in D has, and t = |T| <= m. On the words of D the sums differ by a vector of L2 norm at most 1, so
that there the release is the Gaussian mechanism (with what is at most the threshold left out: post-processing, as is
the order, which words and noised sums alone decide). A word of T is hers alone: its sum is 1/sqrt(m) <= 1/sqrt(t). With
tau >= 1/sqrt(t) + z Phi^-1((1 - d)^(1/t)), each of them stays at or below tau with probability (1 - d)^(1/t) or more,
and all of them, as their noises are independent, with 1 - d or more. Noise on T is independent of that on other words.
So but for a probability of d the release on D' is that of a Gaussian mechanism on the words of D, which is all there
is on D; what d costs, in both directions and composed, is argued at `accountants.epsilon`. k is public, t is not:
tau is the largest over all t <= k.

**On the grid.** A weight is rounded down to it, and tau up. A word is released if sum + round(y) > tau, y the real
Gaussian; then y > tau - sum, so that no word is likelier to be released than with real numbers.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from fedprobe.privacy import noise
from fedprobe.privacy.mechanism import CLIP_STEPS

# A threshold is never to take more than this of delta, whatever the plan's delta.
MOST_THRESHOLD_DELTA = 1e-6
# Below it a threshold is beyond all words, and beyond 64 bits.
LEAST_THRESHOLD_DELTA = 1e-100
# So that thresholds stay exact to many digits, and a contribution short.
MOST_WORDS_PER_USER = 10_000
_ROUNDING = 1 + 2.0**-40


@dataclass(frozen=True)
class PartitionSelection:
    """Sums over users of their words' weights, with Gaussian noise of standard deviation z, where above `threshold`.

    A user names at most `words_per_user` (k) distinct words; each of her m words weighs 1/sqrt(m), so that she moves
    the sums by at most 1 in L2 norm. `noise_multiplier` is z; `threshold_delta` is the chance, at most, that a release
    shows any word that one user alone has.
    *Guarantee:* `release` is one Gaussian event of noise multiplier z but for a probability of `threshold_delta`: an
    event with that `threshold_delta`, every user taking part.
    *Assumes:* k, z and `threshold_delta` are public numbers; which words a user names depends on her own data and
    public numbers alone. With z = 0 nothing is protected, which only a simulation may ask for.
    """

    words_per_user: int
    noise_multiplier: float
    threshold_delta: float

    def __post_init__(self) -> None:
        if not 1 <= self.words_per_user <= MOST_WORDS_PER_USER:
            raise ValueError(f"words per user must lie between 1 and {MOST_WORDS_PER_USER:,}")
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier >= 0):
            raise ValueError("the noise multiplier must be finite and not negative")
        if not LEAST_THRESHOLD_DELTA <= self.threshold_delta <= MOST_THRESHOLD_DELTA:
            raise ValueError(
                f"the threshold's delta must lie between {LEAST_THRESHOLD_DELTA:g} and {MOST_THRESHOLD_DELTA:g}"
            )
        noise.require_within(self.noise_multiplier * CLIP_STEPS)

    @property
    def threshold(self) -> float:
        """tau, in units of a user."""
        return threshold(self.words_per_user, self.noise_multiplier, self.threshold_delta)

    def contribution(self, words: Sequence[str]) -> Counter[str]:
        """One user's `words`, what she would rather name first, as weights on the grid (in steps of 1 / CLIP_STEPS).

        Repetitions and what is more than k words are left out.
        *Guarantee:* the L2 norm is at most CLIP_STEPS, that is 1: m w^2 <= CLIP_STEPS^2 in integers.
        """
        named = list(dict.fromkeys(words))[: self.words_per_user]
        weight = math.isqrt(CLIP_STEPS**2 // max(1, len(named)))
        return Counter(dict.fromkeys(named, weight))

    def release(self, total: Mapping[str, int]) -> np.ndarray:
        """Add noise to the sums `total` of all users' contributions; return what is above the threshold, as bytes [B].

        The bytes (uint8) are a `ReleasedWords`. *Guarantee:* see the class. *Assumes:* called once for an event that
        was reserved, on a sum of `contribution`s of every user once.
        """
        words = list(total)
        noised = np.fromiter((total[word] for word in words), np.int64, len(words))
        if self.noise_multiplier > 0:
            noised += noise.gaussian(len(words), self.noise_multiplier * CLIP_STEPS)
        above = np.flatnonzero(noised > math.ceil(self.threshold * CLIP_STEPS))
        # The order that words came in says who came first, and goes no further.
        ranked = sorted((-int(noised[place]), words[place]) for place in above)
        return ReleasedWords(
            tuple(word for _, word in ranked), tuple(-steps / CLIP_STEPS for steps, _ in ranked)
        ).to_bytes()


def threshold(words_per_user: int, noise_multiplier: float, threshold_delta: float) -> float:
    """max over t <= k of 1/sqrt(t) + z Phi^-1((1 - d)^(1/t)), rounded up (d: `threshold_delta`).

    Source: Gopi et al. 2020, the threshold of their Gaussian mechanisms, with d for their delta/2.
    """
    t = np.arange(1, words_per_user + 1)
    # 1 - (1 - d)^(1/t), without the digits that 1 - d loses.
    tails = -np.expm1(np.log1p(-threshold_delta) / t)
    return float((1 / np.sqrt(t) + noise_multiplier * norm.isf(tails)).max()) * _ROUNDING


@dataclass(frozen=True)
class ReleasedWords:
    """Words above the threshold, by falling noised `weights` (in units of a user); all that a release shows.

    Post-processing may do with it what it likes.
    """

    words: tuple[str, ...]
    weights: tuple[float, ...]

    def to_bytes(self) -> np.ndarray:
        """UTF-8 JSON as an array (uint8 [B]): it goes where the noised vectors of other methods go."""
        text = json.dumps({"words": self.words, "weights": self.weights})
        return np.frombuffer(text.encode(), np.uint8).copy()

    @classmethod
    def from_bytes(cls, table: np.ndarray) -> "ReleasedWords":
        """What `to_bytes` wrote. Raises ValueError for anything else."""
        value = json.loads(np.asarray(table, np.uint8).tobytes())
        if not isinstance(value, dict) or value.keys() != {"words", "weights"}:
            raise ValueError("not a table of released words")
        words, weights = value["words"], value["weights"]
        right = (
            isinstance(words, list)
            and isinstance(weights, list)
            and len(words) == len(weights)
            and all(isinstance(word, str) for word in words)
            and all(isinstance(weight, float) and math.isfinite(weight) for weight in weights)
        )
        if not right:
            raise ValueError("not a table of released words")
        return cls(tuple(words), tuple(weights))
