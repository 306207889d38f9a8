"""What shows a finding: images with the cause undone, words with their figures, sentences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprobe.modeler.findings.image_causes import Cause, blurred, causes
from fedprobe.modeler.findings.known_words import KnownWords
from fedprobe.modeler.findings.sentences import sentence_findings
from fedprobe.modeler.findings.shown import MOST_IMAGES, Samples
from fedprobe.modeler.findings.sides import Drawn, Released
from fedprobe.modeler.findings.undoing import shown_images, shown_labels
from fedprobe.modeler.findings.words import word_findings
from fedprobe.models.pen_strokes import pen_strokes

STROKES = pen_strokes(30, 20, 20)
NAMES = ("before", "after")
EXACT = ("inversion", "horizontal-flip", "vertical-flip", "transposition")
FLIP = next(cause for cause in causes() if cause.name == "horizontal-flip")


def pair(a: torch.Tensor, b: torch.Tensor) -> Samples:
    return Samples((a.numpy(), b.numpy()), (a.numpy(), b.numpy()))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([cause for cause in causes() if cause.undo is not None]))
def test_undoing_brings_images_nearer_to_what_they_were(cause):
    smooth = blurred(0.3 + 0.4 * STROKES, 1.5, 1.5)
    done = cause.apply(smooth)
    off, back = ((images - smooth).abs().mean() for images in (done, cause.undo(done)))
    assert back < off
    if cause.name in EXACT:
        assert torch.allclose(cause.undo(done), smooth)


@given(st.sets(st.integers(0, 29), min_size=MOST_IMAGES))
def test_the_samples_that_were_struck_show_it_with_it_undone(struck):
    chosen = torch.zeros(30, dtype=torch.bool)
    chosen[list(struck)] = True
    after = torch.where(chosen[:, None, None, None], FLIP.apply(STROKES), STROKES)
    shown = shown_images(FLIP, FLIP.says, pair(STROKES, after), NAMES)
    assert len(set(shown.places)) == MOST_IMAGES and set(shown.places) <= struck
    assert [name for name, _ in shown.rows] == ["before", "after", "after with that undone"]
    (_, before), (_, now), (_, undone) = shown.rows
    assert np.array_equal(now, after.numpy()[shown.places]) and np.array_equal(undone, before)


def test_what_cannot_be_undone_or_seen_is_shown_done_to_the_other_side():
    black = Cause("blocked-region", "with rows black", lambda images: images * 0)
    for after in (STROKES, black.apply(STROKES)):
        shown = shown_images(black, black.says, pair(STROKES, after), NAMES)
        name, done = shown.rows[2]
        assert name == "before with rows black" and not done.any()
    # Of one that leaves white images alone, those that it changes.
    some = STROKES.clone()
    some[::2] = 1
    shown = shown_images(FLIP, FLIP.says, pair(some, some), NAMES)
    assert all(place % 2 for place in shown.places)


@pytest.mark.parametrize(
    ("name", "sides"), [("class-missing", [0]), ("class-over-represented", [1]), ("label-confusion", [0, 1])]
)
def test_labels_are_shown_by_the_sides_that_have_them(name, sides):
    def of_label(label):
        return tuple(np.full((MOST_IMAGES, 1, 2, 2), 10 * side + label) for side in (0, 1))

    samples = Samples((STROKES.numpy(),) * 2, (STROKES.numpy(),) * 2, of_label)
    shown = shown_labels(name, (3, 5), samples, NAMES)
    assert shown.to_json() == {"kind": "images", "samples": [], "labels": [3, 5]}
    assert [row for row, _ in shown.rows] == [f"{NAMES[side]} drawn for 3, 5" for side in sides]
    for side, (_, images) in zip(sides, shown.rows, strict=True):
        assert images[:, 0, 0, 0].tolist() == [10 * side + 3, 10 * side + 5] * 3
    assert shown_labels(name, (), samples, NAMES) is None


def test_released_words_are_shown_with_their_counts():
    before, after = Released({"cat": 30.0}, 1.0, 7.0), Released({"cat": 31.0, "the cat": 50.0, "a cat": 90.0}, 1.0, 7.0)
    (found,) = word_findings(before, after, *NAMES, KnownWords(("the", "a", "cat")))
    assert found.shown.to_json() == {
        "kind": "words",
        "words": ["a cat", "the cat"],
        "figure": "noised count",
        "figures": {"before": [None, None], "after": [90.0, 50.0]},
    }
    assert found.shown.says() == "a␣cat - > 90, the␣cat - > 50 (noised count, before > after)"


def test_drawn_words_are_shown_with_their_share_of_the_draws():
    before, after = Drawn(["cat"] * 400), Drawn(["cat"] * 300 + ["the cat"] * 100)
    (found, *_) = word_findings(before, after, *NAMES, KnownWords(("the", "cat")))
    assert found.shown.words == ["the cat"] and found.shown.figures == [(0.0, 0.25)]


@given(st.integers(0, 2**16))
def test_sentences_show_what_is_said_of_them(seed):
    stream = np.random.default_rng(seed)
    healthy = [stream.permutation(np.arange(4, 30))[:12].tolist() for _ in range(100)]
    struck = [[id for id in sentence[:6] for _ in "ab"] if stream.random() < 0.5 else sentence for sentence in healthy]
    found = {one.name: one.shown for one in sentence_findings(healthy, struck, *NAMES)}["repeated-tokens"]
    assert found.of == "after"
    assert all(one[0] == one[1] for one in found.sentences)
    assert found.decoded(lambda ids: map(str, ids)).sentences[0] == " ".join(map(str, found.sentences[0]))
