"""A picture of grids that says what each is: labels over them, on white."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fedprobe.modeler.pictures import require_png
from fedprobe.modeler.printable import one_line

# In pixels of the picture.
SCALE, FRAME, GAP, LABEL, LETTERS = 3, 2, 20, 24, 15


@dataclass(frozen=True)
class Labelled:
    """A grey array [H, W] in [0, 1], shown `SCALE` times as large, and the line that stands over it."""

    label: str
    grey: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Width and height with frame and label."""
        height, width = self.grey.shape
        return width * SCALE + 2 * FRAME, height * SCALE + 2 * FRAME + LABEL


def save_labelled(path: Path, rows: Sequence[Sequence[Sequence[Labelled]]]) -> Path:
    """Write rows of columns as one PNG, what is in a column one below the other; return `path`.

    Raises RequestError for a name that does not end in .png.
    """
    require_png(path)
    placed, top, right = [], GAP, 0
    for row in rows:
        left, below = GAP, top
        for column in row:
            down = top
            for one in column:
                placed.append((left, down, one))
                down += one.size[1] + GAP
            left += max(one.size[0] for one in column) + GAP
            below = max(below, down)
        top, right = below, max(right, left)
    whole = Image.new("L", (right, top), 255)
    draw = ImageDraw.Draw(whole)
    for left, top, one in placed:
        width, height = one.size
        draw.text((left, top), _cut(one_line(one.label), width), fill=0, font=_font())
        draw.rectangle((left, top + LABEL, left + width - 1, top + height - 1), fill=128)
        levels = np.kron(np.rint(one.grey * 255), np.ones((SCALE, SCALE))).astype(np.uint8)
        whole.paste(Image.fromarray(levels), (left + FRAME, top + LABEL + FRAME))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save(path, "PNG")
    return path


def _cut(label: str, width: int) -> str:
    """As much of the label as there is room for."""
    if _font().getlength(label) <= width:
        return label
    while label and _font().getlength(f"{label}…") > width:
        label = label[:-1]
    return f"{label}…"


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", LETTERS)
