"""Reading every example for what its structure cannot tell: values and labels that nobody can train on."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from fedprobe.clients.data.index import DataError, cannot_be_used, fault_folder, faulty, stamp
from fedprobe.clients.data.shards import FederatedDataset, TextError, UserBatch
from fedprobe.clients.processes import in_processes
from fedprobe.privacy import population as populations

_EXAMPLES_AT_ONCE = 1024


def check(
    dataset: FederatedDataset,
    classes: int | None = None,
    on_users: Callable[[int], None] = lambda users: None,
    workers: int | None = None,
) -> dict[str, str]:
    """Read every example and return which user has which fault, {} if none has.

    Faults: data that cannot be read, values that are not finite or outside [0, 1], no examples, labels that are
    negative or (if `classes` is given) not below `classes`; text that is not UTF-8. By so many `workers` (None: one a
    core). For the steward: the result names users.
    """
    if dataset.kind == "text":
        dataset.require_text()
    examples = dataset.examples

    def faults_of(users: range) -> dict[str, str]:
        if _faultless(dataset, users, classes):
            return {}
        found = ((user, _fault_of(dataset, user, classes, int(examples[user]))) for user in users)
        return {dataset.user_id(user): fault for user, fault in found if fault}

    faults: dict[str, str] = {}
    runs = dataset.runs(_EXAMPLES_AT_ONCE)
    for users, some in zip(runs, in_processes(faults_of, runs, workers), strict=True):
        faults |= some
        on_users(users.stop)
    return faults


def require_valid(
    dataset: FederatedDataset,
    classes: int | None = None,
    on_users: Callable[[int], None] = lambda users: None,
    again: bool = False,
    workers: int | None = None,
) -> None:
    """Raise DataError if any user's content is faulty; in a simulation every command that reads examples asks this.

    A data set that has passed is remembered beside the shards and read again only if `again`.
    """
    passed = None if dataset.folder is None else dataset.folder / "checked.json"
    state = {
        "stamps": [[populations.name_of(path, dataset.record), *stamp(path)] for path in dataset.paths],
        "classes": classes,
        "text": asdict(dataset.text) if dataset.kind == "text" else None,
    }
    if passed is not None and not again and _says(passed, state):
        return
    faults = check(dataset, classes, on_users, workers)
    if faults:
        folder = fault_folder(dataset.paths[0], dataset.population, dataset.record)
        raise faulty(cannot_be_used(faults), faults, folder)
    if passed is not None:
        populations.write_json(passed, state)


def _says(file: Path, state: dict) -> bool:
    try:
        return json.loads(file.read_text()) == state
    except (OSError, ValueError):
        return False


def _faultless(dataset: FederatedDataset, users: range, classes: int | None) -> bool:
    """Whether none of these users has a fault: read together, which is faster than one by one."""
    if not dataset.examples[users.start : users.stop].all():
        return False
    try:
        if dataset.kind == "text":
            for _ in dataset.texts(users):
                pass
            return True
        batch = dataset.read(users)
    except DataError:
        return False
    return _fault(batch, classes) is None


def _fault_of(dataset: FederatedDataset, user: int, classes: int | None, examples: int) -> str | None:
    """The fault of one user with so many `examples`, None if she has none."""
    try:
        if dataset.kind == "text":
            return _text_fault(dataset, user, examples)
        return _fault(dataset.read([user]), classes)
    except DataError:
        return "data that cannot be read: the file is damaged"


def _text_fault(dataset: FederatedDataset, user: int, examples: int) -> str | None:
    if not examples:
        return "no examples"
    try:
        dataset.sentences(user)
    except TextError:
        return "text that is not UTF-8, or holds a NUL"
    return None


def _fault(user: UserBatch, classes: int | None) -> str | None:
    pixels, labels = user.pixels, user.labels
    if not len(pixels):
        return "no examples"
    if not np.isfinite(pixels).all():
        return "pixels that are not finite (NaN or infinite)"
    if pixels.min() < 0 or pixels.max() > 1:
        return "pixels outside [0, 1]"
    if labels is not None and labels.min() < 0:
        return "negative labels"
    if labels is not None and classes is not None and labels.max() >= classes:
        return f"labels outside the {classes} classes"
    return None
