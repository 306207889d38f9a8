"""Rehearsing a bug: copies of shards in which some users' images, or some sentences, went wrong in a known way.

The truth, what was struck, is kept beside the copies and never inside them.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from fedprobe.clients.data.image_bugs import USER_BUGS, UserBug
from fedprobe.clients.data.index import DataError, ShardIndex, open_file
from fedprobe.clients.data.shards import SUFFIXES, FederatedDataset, separator_of
from fedprobe.clients.data.text_bugs import SENTENCE_BUGS
from fedprobe.clients.data.vocabulary import carry_notes
from fedprobe.clients.data.writing import new_shard, require_new
from fedprobe.errors import RequestError, instead_of
from fedprobe.privacy import population as populations
from fedprobe.privacy.population import Population
from fedprobe.privacy.randomness import key

# Stands between the tokens of a struck copy, whose tokens may hold a blank; no tokenizer leaves a tab inside a token.
SEPARATOR = "\t"


def require_kind(dataset: FederatedDataset, bug: str) -> None:
    """Raise RequestError for a bug that there is not, DataError for one of other shards; both list those for these."""
    bugs, others = (USER_BUGS, SENTENCE_BUGS) if dataset.kind == "images" else (SENTENCE_BUGS, USER_BUGS)
    if bug in others:
        other = "text" if dataset.kind == "images" else "images"
        raise DataError(
            f"these shards hold {dataset.kind}, and {bug} is a bug of {other}; choose one of {', '.join(bugs)}"
        )
    if bug not in bugs:
        raise RequestError(f"unknown bug; {instead_of(bug, bugs)}")


def corrupt_users(
    dataset: FederatedDataset, out: Path, bug: str, share: float | None, seed: int, record: Path | None = None
) -> tuple[list[Path], int]:
    """Copy `dataset`'s shards of images to `out`, with `bug` in all data of a random `share` of the users.

    Exactly round(share * users) users are struck, the same ones for the same `seed`; `share` None takes the bug's own.
    A bug of labels may lose examples, but leaves a user one at least. `out` is a file if there is one shard and it has
    a shard's suffix, else a folder. The record of the population is carried over.
    Returns the files written and the number of users struck. Raises RequestError if a file is there
    already or the shards are not registered, DataError if a shard is damaged or holds no images.
    """
    require_kind(dataset, bug)
    how = USER_BUGS[bug]
    if how.labels is not None:
        dataset.require_labels()
    targets = _prepared(dataset, out, how.share if share is None else share, "--users")
    share = how.share if share is None else share
    users = dataset.users
    ranked = sorted(range(len(users)), key=lambda user: key(seed, bug, users[user]))
    struck = {users[user] for user in ranked[: round(share * len(users))]}
    truths = [
        {"bug": bug, "share": share, "users": sorted(struck.intersection(shard.users))} for shard in dataset.shards
    ]

    def change(shard: ShardIndex, source: h5py.File, copy: h5py.File) -> None:
        if how.labels is None:
            source.copy("examples", copy)
            for user in struck.intersection(shard.users):
                pixels = copy["examples"][user]["pixels"]
                pixels[...] = how.struck(pixels[...], np.random.default_rng(key(seed, bug, "pixels", user)))
            return
        examples = copy.create_group("examples")
        _copy_attributes(source["examples"], examples)
        for user in shard.users:
            if user in struck:
                _relabel(source["examples"][user], examples.create_group(user), how)
            else:
                source["examples"].copy(user, examples)

    _write(dataset, targets, truths, change, record)
    return targets, len(struck)


def corrupt_sentences(
    dataset: FederatedDataset, out: Path, bug: str, share: float, seed: int, record: Path | None = None
) -> tuple[list[Path], int, int]:
    """Copy `dataset`'s shards of text to `out`, with `bug` in a random `share` of all sentences of two or more tokens.

    The column that is read holds tokens in the copy, set apart by what its attribute `COLUMN_separator` says: a tab
    unless the shard has one already. Other columns are left out. Each sentence is struck independently, decided by
    `seed`, user and row.
    Returns the files written, the number of sentences struck, and of all sentences. Otherwise like `corrupt_users`.
    """
    require_kind(dataset, bug)
    dataset.require_text()
    targets = _prepared(dataset, out, share, "--sentences")
    threshold = int(share * 2**63)
    struck: dict[str, list[int]] = {}
    rows: dict[str, list[list[str]]] = {}
    sentences = 0
    for position, user in enumerate(dataset.users):
        rows[user], struck[user] = [], []
        for row, tokens in enumerate(dataset.sentences(position)):
            if len(tokens) > 1 and key(seed, bug, user, row) < threshold:
                struck[user].append(row)
                tokens = SENTENCE_BUGS[bug](tokens)
            rows[user].append(tokens)
            sentences += 1
    separators = {shard.path: _separator(dataset, shard, rows) for shard in dataset.shards}
    truths = [
        {"bug": bug, "share": share, "sentences": {user: struck[user] for user in shard.users}}
        for shard in dataset.shards
    ]

    def change(shard: ShardIndex, source: h5py.File, copy: h5py.File) -> None:
        examples = copy.create_group("examples")
        _copy_attributes(source["examples"], examples)
        separator = separators[shard.path]
        examples.attrs[dataset.text.separator_attribute] = separator
        for user in shard.users:
            # Only what was read, written anew: an altered copy would keep the sentences as they were in its free space.
            group = examples.create_group(user)
            _copy_attributes(source["examples"][user], group)
            group.create_dataset(
                dataset.text.column, data=[separator.join(tokens) for tokens in rows[user]], dtype=h5py.string_dtype()
            )

    _write(dataset, targets, truths, change, record)
    return targets, sum(map(len, struck.values())), sentences


def _relabel(source: h5py.Group, copy: h5py.Group, how: UserBug) -> None:
    """A struck user's examples with other labels, without those that are lost; written anew, to leave no trace."""
    _copy_attributes(source, copy)
    labels = source["label"][...]
    new = how.labels(labels.astype(np.int64))
    kept = np.flatnonzero(new >= 0) if (new >= 0).any() else np.arange(min(1, len(labels)))
    for name, data in source.items():
        if name == "label":
            copy.create_dataset(name, data=np.where(new >= 0, new, labels)[kept].astype(labels.dtype))
        elif isinstance(data, h5py.Dataset) and data.shape[:1] == labels.shape:
            copy.create_dataset(name, data=data[...][kept])


def _separator(dataset: FederatedDataset, shard: ShardIndex, rows: dict[str, list[list[str]]]) -> str:
    """What no token of a struck shard holds: what separated them before, if that still does, or else a tab."""
    with open_file(shard.path) as file:
        before = separator_of(file["examples"], dataset.text)
    for separator in filter(None, (before, SEPARATOR)):
        if not any(separator in token for user in shard.users for tokens in rows[user] for token in tokens):
            return separator
    raise DataError(f"{shard.path.name} has tokens with a tab inside, so that nothing can set them apart; split them")


def _prepared(dataset: FederatedDataset, out: Path, share: float, option: str) -> list[Path]:
    """The files to write, none of which is there yet."""
    if not 0 <= share <= 1:
        raise RequestError(f"{option} is a share: between 0 and 1")
    if dataset.population is None:
        raise RequestError("these shards are not registered, so there is no place for the truth: run fedprobe init")
    if any(shard.packed for shard in dataset.shards):
        raise RequestError("these shards are packed: corrupt the shards that they were made of, then pack the copies")
    targets = targets_of(dataset, out)
    for target in targets:
        require_new(target)
    return targets


def _write(
    dataset: FederatedDataset,
    targets: list[Path],
    truths: Sequence[dict],
    change: Callable[[ShardIndex, h5py.File, h5py.File], None],
    record: Path | None,
) -> None:
    """Write every struck copy, with `change` making its `examples`."""
    with ExitStack() as copies:
        for shard, target in zip(dataset.shards, targets, strict=True):
            copy = copies.enter_context(new_shard(target))
            with open_file(shard.path) as source:
                try:
                    _copy_attributes(source, copy)
                    change(shard, source, copy)
                except (OSError, RuntimeError, KeyError):
                    raise DataError(f"{shard.path.name} is damaged: some of its data cannot be copied") from None
        # All copies are written, and none has its name yet: a copy is never there without its truth and record, nor a
        # record for a name that a failed copy left to other data.
        populations.carry(dataset.population, targets)
        if record is not None:
            populations.carry(dataset.population, targets, record)
        for target, truth in zip(targets, truths, strict=True):
            write_truth(dataset.population, target, truth)
            carry_notes(dataset, populations.folder_of(dataset.population, target))


def _copy_attributes(source: h5py.HLObject, copy: h5py.HLObject) -> None:
    for name, value in source.attrs.items():
        copy.attrs[name] = value


def write_truth(population: Population, shard: Path, truth: dict) -> None:
    """Keep beside `shard` what a rehearsed bug did to it."""
    file = truth_of(population, shard)
    file.parent.mkdir(parents=True, exist_ok=True)
    populations.write_json(file, truth)


def truth_of(population: Population, shard: Path) -> Path:
    """Where the truth about a rehearsed bug in `shard` lies: beside it, whatever other folder holds its record."""
    return populations.folder_of(population, shard) / "truth" / f"{shard.name}.json"


def targets_of(dataset: FederatedDataset, out: Path) -> list[Path]:
    """What copies of the shards are called: `out` for one shard if it has a shard's suffix, else files in it."""
    if out.suffix in SUFFIXES:
        if len(dataset.shards) > 1:
            raise RequestError("several shards go to a folder: give OUT without a file suffix")
        return [out]
    targets = [out / path.name for path in dataset.paths]
    if len(set(targets)) < len(targets):
        raise DataError("several shards have one file name, so their copies would overwrite each other; rename them")
    return targets
