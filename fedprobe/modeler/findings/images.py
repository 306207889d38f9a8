"""Which cause explains best how one side's images differ from the other's.

Each cause is tried on samples of A: what it does to their mean vector (`models/embedding.py`) is the direction in which
B's would differ from A's, had it struck. The share that it struck follows by least squares in the metric in which the
error of the difference is white, and the cause that explains most is named. Everything is post-processing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from scipy.stats import norm
from torch import Tensor

from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.image_causes import Cause, causes
from fedprobe.modeler.findings.image_patterns import patterns, relabellings
from fedprobe.modeler.findings.profile import Difference, Looked, Profile
from fedprobe.modeler.findings.shown import Samples, ShownImages
from fedprobe.modeler.findings.undoing import shown_images, shown_labels
from fedprobe.models.embedding import Features
from fedprobe.models.image_details import TONES, compressed, decompressed, tones_of

# The chance, over all causes that are tried, that noise alone explains itself so well.
_LEAST_CHANCE = 1e-4
# A cause that explains less than this share of the difference is not what happened, however clear the difference is: of
# what is surely there of it, which is so many standard deviations less than what is seen.
_LEAST_EXPLAINED = 0.4
_SURELY_MORE = 2.0
# Places are made to fit, so that they explain a part of any difference.
_LEAST_BY_PLACES = 0.6
_PLACES = ("blocked-region", "stuck-pixels")
_LEAST_SHARE = 0.1
# A further cause must explain this share of what the first one left, where that is this share of all.
_LEAST_OF_REST = 0.6
_REST = 0.2
# Of two causes that explain about as much the one that struck all images is simpler than one that struck some.
_SIMPLER = 0.1
# An empty image is a part of whatever images have less of than others: of two causes that explain about as much, or all
# but a little of what is more than noise, it is the other one.
_ERASING = 0.3
# Seen from B's side the causes count where they explain so much more.
_CLEARLY_MORE = 0.1
# Causes that change how light images are explain much of one another: among those that explain about as much as the
# best one does, grey values decide, which are known better than how samples' shapes answer to them.
_LIGHT = ("brightness", "contrast", "gamma", "quantisation")
_ABOUT_AS_MUCH = 0.8
# So many standard deviations of what chance leaves.
_CLEARLY_LEFT = 5.0


@dataclass(frozen=True)
class Proxies:
    """Samples of A to try causes on: [n, C, H, W] in [0, 1] and their labels [n], if A's generator has classes."""

    images: Tensor
    labels: Tensor | None


@dataclass(frozen=True)
class Explanation:
    """A cause, the share of the images that it would have struck and its standard error.

    `direction` [Q] is the difference that it makes when it strikes all; `gain` how much of the difference, squared and
    in units of its error, goes away with it; `explained` that as a share of all that is more than chance. `labels` are
    those that a cause of labels is about.
    """

    name: str
    says: str
    share: float
    error: float
    gain: float
    explained: float
    direction: Tensor
    cause: Cause | None
    labels: tuple[int, ...] = ()


def explanations(a: Profile, b: Profile, proxies: Proxies, looked: Looked) -> list[Explanation]:
    """Every cause that was tried, the one that explains most first."""
    with torch.inference_mode():
        directions = list(_directions(a, b, proxies, looked))
        return _ranked(Difference.of(a, b), directions, looked)


@dataclass(frozen=True)
class Account:
    """What happened to one side's images, seen from the other's.

    `gain` is what the first finding explains, in units of the error, and `excess` all that is more than chance.
    """

    findings: Sequence[Finding]
    gain: float
    excess: float

    @property
    def is_whole(self) -> bool:
        """Whether no other account could explain clearly more."""
        return self.gain >= (1 - _CLEARLY_MORE) * self.excess > 0

    def or_else(self, other: "Account") -> "Account":
        """This one, unless the `other` explains clearly more."""
        return other if other.gain > (1 + _CLEARLY_MORE) * self.gain else self


def account_of(
    a: Profile,
    b: Profile,
    proxies: Proxies,
    looked: Looked,
    a_name: str,
    b_name: str,
    inverted: Finding | None = None,
    samples: Samples | None = None,
) -> Account:
    """What happened to B's images, seen from A's: the clearest cause first; none where no cause is clear.

    A cause is reported where noise alone would explain itself as well in fewer than one of 10,000 comparisons (over all
    causes together, Bonferroni), it explains at least 40% (60% where it is places that are always alike) of what the
    sides surely differ by, and has struck at least a tenth of the images; a further one where it explains most of what
    is left. Strength is that share, with its 95% interval. `inverted` is the finding of an inversion by samples, which
    takes the place of that by means, as unsure as that one is. `samples` of both show what was found.
    """
    difference, found, gain = Difference.of(a, b), [], 0.0
    with torch.inference_mode():
        directions = list(_directions(a, b, proxies, looked))
        # What is left of a few sources is at most two things.
        for rank in range(2):
            ranked = _ranked(difference, directions, looked)
            best = ranked[0]
            beyond = best.gain - _gain_of_nothing(best, a, difference, proxies, looked)
            # Either side may be the one that was struck.
            if not _clear(best, beyond, 2 * len(directions), difference, rank, Difference.of(a, b)):
                break
            gain = gain or best.gain * _liking(best)
            second = next((other for other in ranked if other.name != best.name), None)
            if best.name not in [one.name for one in found]:
                by_samples = inverted if best.name == "inversion" else None
                finding = _finding(best, second, a_name, b_name)
                if by_samples is not None:
                    finding = _less_sure(by_samples, 1.96 * best.error)
                shown = finding.shown or (samples and _shown(best, samples, (a_name, b_name)))
                found.append(replace(finding, shown=shown))
            difference = difference.less(best.share * best.direction)
    return Account(found, gain, Difference.of(a, b).excess)


def _shown(best: Explanation, samples: Samples, names: tuple[str, str]) -> ShownImages | None:
    if best.cause is None:
        return shown_labels(best.name, best.labels, samples, names)
    return shown_images(best.cause, best.says, samples, names)


def _gain_of_nothing(best: Explanation, a: Profile, difference: Difference, proxies: Proxies, looked: Looked) -> float:
    """What a cause like the best one gains where nothing was done, because it is tried on what has A's noise in it.

    Where each pixel's own value decides, the direction is made of A's grey values, whose noise is in the difference as
    well: that gains at most about A's part of the variance of each. With labels, whatever is done to samples of A takes
    some of A's noise out of the means of its labels: as labels do that say nothing.
    """
    pointwise = best.cause is not None and best.cause.pointwise and looked.config.details
    gain = float((looked.tones(a.variance) / looked.tones(difference.variance)).sum()) if pointwise else 0.0
    if proxies.labels is None:
        return gain
    features = looked.config.features(proxies.images)
    mixed = proxies.labels[torch.randperm(len(proxies.labels), generator=torch.Generator().manual_seed(3))]
    direction = looked.vector(features, mixed) - looked.vector(features, proxies.labels)
    return gain + _explanation(difference, "", "", direction, None).gain


def _clear(best: Explanation, beyond: float, tried: int, left: Difference, rank: int, whole: Difference) -> bool:
    tried += 0 if best.cause is None else best.cause.among
    chance = tried * float(norm.sf(max(beyond, 0.0) ** 0.5))
    if chance > _LEAST_CHANCE or best.share < _LEAST_SHARE:
        return False
    if rank == 0:
        least = _LEAST_BY_PLACES if best.name in _PLACES else _LEAST_EXPLAINED
        return best.gain >= least * (left.excess - _SURELY_MORE * left.excess_error)
    enough = max(_REST * whole.excess, _CLEARLY_LEFT * left.excess_error)
    return left.excess > enough and best.explained >= _LEAST_OF_REST


def _finding(best: Explanation, second: Explanation | None, a_name: str, b_name: str) -> Finding:
    beside = "" if second is None else f"; next best, {second.name}, {second.explained:.0%}"
    if second is not None and second.explained > best.explained:
        beside += ", but not how often each grey value comes"
    return Finding(
        best.name,
        best.share,
        max(0.0, best.share - 1.96 * best.error),
        min(1.0, best.share + 1.96 * best.error),
        f"{b_name} looks like {a_name} {best.says}",
        f"that explains {min(1.0, best.explained):.0%} of how they differ beyond noise{beside}",
    )


def _less_sure(finding: Finding, margin: float) -> Finding:
    """A finding by samples, its interval widened by what the noise of the releases leaves open of its strength."""
    low = finding.strength - math.hypot(finding.strength - finding.low, margin)
    high = finding.strength + math.hypot(finding.high - finding.strength, margin)
    return replace(finding, low=max(0.0, low), high=min(1.0, high))


def _ranked(difference: Difference, directions: Sequence[tuple], looked: Looked) -> list[Explanation]:
    tried = (_explanation(difference, *one) for one in directions)
    ranked = sorted(tried, key=lambda one: -one.gain * _liking(one))
    if any(not _erases(one) and one.explained >= _ABOUT_AS_MUCH for one in ranked):
        ranked.sort(key=_erases)
    best = ranked[0]
    if best.name not in _LIGHT or not looked.config.details:
        return ranked
    close = [one for one in ranked if one.name in _LIGHT and one.gain >= _ABOUT_AS_MUCH * best.gain]
    first = min(close, key=lambda one: _left_of_tones(one.direction, difference, looked))
    return [first, *(one for one in ranked if one is not first)]


def _liking(one: Explanation) -> float:
    return 1 - _SIMPLER * (1 - one.share) - _ERASING * _erases(one)


def _erases(one: Explanation) -> bool:
    return one.cause is not None and one.cause.erases


def _left_of_tones(direction: Tensor, difference: Difference, looked: Looked) -> float:
    """What a cause leaves of the difference of grey values, squared and in units of its error, at its best share."""
    whole, variance, along = (looked.tones(one) for one in (difference.value, difference.variance, direction))
    share = float((along * whole / variance).sum() / (along.square() / variance).sum().clamp(min=1e-9))
    return float(((whole - min(1.0, max(0.0, share)) * along).square() / variance).sum())


def _explanation(
    difference: Difference, name: str, says: str, direction: Tensor, cause: Cause | None, labels: tuple[int, ...] = ()
) -> Explanation:
    size = difference.inner(direction, direction)
    if size < 1e-9:
        return Explanation(name, says, 0.0, 1.0, 0.0, 0.0, direction, cause, labels)
    along = difference.inner(direction, difference.value)
    share = min(1.0, max(0.0, along / size))
    gain = 2 * share * along - share**2 * size
    left = difference.inner(difference.value, difference.value) - gain
    # Samples are not quite the data: what is left over counts as error as well.
    error = (max(1.0, left / len(difference.value)) / size) ** 0.5
    explained = gain / max(difference.excess, gain, 1e-9)
    return Explanation(name, says, share, error, gain, explained, direction, cause, labels)


def _directions(a: Profile, b: Profile, proxies: Proxies, looked: Looked) -> Iterator[tuple]:
    """What `_explanation` takes after the difference, for each cause."""
    config = looked.config
    features = config.features(proxies.images)
    before = looked.vector(features, proxies.labels)
    tried = list(causes())
    if config.details:
        scale = config.detailed.scales[0]
        shape = config.height, config.width
        strokes = [(looked.pixels(side.mean) / scale).reshape(shape).numpy() for side in (a, b)]
        strokes[0] = (looked.pixels(before) / scale).reshape(shape).numpy()
        deviations = looked.pixels(a.variance + b.variance).sqrt().reshape(shape).numpy() / scale
        tried += patterns(*strokes, deviations)
    for cause in tried:
        after = looked.vector(config.features(cause.apply(proxies.images)), proxies.labels)
        direction = after - before
        if cause.pointwise and config.details:
            looked.tones(direction)[:] = _tones_moved(cause, a, looked)
        yield cause.name, cause.says, direction, cause
    if proxies.labels is not None:
        yield from _of_labels(a, b, proxies, looked, before)


def _tones_moved(cause: Cause, a: Profile, looked: Looked) -> Tensor:
    """How the block of grey values changes where each pixel's own value decides: of A's values, not of samples'."""
    scale = looked.config.detailed.scales[1]
    dark = float(a.mean[0]) > looked.config.polarity_norm / 2
    shares = decompressed(looked.tones(a.mean) / scale)
    lightness = torch.linspace(0, 1, TONES, dtype=torch.float64)
    seen = 1 - lightness if dark else lightness
    moved = cause.apply(seen.view(TONES, 1, 1, 1)).flatten().clamp(0, 1)
    after = shares @ (tones_of((1 - moved if dark else moved)[:, None]))
    return (compressed(after) - compressed(shares)) * scale


def _of_labels(a: Profile, b: Profile, proxies: Proxies, looked: Looked, before: Tensor):
    config, labels = looked.config, proxies.labels
    features = config.features(proxies.images)
    ones = torch.ones(len(labels), dtype=torch.bool)

    def of(kept: Tensor, named: Tensor) -> Tensor:
        some = Features(
            features.dark[kept],
            features.coordinates[kept],
            None if features.details is None else features.details[kept],
        )
        return looked.vector(some, named[kept]) - before

    for label in range(config.cells):
        its = labels == label
        if not its.any() or its.all():
            continue
        yield "class-missing", f"without images of class {label}", of(~its, labels), None, (label,)
        fewer = its | (torch.cumsum(~its, 0) % 3 == 0)
        yield "class-over-represented", f"with more images of class {label}", of(fewer, labels), None, (label,)
    start = 1 + config.cells
    shares, sums = (
        [p.mean[1:start] for p in (a, b)],
        [p.mean[start : start + config.cells * config.coordinates] for p in (a, b)],
    )
    means, errors = [], []
    for share, total, side in zip(shares, sums, (a, b), strict=True):
        share = share.clamp(min=0.2 / config.cells * float(share.sum().abs()))
        means.append(total.unflatten(0, (config.cells, -1)) / share[:, None])
        errors.append(side.variance[start].sqrt() / share)
    for says, new in relabellings(*means, torch.hypot(*errors)):
        moved = tuple((new != torch.arange(len(new))).nonzero().flatten().tolist())
        yield "label-confusion", says, of(ones, new[labels]), None, moved
