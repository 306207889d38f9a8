"""Do two sets of synthetic samples differ? It never says why."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import hypergeom
from sklearn.ensemble import ExtraTreesClassifier

from fedprobe.modeler.mmd import Mmd, mmd_test

# Of a comparison, however many tests it is made of.
_LEVEL = 0.01
_TREES = 100


@dataclass(frozen=True)
class TwoSample:
    """Held-out accuracy of a classifier that tells the sets apart (0.5: it cannot), and the p-value of that.

    `mmd` is a second test of the same sets, which learns nothing; None where it was not made.
    """

    accuracy: float
    p_value: float
    held_out: int
    mmd: Mmd | None = None

    @property
    def differ(self) -> bool:
        """Whether chance alone would do as well in fewer than one of a hundred comparisons.

        Of two tests either will do, each at half that level (Bonferroni).
        """
        p_values = [self.p_value] if self.mmd is None else [self.p_value, self.mmd.p_value]
        return len(p_values) * min(p_values) < _LEVEL

    @property
    def apart(self) -> tuple[float, float]:
        """How far apart the sets are, to compare with other sets of one kind: accuracy soon has no more to say."""
        return (0.0 if self.mmd is None else self.mmd.squared, self.accuracy)

    def says(self) -> str:
        """The tests in one line for a person.

        Noise and seeds make the samples of two runs differ where the data do not, so that this alone is no news.
        """
        verdict = "the samples differ, as those of any two runs may" if self.differ else "no difference shown"
        chance = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"
        kernel = "" if self.mmd is None else f"; {self.mmd.says()}"
        return f"{verdict} (accuracy {self.accuracy:.2f} on {self.held_out} held out, {chance}{kernel})"

    def to_json(self) -> dict:
        mmd = None if self.mmd is None else self.mmd.to_json()
        return {"accuracy": self.accuracy, "p_value": self.p_value, "held_out": self.held_out, "mmd": mmd}


def two_sample_test(a: np.ndarray, b: np.ndarray, seed: int = 0) -> TwoSample:
    """Classifier two-sample test of samples `a` and `b` [n, ...], drawn independently of each other.

    Trees learn to tell the first halves apart and are tested on the second halves. Under the null hypothesis each order
    of the held-out samples is as likely as another, whatever the trees answer, so that how many of those that they take
    for b's are b's is hypergeometric: the p-value is that of all permutations of the held-out labels, and p <= t has a
    chance of at most t (Fisher's exact test). The classifier is drawn from `seed`. Source: Lopez-Paz and Oquab 2017,
    who take a normal approximation instead. Raises ValueError for sets of different size, or of fewer than 20.
    """
    if len(a) != len(b) or len(a) < 20:
        raise ValueError("a two-sample test takes two sets of one size, at least 20 each")
    half = len(a) // 2
    learn = np.concatenate([a[:half], b[:half]]).reshape(2 * half, -1)
    judge = np.concatenate([a[half:], b[half:]]).reshape(2 * (len(a) - half), -1)
    model = ExtraTreesClassifier(n_estimators=_TREES, random_state=seed)
    model.fit(learn, np.repeat([0, 1], half))
    a_taken, b_taken = model.predict(judge).reshape(2, -1).sum(axis=1)
    side = len(judge) // 2
    chance = float(hypergeom.sf(b_taken - 1, len(judge), side, a_taken + b_taken))
    return TwoSample(float(side - a_taken + b_taken) / len(judge), chance, len(judge))


def two_sample_tests(a: np.ndarray, b: np.ndarray, seed: int = 0) -> TwoSample:
    """Both tests of the same sets: `two_sample_test` and `mmd_test`. Raises ValueError as the former does."""
    return replace(two_sample_test(a, b, seed), mmd=mmd_test(a, b, seed=seed))
