"""The public feature map of one-round generators: what a user's images are summed up as, in one vector.

An image becomes its polarity (dark strokes on light, or light ones on dark) and its *coordinates*: how grey the
background is, the pose of the strokes, and low-frequency coefficients of their discrete cosine transform in a
canonical pose. A user's vector holds, averaged over her images, the shares of both polarities and of the classes, the
coordinates of each class, and products of two coordinates: the mean embedding of a kernel of degree two in the
coordinates. Harder, Adamczewski, Park 2021 ("DP-MERF") release the mean embedding of examples once and fit a generator
to it; here it is lifted from examples to users, and moments take the place of random features.

Everything here is a public constant or follows from a public number: nothing is learned from data.
"""

import math
from dataclasses import asdict, dataclass
from functools import cache, cached_property

import torch
from torch import Tensor
from torch.nn import functional

from fedprobe.models.image_details import DETAILS_NORM, Details, cosines
from fedprobe.models.pen_strokes import pen_strokes

# Shapes: n images, C channels (1), H x W pixels in [0, 1], K classes, D coordinates, P the vector's length.

# Greyness of the background; centre, slant, and logarithms of width and height of the strokes. Each is scaled to be
# about as large as the largest coefficients, and limited.
FRAME = 6
_FRAME_SCALE = (4.0, 28.0, 28.0, 5.0, 5.0, 5.0)
_FRAME_LOWEST = (0.0, -0.2, -0.2, -0.8, -0.5, -0.5)
_FRAME_HIGHEST = (0.9, 0.2, 0.2, 0.8, 0.5, 0.5)
# A ground that the rest is no further from on average has no strokes: what it is closer to decides.
_NO_STROKES = 1e-4
_FRAME_FREQUENCY = 1.5
# Width and height of a usual glyph as standard deviations of its ink, in images' sides.
_USUAL_SIZE = (0.14, 0.19)
# Frequencies (in half-waves an image) from here on are emphasised, as the square root of the frequency.
_EMPHASIS_FROM = 3.0
# Weights of the blocks of shares, means and products, and about the norms that they have of pen strokes before. They
# only share out the vector's norm.
WEIGHTS = (0.2, 1.0, 0.6)
_USUAL_NORMS = (1.0, 9.5, 95.0)
# The norm of the shares of both polarities, without classes and with them.
_POLARITY_NORMS = (0.7, 0.3)
# What is drawn is sharpened by it: the lowest frequencies alone are a blur.
_CONTRAST = 2.0
_PRIOR_IMAGES = 2000
# Standard deviation of the prior for how grey backgrounds are.
_PRIOR_GREYNESS = 0.1
_AT_ONCE = 2048


@dataclass(frozen=True)
class Prior:
    """Coordinates of pen strokes, emphasised: `members` [n, D], their mean [D] and covariance [D, D].

    `spread` [D, D] is how a cohort's mean may differ from theirs: in the same ways, and by a grey background.
    """

    members: Tensor
    mean: Tensor
    covariance: Tensor
    spread: Tensor


@dataclass(frozen=True)
class Features:
    """What single images are summed up as: light strokes on dark [n] (bool), emphasised coordinates [n, D], details."""

    dark: Tensor
    coordinates: Tensor
    details: Tensor | None


@dataclass(frozen=True)
class EmbeddingConfig:
    """The feature map for images of `height` x `width` x `channels`.

    `classes` None: labels are not looked at. `coefficients` of the cosine transform are kept, lowest frequencies
    first. `details`: pixels as they lie, their grey values and frequencies are part of it (`models/image_details.py`);
    runs of before 0.6 have none. Raises ValueError for numbers that make no sense.
    """

    height: int
    width: int
    channels: int = 1
    classes: int | None = None
    coefficients: int = 144
    details: bool = False

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 8 or self.channels != 1:
            raise ValueError("one-round generators take grey images of at least 8 x 8 pixels")
        if not 1 <= self.coefficients <= self.height * self.width:
            raise ValueError("--coefficients lies between 1 and the number of pixels")
        if self.classes is not None and self.classes < 1:
            raise ValueError("--classes must be at least 1")

    def to_json(self) -> dict:
        """The configuration as a JSON object."""
        return asdict(self)

    @property
    def cells(self) -> int:
        """K, or 1 without classes."""
        return self.classes or 1

    @property
    def coordinates(self) -> int:
        """D: of the frame, and of the strokes."""
        return FRAME + self.coefficients

    @property
    def sizes(self) -> tuple[int, ...]:
        """How long the blocks are: polarities, shares, means, products, and details if there are any."""
        blocks = 2, self.cells, self.cells * self.coordinates, self.coordinates * (self.coordinates + 1) // 2
        return (*blocks, self.detailed.length) if self.details else blocks

    @property
    def length(self) -> int:
        """P."""
        return sum(self.sizes)

    @property
    def polarity_norm(self) -> float:
        """The norm that the shares of both polarities have at most."""
        return _POLARITY_NORMS[self.classes is not None]

    @property
    def rest_norm(self) -> float:
        """The norm of shares, means and products: what polarities and details leave of 1."""
        return math.sqrt(1 - self.polarity_norm**2 - (DETAILS_NORM**2 if self.details else 0.0))

    @cached_property
    def detailed(self) -> Details:
        """The feature map of details."""
        return Details(self.height, self.width)

    @property
    def scales(self) -> tuple[float, float, float]:
        """What shares, means and products are multiplied with before a user's vector is normalised."""
        spread = math.sqrt(self.cells)
        shares, means, products = (weight / norm for weight, norm in zip(WEIGHTS, _USUAL_NORMS, strict=True))
        return shares * spread, means * spread, products

    @cached_property
    def frequencies(self) -> Tensor:
        """The frequency of each coordinate [D], in half-waves an image; the frame counts as large features."""
        return torch.cat([torch.full((FRAME,), _FRAME_FREQUENCY), self._order[0]])

    @cached_property
    def emphasis(self) -> Tensor:
        """What coordinates are multiplied with before they are summed [D]: fine strokes have small coefficients."""
        return (1 + self.frequencies / _EMPHASIS_FROM).sqrt()

    @cached_property
    def basis(self) -> Tensor:
        """The cosine transform's basis images [D - 6, H * W], orthonormal."""
        rows, columns = cosines(self.height), cosines(self.width)
        frequencies = [divmod(int(place), self.width) for place in self._order[1]]
        return torch.stack([torch.outer(rows[i], columns[j]).flatten() for i, j in frequencies])

    @cached_property
    def _order(self) -> tuple[Tensor, Tensor]:
        """The lowest frequencies, ascending, and where they stand in the whole transform."""
        i, j = torch.meshgrid(torch.arange(self.height), torch.arange(self.width), indexing="ij")
        frequency = (i.square() + j.square()).double().sqrt().flatten()
        # Of equal ones the more vertical first: any rule would do, but it must be one.
        place = torch.argsort(frequency + 1e-6 * j.flatten(), stable=True)[: self.coefficients]
        return frequency[place].float(), place

    @property
    def prior(self) -> Prior:
        """What coordinates are like as long as nothing is known: those of pen strokes, made of nobody's data."""
        return _prior_of(self)

    def coordinates_of(self, images_nCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each image is light strokes on dark [n] (bool), and its coordinates [n, D]; images in [0, 1]."""
        batches = [strokes_of(batch) for batch in images_nCHW.split(_AT_ONCE)]
        return torch.cat([dark for dark, _, _ in batches]), torch.cat([self._coordinates_of(*one) for one in batches])

    def _coordinates_of(self, dark: Tensor, background: Tensor, strokes: Tensor) -> Tensor:
        greyness = torch.where(dark, background, 1 - background)
        frame_n6 = torch.cat([greyness[:, None], _pose(strokes.mean(1).abs())], dim=1)
        canonical = _warped(strokes, frame_n6[:, 1:], to_canonical=True)
        coefficients = canonical.flatten(1) @ self.basis.to(canonical.device).T
        return torch.cat([frame_n6 * frame_n6.new_tensor(_FRAME_SCALE), coefficients], dim=1)

    def images_of(self, dark_n: Tensor, coordinates_nD: Tensor) -> Tensor:
        """Images [n, C, H, W] in [0, 1] of these polarities and coordinates, as far as such images go: the map back."""
        frame_n6 = _limited(coordinates_nD[:, :FRAME] / coordinates_nD.new_tensor(_FRAME_SCALE))
        flat = coordinates_nD[:, FRAME:] @ self.basis.to(coordinates_nD.device)
        canonical = flat.clamp(0, 1).unflatten(1, (self.channels, self.height, self.width))
        strokes = _sharpened(_warped(canonical, frame_n6[:, 1:], to_canonical=False))
        on_light = (1 - frame_n6[:, :1, None, None] - strokes).clamp(0, 1)
        return torch.where(dark_n[:, None, None, None], 1 - on_light, on_light)

    def embed(self, images_nCHW: Tensor, labels_n: Tensor | None) -> Tensor:
        """One user's vector [P] of L2 norm at most 1 (float64): means over her images, weighted and normalised.

        Every user's direction counts alike; `Mechanism.contribution` bounds the norm, whatever is done here.
        """
        return self.vector(self.features(images_nCHW), labels_n)

    def features(self, images_nCHW: Tensor) -> Features:
        """What `vector` needs to know of each image (float64)."""
        emphasis = self.emphasis.to(images_nCHW.device)
        batches = []
        # A few at a time, so that a user of very many images takes no more memory than others.
        for images in images_nCHW.split(_AT_ONCE):
            seen = strokes_of(images)
            details = self.detailed.of(*seen) if self.details else None
            batches.append((seen[0], self._coordinates_of(*seen).double() * emphasis, details))
        dark, coordinates, details = zip(*batches, strict=True)
        return Features(torch.cat(dark), torch.cat(coordinates), torch.cat(details) if self.details else None)

    def vector(self, features: Features, labels_n: Tensor | None) -> Tensor:
        """`embed` of images with these features."""
        count, coordinates = len(features.dark), features.coordinates
        cells = torch.zeros(count, dtype=torch.long, device=features.dark.device) if self.classes is None else labels_n
        cells = functional.one_hot(cells, self.cells).double()
        blocks = cells.sum(0), (cells.T @ coordinates).flatten(), self.packed(coordinates.T @ coordinates)
        rest = torch.cat([block / count * scale for block, scale in zip(blocks, self.scales, strict=True)])
        polarities = torch.stack([features.dark, ~features.dark]).double().mean(1) * self.polarity_norm
        parts = [polarities, rest / rest.norm() * self.rest_norm]
        if features.details is not None:
            parts.append(self.detailed.weighted(features.details.mean(0)))
        return torch.cat(parts)

    def packed(self, symmetric_DD: Tensor) -> Tensor:
        """The upper triangle as a vector of the same norm."""
        row, column = torch.triu_indices(self.coordinates, self.coordinates, device=symmetric_DD.device)
        return symmetric_DD[row, column] * torch.where(row == column, 1.0, math.sqrt(2)).double()

    def unpacked(self, vector: Tensor) -> Tensor:
        """The symmetric matrix [D, D] that `packed` made `vector` of."""
        row, column = torch.triu_indices(self.coordinates, self.coordinates)
        upper = torch.zeros(self.coordinates, self.coordinates, dtype=vector.dtype)
        upper[row, column] = vector / torch.where(row == column, 1.0, math.sqrt(2)).double()
        return upper + upper.triu(1).T


@cache
def _prior_of(config: EmbeddingConfig) -> Prior:
    """Made once for all runs of one feature map: a comparison has two or more of them."""
    strokes = pen_strokes(_PRIOR_IMAGES, config.height, config.width)
    members = config.coordinates_of(strokes)[1].double() * config.emphasis
    covariance = torch.cov(members.T)
    spread = covariance.clone()
    spread[0, 0] = (_PRIOR_GREYNESS * _FRAME_SCALE[0] * config.emphasis[0]) ** 2
    return Prior(members, members.mean(0), covariance, spread)


def strokes_of(images_nCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether each image is light strokes on dark [n], how light its ground is [n], and its strokes [n, C, H, W].

    Strokes are the difference from the ground, positive on either, whatever the ground's own grey is.
    """
    background = _background(images_nCHW)
    above = images_nCHW.mean((1, 2, 3)) - background
    dark = torch.where(above.abs() > _NO_STROKES, above > 0, background < 0.5)
    sign = torch.where(dark, -1.0, 1.0)[:, None, None, None]
    return dark, background, (background[:, None, None, None] - images_nCHW) * sign


def _background(images_nCHW: Tensor) -> Tensor:
    """The median of each image's border [n]."""
    images = images_nCHW.mean(1)
    border = torch.cat([images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]], dim=1)
    # The middle of the two in the middle: so that black and white are treated alike.
    return border.quantile(0.5, dim=1)


def _pose(ink_nHW: Tensor) -> Tensor:
    """Centre, slant, and log width and height [n, 5] of ink, by its moments as of a density; images' sides are 1."""
    y, x = (torch.arange(size, device=ink_nHW.device) - (size - 1) / 2 for size in ink_nHW.shape[1:])
    x, y = x / ink_nHW.shape[2], y / ink_nHW.shape[1]
    total = ink_nHW.sum((1, 2)) + 1e-3
    center_x, center_y = ink_nHW.sum(1) @ x / total, ink_nHW.sum(2) @ y / total
    variance_x = ink_nHW.sum(1) @ x.square() / total - center_x.square()
    variance_y = (ink_nHW.sum(2) @ y.square() / total - center_y.square()).clamp(min=1e-3)
    covariance = ink_nHW @ x @ y / total - center_x * center_y
    slant = (covariance / variance_y).clamp(_FRAME_LOWEST[3], _FRAME_HIGHEST[3])
    width = ((variance_x - slant.square() * variance_y).clamp(min=3e-4).sqrt() / _USUAL_SIZE[0]).log()
    height = (variance_y.sqrt() / _USUAL_SIZE[1]).log()
    none = torch.zeros_like(slant)
    return _limited(torch.stack([none, center_x, center_y, slant, width, height], dim=1))[:, 1:]


def _sharpened(strokes_nCHW: Tensor) -> Tensor:
    """Strokes of more contrast, about a level of each image's own that keeps the amount of its ink; by bisection."""
    ink = strokes_nCHW.mean((1, 2, 3), keepdim=True)
    low, high = torch.zeros_like(ink), torch.ones_like(ink)
    for _ in range(12):
        level = (low + high) / 2
        sharp = ((strokes_nCHW - level) * _CONTRAST + 0.5).clamp(0, 1)
        more = sharp.mean((1, 2, 3), keepdim=True) > ink
        low, high = torch.where(more, level, low), torch.where(more, high, level)
    return sharp


def _limited(frame_n6: Tensor) -> Tensor:
    lowest, highest = frame_n6.new_tensor(_FRAME_LOWEST), frame_n6.new_tensor(_FRAME_HIGHEST)
    return torch.minimum(torch.maximum(frame_n6, lowest), highest)


def _warped(images_nCHW: Tensor, pose_n5: Tensor, to_canonical: bool) -> Tensor:
    """Images seen from the canonical pose, or canonical images put into their pose; bilinear, borders repeated."""
    height, width = images_nCHW.shape[2:]
    y, x = (torch.arange(size, device=images_nCHW.device) - (size - 1) / 2 for size in (height, width))
    y, x = (y / height)[None, :, None], (x / width)[None, None, :]
    center_x, center_y, slant, log_width, log_height = pose_n5.T[:, :, None, None]
    if to_canonical:
        down = y * log_height.exp()
        from_x, from_y = x * log_width.exp() + slant * down + center_x, down + center_y
    else:
        down = y - center_y
        from_x, from_y = (x - center_x - slant * down) / log_width.exp(), down / log_height.exp()
    # grid_sample counts from -1 to 1 between the middles of the outermost pixels.
    places = torch.broadcast_tensors(from_x * 2 * width / (width - 1), from_y * 2 * height / (height - 1))
    return functional.grid_sample(
        images_nCHW, torch.stack(places, dim=-1), mode="bilinear", padding_mode="border", align_corners=True
    )
