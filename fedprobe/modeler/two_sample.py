"""Do two sets of synthetic samples differ? It never says why."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from sklearn.ensemble import ExtraTreesClassifier


@dataclass(frozen=True)
class TwoSample:
    """Held-out accuracy of a classifier that tells the sets apart (0.5: it cannot), and the p-value of that."""

    accuracy: float
    p_value: float
    held_out: int

    @property
    def differ(self) -> bool:
        """Whether chance alone would do as well in fewer than one of a hundred comparisons."""
        return self.p_value < 0.01

    def says(self) -> str:
        """The test in one line for a person."""
        verdict = "the sets differ" if self.differ else "no difference shown"
        chance = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"
        return f"{verdict} (accuracy {self.accuracy:.2f} on {self.held_out} held out, {chance})"


def two_sample_test(a: np.ndarray, b: np.ndarray, seed: int = 0) -> TwoSample:
    """Classifier two-sample test of samples `a` and `b` [n, ...], drawn independently of each other.

    Trees learn to tell the first halves apart and are tested on the second halves. Under the null hypothesis the
    number of right answers on 2 n' held-out samples is at most as spread out as Binomial(2 n', 1/2) (the sides' sizes
    are fixed: Hoeffding 1956), so that binomial's p-value is valid.
    The classifier is drawn from `seed`. Source: Lopez-Paz and Oquab 2017. Raises ValueError for sets of different
    size, or of fewer than 20.
    """
    if len(a) != len(b) or len(a) < 20:
        raise ValueError("a two-sample test takes two sets of one size, at least 20 each")
    half = len(a) // 2
    learn = np.concatenate([a[:half], b[:half]]).reshape(2 * half, -1)
    judge = np.concatenate([a[half:], b[half:]]).reshape(2 * (len(a) - half), -1)
    model = ExtraTreesClassifier(n_estimators=100, random_state=seed)
    model.fit(learn, np.repeat([0, 1], half))
    held_out = len(judge)
    right = int((model.predict(judge) == np.repeat([0, 1], held_out // 2)).sum())
    return TwoSample(right / held_out, float(binomtest(right, held_out, alternative="greater").pvalue), held_out)
