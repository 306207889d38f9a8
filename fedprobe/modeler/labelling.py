"""Synthetic images for people to label (T5): a folder for a labelling tool, and what comes back from it.

An export holds PNG files, a table of them (`labels.csv`) and `export.json`, which alone says what was drawn: tools keep
little more than names of files. A name holds the export's own mark, so that labels of another one are noticed.
"""

import csv
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fedprobe.errors import FedprobeError, RequestError
from fedprobe.modeler.sampling import ImageSampler, sample_images
from fedprobe.models.classifier import Classifier, predict
from fedprobe.privacy.randomness import key

SCHEMA = "fedprobe.export/1"
TABLE, MANIFEST, IMAGES = "labels.csv", "export.json", "images"
LAYOUTS = ("flat", "folders")
# What people write who cannot read an image.
UNREADABLE = "?"
_COLUMNS = ("file", "drawn_as", "guess", "confidence", "label")


class LabelError(FedprobeError):
    """Labels that cannot be taken as they are. The message names a row."""

    exit_code = 3


@dataclass(frozen=True)
class Exported:
    """One image: its `file` in the folder, the label that it was drawn for, and the primary model's guess.

    `drawn_as` None where the generator has no labels; `guess` and `confidence`, a probability, without a primary
    model.
    """

    file: str
    drawn_as: int | None
    guess: int | None = None
    confidence: float | None = None

    @property
    def name(self) -> str:
        """The file without its folder, as labelling tools know it."""
        return Path(self.file).name


@dataclass(frozen=True)
class Export:
    """What an export's folder says of itself: its images, and how many labels a person may give (None: any number).

    `merged`: to the primary model, EMNIST's letters are one label in either case. `caution`: what the sampler's is.
    """

    images: Sequence[Exported]
    labels: int | None
    run: str
    primary: str | None
    merged: bool = False
    caution: str | None = None


def export(
    sampler: ImageSampler,
    folder: Path,
    count: int,
    labels: Sequence[int | None],
    seed: int,
    layout: str = "flat",
    primary: Classifier | None = None,
    primary_name: str | None = None,
    truncation: float = 1.0,
) -> Export:
    """Draw `count` images of each of `labels` (None: of no label) into a new `folder`, all or nothing.

    `truncation` is that of `sample_images`. The guesses are about the images as they are written, in 8 bits. Raises
    RequestError where the folder is there already, or the primary model takes other images.
    """
    if folder.exists():
        raise RequestError(f"{folder} exists; choose another --output")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.temporary")
    try:
        images = _write_images(sampler, temporary, count, labels, seed, layout, primary, truncation)
        _write_table(temporary / TABLE, images)
        merged = primary is not None and primary.config.merge_case
        made = Export(images, _labels(sampler, primary), str(sampler.run.path), primary_name, merged, sampler.caution)
        described = {"schema": SCHEMA, "round": sampler.round, "seed": seed, "layout": layout, "truncation": truncation}
        described |= asdict(made)
        (temporary / MANIFEST).write_text(json.dumps(described, indent=2) + "\n")
        os.replace(temporary, folder)
    finally:
        # Nothing is there any more where it went well.
        shutil.rmtree(temporary, ignore_errors=True)
    return made


def _write_images(
    sampler: ImageSampler,
    folder: Path,
    count: int,
    labels: Sequence[int | None],
    seed: int,
    layout: str,
    primary: Classifier | None,
    truncation: float,
) -> list[Exported]:
    mark = f"{key(sampler.run.run_id, sampler.round, seed, str(truncation)) % 16**8:08x}"
    exported = []
    for label in labels:
        said, purpose = ("any", "export") if label is None else (str(label), f"export {label}")
        drawn = sample_images(sampler.generator, count, seed, purpose, label, truncation)
        pixels = np.rint(drawn * 255).astype(np.uint8)
        within = f"{IMAGES}/{said}" if layout == "folders" else IMAGES
        (folder / within).mkdir(parents=True, exist_ok=True)
        for number, (image, guess) in enumerate(zip(pixels, _guesses(primary, pixels), strict=True)):
            file = f"{within}/{said}-{number:04d}-{mark}.png"
            Image.fromarray(image.mean(0).astype(np.uint8)).save(folder / file, "PNG")
            exported.append(Exported(file, label, *guess))
    return exported


def _write_table(path: Path, images: Sequence[Exported]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_COLUMNS)
        for one in images:
            confidence = None if one.confidence is None else f"{one.confidence:.4f}"
            table.writerow([one.file, one.drawn_as, one.guess, confidence, None])


def require_guesses(sampler: ImageSampler, primary: Classifier) -> None:
    """Raise RequestError unless the primary model takes the images of the run's generator."""
    config, size = primary.config, sampler.run.config["architecture"]
    if (config.channels, config.height, config.width) != (size.get("channels", 1), size["height"], size["width"]):
        raise RequestError("the primary model takes images of another size than the run makes; give another --primary")


def read_export(folder: Path) -> Export:
    """The export in `folder`. Raises LabelError where there is none, or it is damaged."""
    try:
        value = json.loads((folder / MANIFEST).read_text())
        if value["schema"] != SCHEMA:
            raise ValueError("another schema")
        images = [_exported(one) for one in value["images"]]
        labels, primary = _kept(value["labels"], int), _kept(value["primary"], str)
        # Exports of before have none.
        caution = _kept(value.get("caution"), str)
        return Export(images, labels, str(value["run"]), primary, bool(value["merged"]), caution)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LabelError(f"{folder} is no export; give the folder that fedprobe export wrote") from error


def _exported(value: dict) -> Exported:
    # What it was called at first.
    one = Exported(**{"drawn_as" if name == "condition" else name: value[name] for name in value})
    if type(one.file) is not str:
        raise ValueError("no name of a file")
    return replace(one, drawn_as=_kept(one.drawn_as, int), guess=_kept(one.guess, int))


def _kept(value: object, kind: type) -> object:
    """`value`, which is of a `kind` or None. Raises ValueError for anything else: it is shown as it is."""
    if value is not None and type(value) is not kind:
        raise ValueError(f"no {kind.__name__}")
    return value


def read_labels(path: Path, exported: Export) -> dict[str, int | None]:
    """What people called each image, by its name: a label, or None where it cannot be read; not those left blank.

    `path` is a table with columns `file` and `label`, or a folder whose sub-folders are called like the labels of what
    lies in them. Raises LabelError, which names the row, for what is none of this export's images, stands there twice,
    or is no label.
    """
    known = {image.name for image in exported.images}
    labels: dict[str, int | None] = {}
    seen = set()
    for where, file, label in _folders(path) if path.is_dir() else _rows(path):
        name = Path(file.replace("\\", "/")).name
        if name not in known:
            raise LabelError(f"{path}, {where}: no image of this export; are these the labels of another one?")
        if name in seen:
            raise LabelError(f"{path}, {where}: an image that stands there already; label every image once")
        seen.add(name)
        if label:
            labels[name] = _label(label, exported.labels, f"{path}, {where}")
    return labels


def _label(text: str, labels: int | None, where: str) -> int | None:
    if text == UNREADABLE:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or (labels is not None and int(text) >= labels):
        known = "a number from 0" if labels is None else f"a number from 0 to {labels - 1}"
        raise LabelError(f"{where}: an unknown label; give {known}, {UNREADABLE} where it cannot be read, or nothing")
    return int(text)


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Each row of a table: where it stands, the file, the label."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if not {"file", "label"} <= set(table.fieldnames or ()):
                raise LabelError(f"{path} has no columns `file` and `label`; start from the {TABLE} of the export")
            for row in table:
                where = f"row {table.line_num}"
                yield where, row["file"] or "", (row["label"] or "").strip()
    except OSError as error:
        raise LabelError(f"{path} cannot be read; --labels takes a table or a folder of labelled images") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path} is no table of UTF-8 text; save it as CSV") from error


def _folders(path: Path) -> Iterator[tuple[str, str, str]]:
    """Each image below `path`: the folder that it lies in is its label."""
    for file in sorted(path.rglob("*.png")):
        yield f"folder {file.parent.name}", file.name, file.parent.name


def _labels(sampler: ImageSampler, primary: Classifier | None) -> int | None:
    """How many labels a person may give; None where neither the run nor the primary model says."""
    classes = getattr(sampler.generator, "classes", None)
    return classes if primary is None else max(primary.config.labels, classes or 0)


def _guesses(primary: Classifier | None, pixels_nCHW: np.ndarray) -> list[tuple[int | None, float | None]]:
    """The primary model's guess about each image, and how sure it is."""
    if primary is None:
        return [(None, None)] * len(pixels_nCHW)
    images = torch.from_numpy(pixels_nCHW).float().div(255).mul(2).sub(1)
    confidences, guesses = predict(primary, images).double().softmax(1).max(1)
    return list(zip(guesses.tolist(), confidences.tolist(), strict=True))
