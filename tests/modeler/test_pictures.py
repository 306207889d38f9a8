"""Pictures: sizes, polarity, and terminals of any width."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console

from fedprobe.modeler.pictures import grid, in_terminal, save_png


def some_images(count: int, height: int, width: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, channels, height, width), np.float32)


sizes = st.integers(1, 12)


@given(st.integers(1, 20), st.integers(1, 8), sizes, sizes, st.sampled_from([1, 3]))
def test_a_grid_holds_every_image_in_reading_order_and_mid_grey_between_them(count, columns, height, width, channels):
    images = some_images(count, height, width, channels)
    tiled = grid(images, columns)
    rows = -(-count // columns)
    assert tiled.shape == (rows * (height + 2) - 2, columns * (width + 2) - 2)
    covered = np.zeros(tiled.shape, bool)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        cell = np.s_[row * (height + 2) :, column * (width + 2) :]
        np.testing.assert_allclose(tiled[cell][:height, :width], image.mean(axis=0), atol=1e-6)
        covered[cell][:height, :width] = True
    assert (tiled[~covered] == 0.5).all()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(sizes, sizes), min_size=1, max_size=3), st.integers(1, 4))
def test_a_png_shows_grids_side_by_side_pixel_by_pixel(tmp_path_factory, shapes, scale):
    folder = tmp_path_factory.mktemp("png")
    grids = [np.random.default_rng(number).random(shape) for number, shape in enumerate(shapes)]
    path = save_png(folder / "deep" / "picture.png", grids, scale)
    with Image.open(path) as image:
        assert image.mode == "L"
        back = np.asarray(image)
    tallest = max(height for height, _ in shapes)
    assert back.shape == (scale * tallest, scale * (sum(width for _, width in shapes) + 8 * (len(shapes) - 1)))
    left = 0
    for one in grids:
        height, width = one.shape
        shown = back[: scale * height, scale * left : scale * (left + width)]
        expected = np.kron(np.rint(one * 255), np.ones((scale, scale)))
        assert np.array_equal(shown, expected)
        below = back[scale * height :, scale * left : scale * (left + width)]
        assert np.isin(below, [127, 128]).all()
        left += width + 8


def test_one_is_white_and_zero_black(tmp_path):
    images = np.stack([np.zeros((1, 4, 5)), np.ones((1, 4, 5))]).astype(np.float32)
    with Image.open(save_png(tmp_path / "picture.png", [grid(images, 2)], scale=1)) as image:
        back = np.asarray(image)
    assert (back[:, :5] == 0).all()
    assert (back[:, -5:] == 255).all()
    assert np.isin(back[:, 5:7], [127, 128]).all()


def console(width: int, colour: bool, no_color: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=500,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
        no_color=no_color,
        legacy_windows=False,
        _environ={},
    )


def printed(console: Console, text) -> list[str]:
    with console.capture() as capture:
        console.print(text, end="")
    return capture.get().splitlines()


@settings(deadline=None, max_examples=60)
@given(
    st.integers(40, 200),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(8, 40),
    st.integers(8, 40),
    st.integers(1, 4),
)
def test_no_line_is_wider_than_the_terminal(width, colour, panes, count, height, image_width, rows):
    target = console(width, colour)
    shown = [some_images(count, height, image_width, seed=number) for number in range(panes)]
    text = in_terminal(target, shown, rows)
    lines = text.plain.splitlines()
    assert lines
    assert max(map(cell_len, lines)) <= width
    assert ("▀" in text.plain) == colour
    # Nothing is wrapped or cut on its way to the terminal.
    assert len(printed(target, text)) == len(lines)


@settings(deadline=None, max_examples=20)
@given(st.integers(40, 200), st.integers(1, 40))
def test_a_pane_uses_the_width_that_it_has(width, count):
    # Cells of 8 + 2: as many as fit, at full size.
    text = in_terminal(console(width, True), [some_images(count, 8, 8)])
    assert cell_len(text.plain.splitlines()[0]) == (width + 2) // 10 * 10 - 2


@pytest.mark.parametrize("level, character", [(0.0, "@"), (1.0, " ")])
def test_plain_characters_show_black_as_ink_and_white_as_paper(level, character):
    middle = np.full((1, 1, 8, 8), 1 - level, np.float32)
    images = np.concatenate([middle, np.full((1, 1, 8, 8), level, np.float32), middle])
    first_line = in_terminal(console(40, False), [images], rows=1).plain.splitlines()[0]
    assert first_line[10:18] == character * 8


@pytest.mark.parametrize("level, name", [(0.0, "rgb(0,0,0)"), (1.0, "rgb(255,255,255)")])
def test_colours_show_black_as_black_and_white_as_white(level, name):
    text = in_terminal(console(40, True), [np.full((40, 1, 8, 8), level, np.float32)], rows=1)
    expected = Color.parse(name)
    segments = [segment for segment in text.render(console(40, True)) if segment.text == "▀"]
    inside = [segment for number, segment in enumerate(segments) if number % 38 < 8]
    assert len(inside) == 8 * 4
    assert all((segment.style.color, segment.style.bgcolor) == (expected, expected) for segment in inside)


@pytest.mark.parametrize(
    "target",
    [
        console(80, False),
        console(80, True, no_color=True),
        Console(file=io.StringIO(), width=80, force_terminal=True, _environ={"NO_COLOR": "1", "TERM": "xterm"}),
        Console(file=io.StringIO(), width=80, _environ={}),
    ],
    ids=["no colours", "asked for none", "NO_COLOR", "not a terminal"],
)
def test_without_colour_only_plain_characters_are_printed(target):
    lines = printed(target, in_terminal(target, [some_images(9, 12, 12)] * 2))
    assert set("".join(lines)) <= set("@%#*+=-:. ")
    assert len(set("".join(lines))) > 3


def test_panes_show_their_first_images_cell_by_cell_in_the_same_order():
    # (28 + 2) // 14 = 2 cells of 12 + 2 across: panes 26 wide, 4 apart.
    images = some_images(30, 12, 12)
    lines = in_terminal(console(60, False), [images, images]).plain.splitlines()
    assert all(line.ljust(56)[:26] == line.ljust(56)[30:56] for line in lines)
    assert len({line.ljust(56)[:26] for line in lines}) > 10
