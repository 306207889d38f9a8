"""What the primary model makes of two sides' images: labels that it confuses on one of them, classes that it misses.

These are symptoms: it may be confused by labels that were exchanged, or by images that something else happened to.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import false_discovery_control, fisher_exact

from fedprobe.modeler.findings.finding import Finding, difference_of_shares
from fedprobe.modeler.findings.shown import ShownImages, shown_by_label

Images = Callable[[int], tuple[np.ndarray, np.ndarray]]

# Among what is found at most this share is chance, over all pairs of a label and a guess.
_RATE = 0.01
# Two generators of one kind of data differ a little, too: a finding needs more than that.
LEAST_DIFFERENCE = 0.4
# A class is missing where it comes in less than this share of what it is on the other side.
_MISSING = 0.1
_SAID = 4

# Shapes: K labels that images were drawn for, G guesses, counts of images.


def label_confusion(
    a_KG: np.ndarray, b_KG: np.ndarray, a_name: str, b_name: str, images: Images | None = None
) -> Finding | None:
    """Whether images drawn for a label are taken for another one on one side, and not on the other.

    `a_KG` and `b_KG` count the guesses about images of each label, which is the guess that would be right; `images` are
    some of a label, of both sides. Each pair is tested by Fisher's exact test, with the false-discovery rate controlled
    over all of them (Benjamini and Hochberg 1995), and needs a difference of more than 0.4 as well, at 95% over all
    pairs together. Strength is the largest difference with that interval.
    """
    found = _confused(a_KG, b_KG, a_name, b_name)
    if not found:
        return None
    (strength, low, high), _, _, name, other_name = max(found, key=lambda one: one[0][0])
    told = sorted((one for one in found if one[3] == name), key=lambda one: -one[0][0])
    mine, theirs = (b_KG, a_KG) if name == b_name else (a_KG, b_KG)
    shares = [
        f"{label} as {guess} in {_share(mine, label, guess):.0%} ({other_name}: {_share(theirs, label, guess):.0%})"
        for _, label, guess, _, _ in told[:_SAID]
    ]
    more = f", and {len(told) - _SAID} pairs more" if len(told) > _SAID else ""
    return Finding(
        "label-confusion",
        strength,
        low,
        high,
        f"the primary model takes {name}'s images of {_listed(told)}, and {other_name}'s it does not",
        f"of the images drawn for a label it sees {', '.join(shares)}{more}",
        _shown(told, images, (a_name, b_name)),
        symptom=True,
    )


def confused_labels(a_KG: np.ndarray, b_KG: np.ndarray) -> set[int]:
    """The labels that `label_confusion` would be about."""
    return {label for _, label, _, _, _ in _confused(a_KG, b_KG, "a", "b")}


def _confused(a_KG: np.ndarray, b_KG: np.ndarray, a_name: str, b_name: str) -> list[tuple]:
    pairs = [(label, guess) for label, guess in np.argwhere(a_KG + b_KG) if label != guess]
    sides = (b_KG, a_KG, b_name, a_name), (a_KG, b_KG, a_name, b_name)
    return [one for side, other, name, other_name in sides for one in _risen(side, other, pairs, name, other_name)]


def _shown(told: Sequence[tuple], images: Images | None, names: tuple[str, str]) -> ShownImages | None:
    if images is None:
        return None
    return shown_by_label(images, dict.fromkeys(label for _, label, _, _, _ in told), names)


def class_findings(a_G: Sequence[int], b_G: Sequence[int], a_name: str, b_name: str) -> list[Finding]:
    """Classes that the primary model hardly sees any more on B, and those that it sees far more often; `a_G`, `b_G`
    count its guesses about samples of each side. Tests and intervals as for `label_confusion`."""
    a_1G, b_1G = np.array([a_G]), np.array([b_G])
    classes = [(0, guess) for guess in np.flatnonzero(a_1G[0] + b_1G[0])]
    findings = []
    for name, side, other in (("class-missing", a_1G, b_1G), ("class-over-represented", b_1G, a_1G)):
        found = sorted(_risen(side, other, classes, a_name, b_name, 0.0), key=lambda one: -one[0][0])
        missing = name == "class-missing"
        kept = [one for one in found if _is_worth_it(one, missing, side, other)]
        if not kept:
            continue
        (strength, low, high), _, guess, _, _ = kept[0]
        shares = ", ".join(
            f"{guess}: {_share(b_1G, 0, guess):.1%} of {b_name}'s, {_share(a_1G, 0, guess):.1%} of {a_name}'s"
            for _, _, guess, _, _ in kept[:_SAID]
        )
        what = "hardly sees" if missing else "sees far more of"
        says = f"the primary model {what} class {guess} in {b_name}'s images"
        findings.append(Finding(name, strength, low, high, says, f"as which it sees samples: {shares}", symptom=True))
    return findings


def _is_worth_it(one: tuple, missing: bool, side: np.ndarray, other: np.ndarray) -> bool:
    (_, low, _), label, guess, _, _ = one
    if missing:
        return _share(other, label, guess) < _MISSING * _share(side, label, guess)
    return low > LEAST_DIFFERENCE


def _risen(
    side: np.ndarray,
    other: np.ndarray,
    pairs: Sequence[tuple[int, int]],
    name: str,
    other_name: str,
    least: float = LEAST_DIFFERENCE,
) -> list[tuple]:
    """The pairs that `side` has clearly more of: the difference with its interval, label, guess, and both names."""
    if not pairs:
        return []
    tables = []
    for label, guess in pairs:
        hits = [int(counts[label, guess]) for counts in (side, other)]
        tables.append([hits[0], int(side[label].sum()), hits[1], int(other[label].sum())])
    chances = [
        fisher_exact([[hits, count - hits], [base, base_count - base]], alternative="greater").pvalue
        for hits, count, base, base_count in tables
    ]
    found = []
    for pair, chance, table in zip(pairs, false_discovery_control(chances), tables, strict=True):
        difference = difference_of_shares(*table, confidence=1 - 0.05 / len(pairs))
        if chance < _RATE and difference[1] > least:
            found.append((difference, int(pair[0]), int(pair[1]), name, other_name))
    return found


def _share(counts_KG: np.ndarray, label: int, guess: int) -> float:
    return counts_KG[label, guess] / counts_KG[label].sum()


def _listed(told: Sequence[tuple]) -> str:
    said = [f"{label} for {guess}" for _, label, guess, _, _ in told[:_SAID]]
    more = f" and {len(told) - _SAID} more" if len(told) > _SAID else ""
    return f"{', '.join(said)}{more}"
