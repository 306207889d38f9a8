"""Synthetic images for people to label: what is written, what comes back, and what is refused on the way."""

import csv
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest

from fedprobe.errors import RequestError
from fedprobe.modeler.label_table import Rate, agreement, label_table
from fedprobe.modeler.labelling import (
    Export,
    Exported,
    LabelError,
    export,
    read_export,
    read_labels,
    require_guesses,
)
from fedprobe.modeler.sampling import ImageSampler, sample_images
from fedprobe.models.classifier import ClassifierConfig
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.moment_generator import MomentGenerator, Moments
from fedprobe.privacy.population import write_json
from fedprobe.runs import Run

SIDE, CLASSES, COUNT = 20, 3, 4


class Corner(torch.nn.Module):
    """Takes an image for label 1 where it is dark on the whole, for label 2 otherwise, and is sure of it."""

    config = ClassifierConfig(SIDE, SIDE, 1, CLASSES)

    def forward(self, images_BCHW):
        dark = images_BCHW.mean((1, 2, 3)) < 0
        return torch.stack([torch.zeros(len(dark)), 4.0 * dark, 4.0 * ~dark], dim=1)


@pytest.fixture(scope="module")
def sampler(tmp_path_factory) -> ImageSampler:
    config = EmbeddingConfig(SIDE, SIDE, classes=CLASSES, coefficients=9)
    none = Moments.none(config)
    means = torch.randn(none.means.shape, generator=torch.Generator().manual_seed(0))
    spread = 0.3 * torch.eye(config.coordinates)
    run = Run.create(tmp_path_factory.mktemp("runs") / "run", {"architecture": config.to_json()}, {"run_id": "feed"})
    return ImageSampler(run, 1, MomentGenerator(config, Moments(none.dark_share, none.shares, means, spread)).eval())


def written(sampler, folder, **options):
    return export(sampler, folder, COUNT, range(CLASSES), 0, primary=Corner(), primary_name="corner", **options)


@pytest.mark.parametrize("layout", ["flat", "folders"])
def test_the_folder_holds_the_samples_and_the_table_tells_of_them(tmp_path, sampler, layout):
    made = written(sampler, tmp_path / "out", layout=layout)
    assert read_export(tmp_path / "out") == made
    with (tmp_path / "out/labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [image.file for image in made.images]
    assert {row["label"] for row in rows} == {""}
    assert [int(row["drawn_as"]) for row in rows] == [label for label in range(CLASSES) for _ in range(COUNT)]
    for number, row in enumerate(rows):
        pixels = np.asarray(Image.open(tmp_path / "out" / row["file"]))
        label = number // COUNT
        drawn = sample_images(sampler.generator, COUNT, 0, f"export {label}", label)[number % COUNT, 0]
        assert np.abs(pixels / 255 - drawn).max() <= 0.5 / 255 + 1e-6
        assert int(row["guess"]) == (1 if pixels.mean() < 127.5 else 2)
        assert float(row["confidence"]) == pytest.approx(np.exp(4) / (np.exp(4) + 2), abs=1e-4)
        assert row["file"].startswith(f"images/{label}/" if layout == "folders" else "images/")


def test_two_exports_alike_are_alike_and_another_seed_has_other_names(tmp_path, sampler):
    one, again = written(sampler, tmp_path / "one"), written(sampler, tmp_path / "again")
    other = export(sampler, tmp_path / "other", COUNT, range(CLASSES), 1)
    assert one == again
    assert not {image.name for image in one.images} & {image.name for image in other.images}


def test_typical_images_are_nearer_to_each_other_and_go_by_other_names(tmp_path, sampler):
    whole, typical = (written(sampler, tmp_path / name, truncation=t) for name, t in (("whole", 1.0), ("near", 0.2)))
    assert not {image.name for image in whole.images} & {image.name for image in typical.images}

    def spread(folder):
        paths = sorted((tmp_path / folder / "images").glob("1-*.png"))
        return np.stack([np.asarray(Image.open(path), float) for path in paths]).std(0).mean()

    assert spread("near") < spread("whole")
    plain = EmbeddingConfig(SIDE, SIDE, coefficients=9)
    with pytest.raises(ValueError, match="--truncation"):
        sample_images(MomentGenerator(plain, Moments.none(plain)), 2, 0, truncation=0.5)


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path, sampler, monkeypatch):
    (tmp_path / "out").mkdir()
    with pytest.raises(RequestError, match="exists"):
        written(sampler, tmp_path / "out")
    monkeypatch.setattr(Image.Image, "save", lambda *arguments: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        written(sampler, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_primary_model_of_other_images_is_refused(sampler):
    require_guesses(sampler, Corner())
    other = Corner()
    other.config = ClassifierConfig(SIDE + 8, SIDE, 1, CLASSES)
    with pytest.raises(RequestError, match="size"):
        require_guesses(sampler, other)


def exported(guesses: list[tuple[int, int]], labels: int = CLASSES, merged: bool = False) -> Export:
    """An export of images with these (drawn_as, guess)."""
    images = [Exported(f"images/{number}-feed.png", *pair, 0.9) for number, pair in enumerate(guesses)]
    return Export(images, labels, "run", "primary", merged)


def filled(path, rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *rows])


def test_labels_come_back_from_a_table_and_from_folders(tmp_path):
    one = exported([(0, 0), (1, 1), (2, 2), (2, 2)])
    names = [image.name for image in one.images]
    filled(tmp_path / "l.csv", [(f"C:\\anywhere\\{names[0]}", " 2 "), (names[1], "?"), (names[2], "")])
    assert read_labels(tmp_path / "l.csv", one) == {names[0]: 2, names[1]: None}
    for name, label in zip(names, ("0", "?", "2", "2"), strict=True):
        (tmp_path / "sorted" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "sorted" / label / name).write_bytes(b"")
    assert read_labels(tmp_path / "sorted", one) == {names[0]: 0, names[1]: None, names[2]: 2, names[3]: 2}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"file,label\nimages/0-feed.png,3\n", "row 2: an unknown label"),
        (b"file,label\nimages/0-feed.png,-1\n", "row 2: an unknown label"),
        (b"file,label\nimages/0-feed.png,one\n", "row 2: an unknown label"),
        ("file,label\nimages/0-feed.png,٣\n".encode(), "row 2: an unknown label"),
        (b"file,label\nimages/0-feed.png,1\n0-feed.png,1\n", "row 3: an image that stands there already"),
        (b"file,label\nimages/0-feed.png,\n0-feed.png,1\n", "row 3: an image that stands there already"),
        (b"file,label\n0-beef.png,1\n", "row 2: no image of this export"),
        (b"file,label\n,1\n", "row 2: no image of this export"),
        (b"name,label\n0-feed.png,1\n", "no columns `file` and `label`"),
        (b"", "no columns `file` and `label`"),
        (b"file,label\n\xff\xfe,1\n", "UTF-8"),
        (b'file,label\n"' + b"x" * 200_000 + b'",1\n', "save it as CSV"),
    ],
    ids=str,
)
def test_labels_that_cannot_be_are_refused_and_the_row_is_named(tmp_path, content, says):
    (tmp_path / "l.csv").write_bytes(content)
    with pytest.raises(LabelError, match=says):
        read_labels(tmp_path / "l.csv", exported([(0, 0)]))


def test_no_table_and_no_export_are_refused(tmp_path):
    with pytest.raises(LabelError, match="cannot be read"):
        read_labels(tmp_path / "none.csv", exported([]))
    with pytest.raises(LabelError, match="no export"):
        read_export(tmp_path)
    for value in ({}, [], {"schema": "fedprobe.export/1"}, {"schema": "fedprobe.export/1", "images": [{"who": 1}]}):
        write_json(tmp_path / "export.json", value)
        with pytest.raises(LabelError, match="no export"):
            read_export(tmp_path)


few = st.integers(0, CLASSES - 1)


@given(st.lists(st.tuples(few, few, st.none() | few), max_size=30))
def test_the_table_counts_every_readable_image_once(rows):
    one = exported([(drawn_as, guess) for drawn_as, guess, _ in rows])
    labels = {image.name: label for image, (_, _, label) in zip(one.images, rows, strict=True)}
    table = label_table(one, labels)
    readable = [row for row in rows if row[2] is not None]
    assert sum(table.pairs.values()) == len(readable) == table.right.count == table.agreed.count
    assert table.right.hits == sum(guess == label for _, guess, label in readable)
    assert table.agreed.hits == sum(drawn_as == label for drawn_as, _, label in readable)
    assert table.unreadable == len(rows) - len(readable) and table.labelled == len(rows)
    wrong = sum(share.hits for _, _, share in table.errors())
    assert wrong == sum(table.of_label(label).hits for label in table.labels) == len(readable) - table.right.hits
    counts = [share.hits for _, _, share in table.errors()]
    assert counts == sorted(counts, reverse=True)
    assert json.loads(json.dumps(table.to_json()))["right"]["count"] == len(readable)


def test_the_case_of_letters_is_merged_where_the_primary_model_merges_it():
    one = exported([(36, 10), (10, 10)], labels=62, merged=True)
    table = label_table(one, {one.images[0].name: 10, one.images[1].name: 36})
    assert table.right.value == table.agreed.value == 1
    apart = exported([(36, 10), (10, 10)], labels=62)
    assert label_table(apart, {apart.images[0].name: 36, apart.images[1].name: 36}).right.value == 0


def test_agreement_is_by_the_label_that_was_drawn():
    found = dict(agreement(exported([(0, 0), (0, 1), (1, 1), (2, 0)])))
    assert {label: rate.value for label, rate in found.items()} == {0: 0.5, 1: 1.0, 2: 0.0}
    assert agreement(Export([Exported("a.png", None, 1, 0.5), Exported("b.png", 1)], 2, "run", None)) == []


@given(st.integers(0, 50), st.integers(0, 50))
def test_intervals_are_wilsons(hits, more):
    rate = Rate(hits, hits + more)
    if not rate.count:
        assert rate.value is None and rate.interval == (0, 1)
        return
    known = binomtest(hits, rate.count).proportion_ci(method="wilson")
    assert rate.interval == (known.low, known.high)


def test_an_export_that_people_were_labelling_before_can_still_be_read(tmp_path, sampler):
    made = written(sampler, tmp_path / "out")
    value = json.loads((tmp_path / "out/export.json").read_text())
    value["images"] = [
        {"condition" if name == "drawn_as" else name: one[name] for name in one} for one in value["images"]
    ]
    write_json(tmp_path / "out/export.json", value)
    assert list(read_export(tmp_path / "out").images) == list(made.images)


@pytest.mark.parametrize(
    "bent",
    [
        {"labels": "3"},
        {"labels": True},
        {"primary": ["corner"]},
        {"images": [{"file": 5, "drawn_as": None}]},
        {"images": [{"file": "a.png", "drawn_as": "1"}]},
        {"images": [{"file": "a.png", "drawn_as": 1, "guess": "\x1b[2J"}]},
    ],
    ids=str,
)
def test_an_export_says_only_what_can_be_shown(tmp_path, sampler, bent):
    folder = tmp_path / "out"
    written(sampler, folder)
    value = json.loads((folder / "export.json").read_text())
    write_json(folder / "export.json", value | bent)
    with pytest.raises(LabelError, match="no export"):
        read_export(folder)
