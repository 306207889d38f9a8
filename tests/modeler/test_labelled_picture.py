"""The picture of `compare`: every grid whole, under its label, and nothing but white around them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fedprobe.errors import RequestError
from fedprobe.modeler.labelled_picture import FRAME, GAP, LABEL, SCALE, Labelled, save_labelled

sides = st.integers(20, 60)
labels = st.text("ABC xyz/-\N{GREEK SMALL LETTER ALPHA}", min_size=1, max_size=60).filter(str.strip)
columns = st.lists(st.tuples(labels, sides, sides), min_size=1, max_size=2)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(columns, min_size=1, max_size=3), min_size=1, max_size=2))
def test_every_grid_is_whole_under_its_label_and_nothing_else_is_grey(tmp_path_factory, shapes):
    random = np.random.default_rng(0)
    rows = [
        [[Labelled(label, random.random((height, width))) for label, height, width in column] for column in row]
        for row in shapes
    ]
    with Image.open(save_labelled(tmp_path_factory.mktemp("png") / "new" / "p.png", rows)) as image:
        left = np.array(image)
    top = GAP
    for row in rows:
        across, below = GAP, top
        for column in row:
            down = top
            for one in column:
                width, height = one.size
                assert left[down : down + LABEL, across : across + width].min() < 128, "a label"
                inside = np.s_[down + LABEL + FRAME : down + height - FRAME, across + FRAME : across + width - FRAME]
                expected = np.kron(np.rint(one.grey * 255), np.ones((SCALE, SCALE)))
                assert np.array_equal(left[inside], expected)
                left[down : down + height, across : across + width] = 255
                down += height + GAP
            across += max(one.size[0] for one in column) + GAP
            below = max(below, down)
        top = below
    assert (left == 255).all(), "no label beyond its grid, no grey between grids"


def test_it_is_a_png(tmp_path):
    with pytest.raises(RequestError, match="png"):
        save_labelled(tmp_path / "p.jpg", [[[Labelled("A", np.zeros((20, 20)))]]])
