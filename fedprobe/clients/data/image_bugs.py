"""What can go wrong with images on a device: each rehearsed bug as a function of one user's images, or her labels."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# Shapes: n images of one user, H x W pixels of C channels, in [0, 1] (1.0 is white).
_WHITE, _BLACK = 1.0, 0.0


@dataclass(frozen=True)
class UserBug:
    """A bug of all data of a user.

    `pixels` takes her images [n, H, W, C] (float32) and a stream of randomness, which only some bugs need, and returns
    as many of the same size. `labels` takes her labels [n] (int64) and returns the labels of the same images, with -1
    for each that is lost. `share` of the users are struck unless another is asked for; `says` is what it does.
    """

    says: str
    pixels: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None
    labels: Callable[[np.ndarray], np.ndarray] | None = None
    share: float = 1.0

    def struck(self, pixels: np.ndarray, stream: np.random.Generator) -> np.ndarray:
        """The images after it, in the shape [n, H, W] or [n, H, W, C] and the dtype that they came in."""
        if self.pixels is None or not len(pixels):
            return pixels
        whole = pixels.dtype == np.uint8
        images = pixels.astype(np.float32) / 255 if whole else pixels
        images = images[..., None] if images.ndim == 3 else images
        changed = np.clip(self.pixels(images, stream), 0, 1).reshape(pixels.shape)
        return np.rint(changed * 255).astype(np.uint8) if whole else changed.astype(pixels.dtype)


def _moved(down: float, right: float) -> Callable:
    """Shifted by shares of the sides; white comes in."""

    def move(images: np.ndarray, stream: np.random.Generator) -> np.ndarray:
        by = (0, round(down * images.shape[1]), round(right * images.shape[2]), 0)
        return ndimage.shift(images, by, order=0, cval=_WHITE)

    return move


def _turned(degrees: float) -> Callable:
    """Turned counter-clockwise about the middle; white comes in."""
    return lambda images, stream: ndimage.rotate(
        images, degrees, axes=(2, 1), reshape=False, order=1, mode="constant", cval=_WHITE
    )


def _sized(factor: float) -> Callable:
    """Strokes `factor` times as large, about the middle; white comes in."""

    def size(images: np.ndarray, stream: np.random.Generator) -> np.ndarray:
        height, width = images.shape[1:3]
        matrix = np.array([1, 1 / factor, 1 / factor, 1])
        offset = np.array([0, (height - 1) / 2 * (1 - 1 / factor), (width - 1) / 2 * (1 - 1 / factor), 0])
        return ndimage.affine_transform(images, matrix, offset, order=1, mode="constant", cval=_WHITE)

    return size


def _quarter(images: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """Turned by 90 degrees; images that are not square are resampled to their size."""
    turned = np.rot90(images, axes=(1, 2))
    height, width = images.shape[1:3]
    return turned if height == width else ndimage.zoom(turned, (1, height / width, width / height, 1), order=1)


def _blocked(images: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """A black rectangle of about a third of either side, below the middle and left of it."""
    height, width = images.shape[1:3]
    struck = images.copy()
    struck[:, height // 2 : height // 2 + round(0.3 * height), width // 6 : width // 6 + round(0.35 * width)] = _BLACK
    return struck


def _cut_off(images: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """The lower half is white."""
    struck = images.copy()
    struck[:, images.shape[1] // 2 :] = _WHITE
    return struck


def _stuck(images: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """The same twelve pixels are black in all images of all users."""
    height, width = images.shape[1:3]
    places = np.random.default_rng(12).choice(height * width, 12, replace=False)
    struck = images.copy()
    struck[:, places // width, places % width] = _BLACK
    return struck


def _speckled(images: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """One of ten pixels is black or white, others in each image."""
    places = stream.random(images.shape[:3]) < 0.1
    return np.where(places[..., None], stream.integers(0, 2, (*images.shape[:3], 1)), images)


def _compressed(images: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """Written as JPEG of quality 8, and read again."""
    from PIL import Image

    struck = np.empty_like(images)
    for image, out in zip(np.rint(images * 255).astype(np.uint8), struck, strict=True):
        for channel in range(image.shape[2]):
            file = io.BytesIO()
            Image.fromarray(image[:, :, channel]).save(file, "JPEG", quality=8)
            out[:, :, channel] = np.asarray(Image.open(file), np.float32) / 255
    return struck


def _without(label: int) -> Callable:
    return lambda labels: np.where(labels == label, -1, labels)


def _next_label(labels: np.ndarray) -> np.ndarray:
    """Of the ten digits: 0 is called 1, and so on, 9 is called 0. Other labels stay."""
    return np.where(labels < 10, (labels + 1) % 10, labels)


USER_BUGS = {
    "invert-pixels": UserBug("black and white are exchanged", lambda images, stream: 1 - images, share=0.5),
    "brighten": UserBug("0.35 is added to all pixels", lambda images, stream: images + 0.35),
    "darken": UserBug("all pixels are 0.65 times as light", lambda images, stream: images * 0.65),
    "low-contrast": UserBug("0.4 times the distance from grey", lambda images, stream: 0.5 + 0.4 * (images - 0.5)),
    "gamma": UserBug("gamma of 0.3: what is grey gets lighter", lambda images, stream: images**0.3),
    "flip-horizontal": UserBug("left and right are exchanged", lambda images, stream: images[:, :, ::-1]),
    "flip-vertical": UserBug("top and bottom are exchanged", lambda images, stream: images[:, ::-1]),
    "rotate-90": UserBug("turned by 90 degrees", _quarter),
    "rotate-180": UserBug("upside down", lambda images, stream: images[:, ::-1, ::-1]),
    "rotate-15": UserBug("turned by 15 degrees", _turned(15)),
    "translate": UserBug("moved down and to the right by an eighth", _moved(0.125, 0.125)),
    "shrink": UserBug("0.7 times as large", _sized(0.7)),
    "enlarge": UserBug("1.3 times as large", _sized(1.3)),
    "blur": UserBug(
        "blurred by a Gaussian of 1.2 pixels",
        lambda images, stream: ndimage.gaussian_filter(images, (0, 1.2, 1.2, 0), mode="nearest"),
    ),
    "block": UserBug("a black rectangle", _blocked),
    "cut-off": UserBug("the lower half is white", _cut_off),
    "stuck-pixels": UserBug("twelve pixels are black in all images", _stuck),
    "quantise": UserBug("four grey values are left", lambda images, stream: np.rint(images * 3) / 3),
    "jpeg": UserBug("strong JPEG compression", _compressed),
    "noise": UserBug(
        "Gaussian noise of 0.15", lambda images, stream: images + stream.normal(0, 0.15, images.shape).astype("f4")
    ),
    "speckle": UserBug("one of ten pixels is black or white", _speckled),
    "drop-class": UserBug("no example of label 4 is left", labels=_without(4)),
    "repeat-class": UserBug(
        "only label 1 and every third other example are left",
        labels=lambda labels: np.where((labels == 1) | (np.arange(len(labels)) % 3 == 0), labels, -1),
    ),
    "shift-labels": UserBug("each digit has the label of the next", labels=_next_label),
    "swap-labels": UserBug(
        "labels 3 and 8 are exchanged", labels=lambda labels: np.where(labels == 3, 8, np.where(labels == 8, 3, labels))
    ),
}
