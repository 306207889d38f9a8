"""Pictures of synthetic samples: grids as PNG, and in the terminal as half-blocks or plain characters.

Pictures show the data's own polarity: 1.0 is white.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.text import Text

from fedprobe.errors import RequestError

# From black to white, as ink on paper.
_RAMP = "@%#*+=-:. "
_GAP = 2
_MARGIN = 8


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Tile images [n, C, H, W] in [0, 1] into one [rows * (H + 2) - 2, columns * (W + 2) - 2] grey array.

    Cells are set apart by mid-grey, so that black and white images both show their edges.
    """
    grey = images.mean(axis=1)
    count, height, width = grey.shape
    rows = -(-count // columns)
    tiled = np.full((rows * (height + _GAP), columns * (width + _GAP)), 0.5, np.float32)
    for number, image in enumerate(grey):
        top, left = number // columns * (height + _GAP), number % columns * (width + _GAP)
        tiled[top : top + height, left : left + width] = image
    return tiled[:-_GAP, :-_GAP]


def save_png(path: Path, grids: Sequence[np.ndarray], scale: int = 3) -> Path:
    """Write grids side by side as one PNG, every pixel `scale` pixels wide; return `path`.

    Raises RequestError for a name that does not end in .png.
    """
    require_png(path)
    whole = _beside(grids)
    image = Image.fromarray(np.rint(whole * 255).astype(np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(path, "PNG")
    return path


def require_png(path: Path) -> None:
    """Raise RequestError for a picture's name that does not end in .png."""
    if path.suffix.lower() != ".png":
        raise RequestError(f"{path}: pictures are PNG, so give a name that ends in .png")


def _beside(grids: Sequence[np.ndarray]) -> np.ndarray:
    """Grids beside each other on mid-grey, with a margin between them."""
    height = max(one.shape[0] for one in grids)
    parts = [np.pad(one, ((0, height - one.shape[0]), (0, _MARGIN)), constant_values=0.5) for one in grids]
    return np.concatenate(parts, axis=1)[:, :-_MARGIN]


def map_of(places: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Points [n, 2] of two sets as a grey array, `side` across: the first set's black, the second's white, on mid-grey.

    It is as high as the points need at the same scale.
    """
    both = np.concatenate(places)
    low, scale = both.min(axis=0), (side - 2) / max(float(np.ptp(both, axis=0).max()), 1e-12)
    height = int(np.rint((both[:, 1].max() - low[1]) * scale)) + 2
    drawn = np.full((height, side), 0.5, np.float32)
    for points, level in zip(places, (0.0, 1.0), strict=True):
        for across, up in np.rint((points - low) * scale).astype(int):
            drawn[height - 2 - up : height - up, across : across + 2] = level
    return drawn


def png_of(image: np.ndarray) -> bytes:
    """One image [C, H, W] in [0, 1] as a grey PNG of its own size."""
    file = BytesIO()
    Image.fromarray(np.rint(image.mean(axis=0) * 255).astype(np.uint8)).save(file, "PNG", optimize=True)
    return file.getvalue()


def in_terminal(console: Console, panes: Sequence[np.ndarray], rows: int = 3) -> Text:
    """Panes of images [n, C, H, W] side by side in the console's width, `rows` rows of cells each.

    Half-blocks in colour where the console has it, else plain characters (`@` is black). Every pane shows its first
    images, cell by cell in the same order.
    """
    pane_width = (console.width - 4 * (len(panes) - 1)) // len(panes)
    height, width = panes[0].shape[2:]
    across = max(2, (pane_width + _GAP) // (width + _GAP))
    scale = min(1.0, (pane_width - _GAP * (across - 1)) / (across * width))
    size = (max(4, int(width * scale)), max(4, int(height * scale)))
    drawn = [grid(_resized(images[: rows * across], size), across) for images in panes]
    coloured = console.color_system is not None and not console.no_color and not console.legacy_windows
    return _half_blocks(drawn) if coloured else _characters(drawn)


def panes_across(console: Console, images: np.ndarray) -> int:
    """How many panes of images [n, C, H, W] stand side by side in the console's width and can still be read."""
    return max(2, (console.width + 4) // (images.shape[-1] + 4 + 2))


def _resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    grey = [Image.fromarray(image.mean(axis=0).astype(np.float32)) for image in images]
    return np.stack([np.asarray(one.resize(size, Image.Resampling.BOX))[None] for one in grey])


def _half_blocks(drawn: Sequence[np.ndarray]) -> Text:
    """Two pixel rows a line: the upper half-block's foreground above its background."""
    text = Text(no_wrap=True)
    for top in range(0, drawn[0].shape[0], 2):
        for number, one in enumerate(drawn):
            text.append("    " if number else "")
            levels = np.rint(one[top : top + 2] * 255).astype(int)
            lower = levels[1] if len(levels) > 1 else np.full(levels.shape[1], 128)
            for above, below in zip(levels[0], lower, strict=True):
                text.append("▀", f"rgb({above},{above},{above}) on rgb({below},{below},{below})")
        text.append("\n")
    return text


def _characters(drawn: Sequence[np.ndarray]) -> Text:
    """Two pixel rows a line as one character: characters are about twice as tall as wide."""
    lines = []
    for top in range(0, drawn[0].shape[0], 2):
        parts = []
        for one in drawn:
            levels = one[top : top + 2].mean(axis=0)
            parts.append("".join(_RAMP[min(len(_RAMP) - 1, int(level * len(_RAMP)))] for level in levels))
        lines.append("    ".join(parts).rstrip())
    return Text("\n".join(lines) + "\n", no_wrap=True)
