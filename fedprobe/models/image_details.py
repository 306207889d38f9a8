"""What a bug does to the pixels themselves: where they lie, how grey they are, how fast they change.

Strokes seen from a canonical pose (`models/embedding.py`) say nothing of a pixel that is stuck in the same place of all
images, of blur, or of grey values. These three blocks do: the mean of the strokes as they lie, how often each grey
value comes, and how much each band of frequencies has. Everything here is a public constant.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fedprobe.models.pen_strokes import pen_strokes

# Shapes: n images, C channels (1), H x W pixels in [0, 1].

# The norms that the blocks may have of a user's vector: pixels, grey values, frequencies.
NORMS = (0.3, 0.2, 0.2)
DETAILS_NORM = math.hypot(*NORMS)
# What the blocks amount to before, of a user of usual handwriting, for 28 x 28 pixels: more is cut off.
_MOST = (7.0, 2.5, 3.5)
TONES = 24
# The share of pixels that counts half as much as all of them would.
_FEW_PIXELS = 0.01
# Upper ends of the bands, in half-waves an image of 28 pixels; each is split by direction.
_BANDS = (2.0, 4.0, 6.0, 9.0, 12.0, 16.0, 22.0, 60.0)
_DIRECTIONS = 3
_PRIOR_IMAGES = 500


@dataclass(frozen=True)
class Details:
    """The feature map of details of images of `height` x `width`."""

    height: int
    width: int

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How long the blocks are: pixels, grey values, frequencies."""
        return self.height * self.width, TONES, len(_BANDS) * _DIRECTIONS

    @property
    def length(self) -> int:
        return sum(self.sizes)

    @property
    def scales(self) -> tuple[float, float, float]:
        """What the blocks are multiplied with."""
        pixels = _MOST[0] * math.sqrt(self.height * self.width) / 28
        return NORMS[0] / pixels, NORMS[1] / _MOST[1], NORMS[2] / _MOST[2]

    def of(self, dark_n: Tensor, background_n: Tensor, strokes_nCHW: Tensor) -> Tensor:
        """Each image's features [n, length] (float64), of either polarity alike."""
        ground = torch.where(dark_n, 1 - background_n, background_n)
        lightness = (ground[:, None, None, None] - strokes_nCHW).flatten(1)
        tones, power = tones_of(lightness), self._power(strokes_nCHW)
        bands = power / (power + self._usual_power.to(power.device) + 1e-12)
        return torch.cat([strokes_nCHW.flatten(1), compressed(tones), bands], dim=1).double()

    def weighted(self, mean: Tensor) -> Tensor:
        """The mean of a user's features as a part of her vector: scaled, and each block's norm bounded."""
        blocks = []
        for block, scale, norm in zip(mean.split(self.sizes), self.scales, NORMS, strict=True):
            scaled = block * scale
            blocks.append(scaled * (norm / scaled.norm().clamp(min=norm)))
        return torch.cat(blocks)

    def _power(self, strokes_nCHW: Tensor) -> Tensor:
        """The energy of each band in each direction [n, bands * directions]."""
        rows, columns = (cosines(size).to(strokes_nCHW.device) for size in (self.height, self.width))
        transform = rows @ strokes_nCHW.mean(1) @ columns.T
        return transform.square().flatten(1) @ self._band_of.to(strokes_nCHW.device)

    @cached_property
    def _band_of(self) -> Tensor:
        """Which band and direction each coefficient is of [H * W, bands * directions], of ones and zeros."""
        i, j = torch.meshgrid(torch.arange(self.height), torch.arange(self.width), indexing="ij")
        frequency = torch.hypot(i * 28 / self.height, j * 28 / self.width).flatten()
        band = torch.bucketize(frequency, torch.tensor(_BANDS)).clamp(max=len(_BANDS) - 1)
        angle = torch.atan2(i.float(), j.float()).flatten() / (math.pi / 2) * _DIRECTIONS
        direction = angle.long().clamp(max=_DIRECTIONS - 1)
        return torch.nn.functional.one_hot(band * _DIRECTIONS + direction, len(_BANDS) * _DIRECTIONS).float()

    @cached_property
    def _usual_power(self) -> Tensor:
        """The energy that pen strokes have in each band."""
        return self._power(1 - pen_strokes(_PRIOR_IMAGES, self.height, self.width)).mean(0)


def tones_of(lightness: Tensor) -> Tensor:
    """The share of pixels [n, TONES] of each grey value, of lightness [n, pixels]; those between two count for both."""
    place = lightness.clamp(0, 1) * (TONES - 1)
    low = place.floor().clamp(max=TONES - 2)
    upper = place - low
    tones = lightness.new_zeros(len(lightness), TONES)
    tones.scatter_add_(1, low.long(), 1 - upper).scatter_add_(1, low.long() + 1, upper)
    return tones / lightness.shape[1]


def compressed(tones: Tensor) -> Tensor:
    """Shares so that rare grey values show beside the ground's."""
    return tones / (tones + _FEW_PIXELS)


def decompressed(values: Tensor) -> Tensor:
    """The map back, to shares that add up to one: of the most frequent value, which noise hides, what is left."""
    values = values.clamp(0, 0.99)
    shares = _FEW_PIXELS * values / (1 - values)
    most = shares.argmax(-1, keepdim=True)
    shares = shares.scatter(-1, most, 0.0)
    others = shares.sum(-1, keepdim=True)
    return (shares / others.clamp(min=1)).scatter(-1, most, (1 - others).clamp(min=0))


def cosines(size: int) -> Tensor:
    """The orthonormal discrete cosine transform (type II) [frequencies, places]."""
    place = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi * (place + 0.5) * place[:, None] / size) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return waves.float()
