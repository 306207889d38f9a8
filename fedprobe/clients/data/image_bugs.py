"""What can go wrong with images on a device: each rehearsed bug as a function of one user's pixels."""

import numpy as np


def invert_pixels(pixels: np.ndarray) -> np.ndarray:
    """Exchange black and white: 1 - x, or 255 - x for uint8."""
    return 255 - pixels if pixels.dtype == np.uint8 else (1 - pixels).astype(pixels.dtype)


USER_BUGS = {"invert-pixels": invert_pixels}
