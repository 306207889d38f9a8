"""What may have gone wrong with images, each as a public transformation that can be tried on synthetic samples."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

# Shapes: n images, C channels, H x W pixels in [0, 1].


@dataclass(frozen=True)
class Cause:
    """A thing that may have been done to images: `apply` takes and returns [n, C, H, W] in [0, 1].

    `name` is the stable word of its finding; `says` goes behind "LOW looks like HIGH ...". `pointwise`: every pixel
    changes by its own grey value alone. `undo` brings back what was there, as far as anything does. `among`: how many
    like it were looked through to find it. `erases`: it leaves nothing of an image.
    """

    name: str
    says: str
    apply: Callable[[Tensor], Tensor]
    pointwise: bool = False
    undo: Callable[[Tensor], Tensor] | None = None
    among: int = 1
    erases: bool = False


def causes() -> Iterator[Cause]:
    """All that are tried whatever the samples are; those that depend on the samples are not among them."""
    yield _own_inverse("inversion", "with black and white exchanged", lambda images: 1 - images)
    for cause in _light():
        yield cause if "their mean" in cause.says else replace(cause, pointwise=True)
    yield from _places()
    yield from _sharpness()


def _own_inverse(name: str, says: str, apply: Callable[[Tensor], Tensor]) -> Cause:
    return Cause(name, says, apply, undo=apply)


def _light() -> Iterator[Cause]:
    for shift in (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6):
        yield Cause("brightness", f"brighter by {shift:.0%}", _added(shift), undo=_added(-shift))
        # On white ground that cannot be told from less contrast of the ink.
        lighter, back = _contrasted(1 - shift, _white), _contrasted(1 / (1 - shift), _white)
        yield Cause("brightness", f"with ink {shift:.0%} lighter", lighter, undo=back)
        yield Cause("brightness", f"darker by {shift:.0%}", _added(-shift), undo=_added(shift))
        yield _times(1 - shift)
    yield from map(_times, (1.25, 1.6))
    for factor in (0.25, 0.4, 0.55, 0.7, 0.85, 1.3, 1.7, 2.5, 4.0):
        for name, middle in (("grey", _grey), ("their mean", _mean)):
            yield Cause(
                "contrast",
                f"with {factor:.2f} times the contrast (about {name})",
                _contrasted(factor, middle),
                undo=_contrasted(1 / factor, middle),
            )
    for power in (0.2, 0.25, 0.3, 0.35, 0.45, 0.55, 0.75, 1.4, 1.9, 2.3, 2.7, 4.0):
        yield Cause("gamma", f"with a gamma of {power:.2f}", _raised(power), undo=_raised(1 / power))
    for levels in (2, 3, 4, 5, 6, 8):
        yield Cause(
            "quantisation",
            f"with {levels} grey values left",
            lambda images, last=levels - 1: (images * last).round() / last,
        )


def _places() -> Iterator[Cause]:
    yield _own_inverse("horizontal-flip", "with left and right exchanged", lambda images: images.flip(3))
    yield _own_inverse("vertical-flip", "with top and bottom exchanged", lambda images: images.flip(2))
    yield _own_inverse("rotation", "turned by 180 degrees", lambda images: images.flip(2, 3))
    yield Cause("rotation", "turned by 90 degrees counter-clockwise", _quarter(1), undo=_quarter(-1))
    yield Cause("rotation", "turned by 90 degrees clockwise", _quarter(-1), undo=_quarter(1))
    yield _own_inverse(
        "transposition", "with rows and columns exchanged", lambda images: _fitted(images.transpose(2, 3), images)
    )
    for angle in (4, 7, 10, 15, 20, 30, 45, 60):
        for sign, way in ((1, "counter-clockwise"), (-1, "clockwise")):
            yield Cause(
                "rotation",
                f"turned by about {angle} degrees {way}",
                partial(moved, turn=math.radians(sign * angle)),
                undo=partial(moved, turn=-math.radians(sign * angle)),
            )
    for far in (1, 2, 3, 4, 6, 8):
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            where = " and ".join(
                word for word in (("", "down", "up")[down], ("", "to the right", "to the left")[right]) if word
            )
            yield Cause(
                "translation",
                f"moved {where} by about {far} pixel{'s' if far > 1 else ''}",
                partial(moved, down=far * down, right=far * right),
                undo=partial(moved, down=-far * down, right=-far * right),
            )
    for factor in (0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.45, 1.6, 2.0):
        for tall, wide, what in ((factor, factor, "large"), (1, factor, "wide"), (factor, 1, "tall")):
            yield Cause(
                "scale",
                f"about {factor:.2f} times as {what}",
                partial(moved, tall=tall, wide=wide),
                undo=partial(moved, tall=1 / tall, wide=1 / wide),
            )


def _sharpness() -> Iterator[Cause]:
    for width in (0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0):
        yield Cause("blur", f"blurred by about {width:.1f} pixels", lambda images, by=width: blurred(images, by, by))
    for width in (1.0, 1.7, 2.5):
        yield Cause("blur", "blurred sideways", lambda images, by=width: blurred(images, 0, by))
        yield Cause("blur", "blurred up and down", lambda images, by=width: blurred(images, by, 0))
    for factor in (2, 3, 4):
        yield Cause("compression", f"in blocks of {factor} pixels", lambda images, by=factor: _pixelated(images, by))
    for coarse in (0.3, 0.6, 1.0):
        yield Cause("compression", "with the marks of strong compression", lambda images, by=coarse: _coded(images, by))
    for size in (0.05, 0.1, 0.15, 0.2, 0.3, 0.45):
        yield Cause(
            "noise",
            f"with noise of about {size:.2f}",
            lambda images, by=size: (images + by * _noise(images)).clamp(0, 1),
        )
    for share in (0.02, 0.04, 0.08, 0.15, 0.3):
        yield Cause(
            "noise",
            f"with {share:.0%} of the pixels at random black or white",
            lambda images, by=share: _salted(images, by),
        )


def _added(shift: float) -> Callable[[Tensor], Tensor]:
    return lambda images: (images + shift).clamp(0, 1)


def _times(factor: float) -> Cause:
    says = f"{factor:.2f} times as bright"
    apply, undo = (lambda images, by=by: (images * by).clamp(0, 1) for by in (factor, 1 / factor))
    return Cause("brightness", says, apply, undo=undo)


def _contrasted(factor: float, middle: Callable[[Tensor], Tensor | float]) -> Callable[[Tensor], Tensor]:
    return lambda images: (middle(images) + factor * (images - middle(images))).clamp(0, 1)


def _raised(power: float) -> Callable[[Tensor], Tensor]:
    return lambda images: images.clamp(0, 1) ** power


def _quarter(times: int) -> Callable[[Tensor], Tensor]:
    return lambda images: _fitted(images.rot90(times, (2, 3)), images)


def moved(
    images: Tensor, down: float = 0, right: float = 0, turn: float = 0, tall: float = 1, wide: float = 1
) -> Tensor:
    """Turned counter-clockwise (radians) and sized about the middle, then moved (pixels); their ground comes in."""
    height, width = images.shape[2:]
    y, x = (torch.arange(size, dtype=images.dtype) - (size - 1) / 2 for size in (height, width))
    y, x = (y - down)[:, None], (x - right)[None, :]
    # Rows grow downward: where a pixel comes from.
    from_x = (x * math.cos(turn) - y * math.sin(turn)) / wide
    from_y = (x * math.sin(turn) + y * math.cos(turn)) / tall
    grid = torch.stack([from_x * 2 / (width - 1), from_y * 2 / (height - 1)], dim=-1)
    ground = _ground(images)
    moved = functional.grid_sample(
        images - ground, grid.expand(len(images), -1, -1, -1), mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return moved + ground


def blurred(images: Tensor, down: float, across: float) -> Tensor:
    """Convolved with a Gaussian of these standard deviations in pixels; borders are repeated."""
    for width, axis in ((down, 2), (across, 3)):
        if width > 0:
            reach = max(1, min(round(3 * width), images.shape[axis] - 1))
            weights = torch.exp(-torch.arange(-reach, reach + 1, dtype=images.dtype).square() / (2 * width**2))
            weights = (weights / weights.sum()).view((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1))
            padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
            flat = functional.pad(images.flatten(0, 1)[:, None], padding, mode="replicate")
            images = functional.conv2d(flat, weights).reshape(images.shape)
    return images


def _ground(images: Tensor) -> Tensor:
    """The median of each image's border [n, 1, 1, 1]."""
    border = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, 1:-1, 0], images[:, :, 1:-1, -1]], dim=2)
    return border.flatten(1).quantile(0.5, dim=1)[:, None, None, None]


def _grey(images: Tensor) -> float:
    return 0.5


def _white(images: Tensor) -> float:
    return 1.0


def _mean(images: Tensor) -> Tensor:
    return images.mean((1, 2, 3), keepdim=True)


def _fitted(turned: Tensor, images: Tensor) -> Tensor:
    """Resampled to the size of `images` where it has another."""
    if turned.shape == images.shape:
        return turned
    return functional.interpolate(turned, images.shape[2:], mode="bilinear", align_corners=True)


def _noise(images: Tensor) -> Tensor:
    return torch.randn(images.shape, generator=torch.Generator().manual_seed(1))


def _salted(images: Tensor, share: float) -> Tensor:
    drawn = torch.rand(images.shape, generator=torch.Generator().manual_seed(2))
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn < share, 1.0, images))


def _pixelated(images: Tensor, size: int) -> Tensor:
    coarse = functional.avg_pool2d(images, size, ceil_mode=True)
    return functional.interpolate(coarse, scale_factor=size)[:, :, : images.shape[2], : images.shape[3]]


def _coded(images: Tensor, coarse: float) -> Tensor:
    """Blocks of 8 x 8, whose cosine coefficients are rounded to multiples of `coarse`, coarser for higher ones."""
    height, width = images.shape[2:]
    padded = functional.pad(images, (0, -width % 8, 0, -height % 8), mode="replicate")
    place = torch.arange(8, dtype=images.dtype)
    waves = torch.cos(math.pi * (place + 0.5) * place[:, None] / 8) / 2
    waves[0] /= math.sqrt(2)
    blocks = padded.unfold(2, 8, 8).unfold(3, 8, 8)
    transform = waves @ (blocks - 0.5) @ waves.T
    step = coarse * (1 + (place[:, None] + place) / 3)
    decoded = waves.T @ ((transform / step).round() * step) @ waves + 0.5
    joined = decoded.permute(0, 1, 2, 4, 3, 5).reshape(padded.shape)
    return joined[:, :, :height, :width].clamp(0, 1)
