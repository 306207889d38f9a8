"""Pen strokes drawn by formula: a public idea of what images of writing look like, made of nobody's data."""

import torch
from torch import Tensor

_MOST_CURVES = 3
_POINTS = 14
# Distances of pixels and points that are held at once.
_AT_ONCE = 8_000_000


def pen_strokes(count: int, height: int, width: int) -> Tensor:
    """Black strokes on white [count, 1, H, W] in [0, 1], always the same ones.

    Each image has one to three quadratic Bezier curves, most of them joined, drawn with a round pen.
    """
    stream = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=stream)

    time = torch.linspace(0, 1, _POINTS)[:, None]
    start = uniform(0.15, 0.85, count, 1, 2)
    curves, shown = [], []
    number = torch.randint(1, _MOST_CURVES + 1, (count,), generator=stream)
    for curve in range(_MOST_CURVES):
        bend, end = uniform(0.1, 0.9, count, 1, 2), uniform(0.15, 0.85, count, 1, 2)
        curves.append((1 - time) ** 2 * start + 2 * time * (1 - time) * bend + time**2 * end)
        shown.append((number > curve)[:, None].expand(count, _POINTS))
        joined = uniform(0, 1, count, 1, 1) < 0.7
        start = torch.where(joined, end, uniform(0.15, 0.85, count, 1, 2))
    # Points of curves that an image does not have are put far away.
    points = torch.where(torch.cat(shown, 1)[:, :, None], torch.cat(curves, 1), torch.tensor(-9.0))
    radius = uniform(0.8, 1.8, count, 1, 1) / 28 * min(height, width)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([y.flatten(), x.flatten()], dim=1)
    points = points * torch.tensor([height, width])
    at_once = max(1, _AT_ONCE // (height * width * points.shape[1]))
    nearest = torch.cat([torch.cdist(pixels.expand(len(some), -1, -1), some).amin(2) for some in points.split(at_once)])
    ink = (radius[:, :, 0] - nearest + 0.5).clamp(0, 1)
    return (1 - ink).unflatten(1, (1, height, width))
