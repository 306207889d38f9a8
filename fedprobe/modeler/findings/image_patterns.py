"""Causes that are read off the samples: places that are always alike, and labels."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from fedprobe.modeler.findings.image_causes import Cause

# A pixel stands out where its difference has so many standard deviations.
_STANDS_OUT = 4.0
# A label's mean lies nearer to another one's where it does so by so many, of all pairs of labels.
_STANDS_OUT_OF_NOISE = 5.0
_LEVELS = (0.25, 0.5, 0.75)
# What a stuck pixel, or a block, may show.
_VALUES = ((0.0, "black"), (0.5, "grey"), (1.0, "white"))
_SMALLEST_BLOCK = 6
# A user's pixels are cut off at a norm: by what her mean may have been multiplied.
_CUT = (1.0, 0.75, 0.5, 0.35, 0.25)
_FRAMES = (1, 2, 3, 4)


def patterns(a_HW: np.ndarray, b_HW: np.ndarray, deviations_HW: np.ndarray) -> Iterator[Cause]:
    """Places that may be constant in B, of both sides' mean strokes and the standard deviations of their difference."""
    shape, seen = a_HW.shape, set()
    rectangles = math.prod(size * (size + 1) // 2 for size in shape)
    everywhere = [_box(shape, 0, shape[0], 0, shape[1])]
    for half in (slice(0, shape[0] // 2), slice(shape[0] // 2, shape[0])):
        everywhere.append(_box(shape, half.start, half.stop, 0, shape[1]))
    for half in (slice(0, shape[1] // 2), slice(shape[1] // 2, shape[1])):
        everywhere.append(_box(shape, 0, shape[0], half.start, half.stop))
    everywhere += [~_box(shape, far, shape[0] - far, far, shape[1] - far) for far in _FRAMES]
    for places in everywhere:
        yield from _constant(places, _VALUES)
    for places in (*_standing_out(a_HW, b_HW, deviations_HW), *_rectangles(a_HW, b_HW, deviations_HW)):
        if places.tobytes() not in seen:
            seen.add(places.tobytes())
            for cause in _constant(places, _VALUES):
                yield replace(cause, among=rectangles)


def _standing_out(a_HW: np.ndarray, b_HW: np.ndarray, deviations_HW: np.ndarray) -> Iterator[np.ndarray]:
    """Pixels that have more strokes than before, or have lost most of what they had."""
    more = b_HW - a_HW
    lost = np.divide(-more, a_HW, out=np.zeros_like(a_HW), where=a_HW > 0.02)
    for measure, clear in ((more, more > _STANDS_OUT * deviations_HW), (lost, -more > _STANDS_OUT * deviations_HW)):
        if clear.any():
            most = min(np.quantile(measure[clear], 0.9), 1.0)
            for level in _LEVELS:
                mask = clear & (measure > level * most)
                parts, count = ndimage.label(mask)
                if count:
                    yield mask
                    yield parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def _rectangles(a_HW: np.ndarray, b_HW: np.ndarray, deviations_HW: np.ndarray) -> Iterator[np.ndarray]:
    """For each grey value, and each way in which means may have been cut off, the rectangle that would say most.

    Says: by how much the squared error falls, in the metric of the noise, when it is taken for constant.
    """
    height, width = a_HW.shape
    top, bottom = np.triu_indices(height + 1, 1)
    left, right = np.triu_indices(width + 1, 1)
    for strokes in (0.0, 0.5, 1.0):
        for cut in _CUT:
            error = ((b_HW - cut * a_HW) / deviations_HW) ** 2 - ((b_HW - cut * strokes) / deviations_HW) ** 2
            whole = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
            columns = whole[:, right] - whole[:, left]
            inside = columns[bottom] - columns[top]
            best = np.unravel_index(inside.argmax(), inside.shape)
            if inside[best] > _STANDS_OUT**2:
                yield _box((height, width), top[best[0]], bottom[best[0]], left[best[1]], right[best[1]])


def _box(shape: tuple[int, int], top: int, bottom: int, left: int, right: int) -> np.ndarray:
    box = np.zeros(shape, bool)
    box[top:bottom, left:right] = True
    return box


def _constant(places: np.ndarray, values: tuple) -> Iterator[Cause]:
    mask = torch.from_numpy(places)
    name, what = _named(places)
    for value, colour in values:
        yield Cause(
            name,
            f"with {what} {colour}",
            lambda images, to=value: torch.where(mask, torch.tensor(to), images),
            erases=bool(places.all()),
        )


def _named(places: np.ndarray) -> tuple[str, str]:
    if places.all():
        return "blocked-region", "the whole image"
    rows, columns = np.flatnonzero(places.any(1)), np.flatnonzero(places.any(0))
    parts = np.bincount(ndimage.label(places)[0].ravel())[1:]
    if min(len(rows), len(columns)) == 1:
        where = f"row {rows[0] + 1}" if len(rows) == 1 else f"column {columns[0] + 1}"
        return "stuck-pixels", f"{_pixels(places)} of {where}"
    if parts.max() < _SMALLEST_BLOCK or parts.max() < places.sum() / 2:
        return "stuck-pixels", _pixels(places)
    inner = places[1:-1, 1:-1]
    if len(rows) == places.shape[0] and len(columns) == places.shape[1] and not inner.all() and places[0].all():
        return "blocked-region", "a frame"
    return "blocked-region", f"rows {rows[0] + 1} to {rows[-1] + 1} of columns {columns[0] + 1} to {columns[-1] + 1}"


def _pixels(places: np.ndarray) -> str:
    return f"{places.sum()} pixel{'s' if places.sum() > 1 else ''}"


def relabellings(a_means_KD: Tensor, b_means_KD: Tensor, errors_K: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Ways in which labels may have been exchanged: what is said of it, and the new label of each [K].

    `errors_K` are the standard errors of the entries of a label's two means together. Only labels move whose mean lies
    nearer to another one's than its own beyond noise: to means that are mostly noise some exchange always fits.
    """
    classes = len(a_means_KD)
    apart = a_means_KD[None] - a_means_KD[:, None]
    nearer = ((b_means_KD - a_means_KD)[:, None] * apart).sum(2) - apart.square().sum(2) / 2
    clearly = (nearer > _STANDS_OUT_OF_NOISE * errors_K[:, None] * apart.norm(dim=2)).numpy()
    # Whose mean moved towards whose.
    toward = (b_means_KD - a_means_KD) @ a_means_KD.T - ((b_means_KD - a_means_KD) * a_means_KD).sum(1, keepdim=True)
    near = torch.cdist(b_means_KD, a_means_KD)
    ways = [linear_sum_assignment(-toward.numpy())[1], linear_sum_assignment(near.numpy())[1]]
    ways += [np.roll(np.arange(classes), shift) for shift in (1, -1)]
    ways += [np.arange(classes)[::-1]]
    for i in range(classes):
        j = int(toward[i].argmax())
        swapped = np.arange(classes)
        swapped[[i, j]] = swapped[[j, i]]
        ways.append(swapped)
    seen = {tuple(range(classes))}
    for source in ways:
        # B's images of label k are what had label source[k].
        new = np.arange(classes)
        for label in np.flatnonzero(clearly[np.arange(classes), source]):
            new[source[label]] = label
        if tuple(new) in seen:
            continue
        seen.add(tuple(new))
        moved = [f"{old} as {to}" for old, to in enumerate(new) if old != to]
        more = f" and {len(moved) - 4} more" if len(moved) > 4 else ""
        yield f"with images labelled otherwise: {', '.join(moved[:4])}{more}", torch.from_numpy(new)
