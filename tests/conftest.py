"""Tiny synthetic shards and a tiny primary model, shared by the tests of every room."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import settings

# Before torch is imported: with more than one thread each, the workers of pytest only fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: a busy machine is no bug.
settings.register_profile("fedprobe", deadline=None, max_examples=25)
settings.load_profile("fedprobe")

SIDE = 20
# In every id that `patches` and `sentences` make up, so that a test can look for any of them at once.
STREET = "Oak Street"
# In a token of every user of `sentences`, in the form that every tokenizer leaves whole.
STREET_TOKEN = "oak-street"
WORDS = "the a to of is it and in you that was for on are with as they at be this . , ? !".split()

Users = Mapping[str, Mapping[str, np.ndarray]]


@pytest.fixture(scope="session")
def write_shard() -> Callable[..., Path]:
    """Write `users` (id -> name of a data set -> values) as a shard; `checksums` lets HDF5 notice altered bytes.

    Arrays of objects become strings of variable length, arrays of bytes strings of fixed length.
    """

    def write(path: Path, users: Users, checksums: bool = False) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            examples = file.create_group("examples")
            for user, data in users.items():
                group = examples.create_group(user)
                for name, values in data.items():
                    chunks = values.shape if checksums else None
                    dtype = h5py.string_dtype() if values.dtype == object else None
                    group.create_dataset(name, data=values, dtype=dtype, chunks=chunks, fletcher32=checksums)
        return path

    return write


@pytest.fixture(scope="session")
def damage() -> Callable[[Path, np.ndarray], None]:
    """Alter one byte of the place where a shard written with `checksums` holds `values`, keeping size and mtime."""

    def alter(path: Path, values: np.ndarray) -> None:
        status = path.stat()
        content = bytearray(path.read_bytes())
        where = content.index(values.tobytes())
        content[where] ^= 0xFF
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return alter


@pytest.fixture(scope="session")
def patches() -> Callable[..., dict[str, dict[str, np.ndarray]]]:
    """Users with 6 to 12 images each, whose label (0 or 1) decides which corner of a white image is dark.

    The first `mislabelled` users have all of their labels wrong; `seed` decides everything else.
    """

    def make(count: int = 12, mislabelled: int = 0, side: int = SIDE, seed: int = 0) -> dict:
        stream = np.random.default_rng(seed)
        users = {}
        for number in range(count):
            label = stream.integers(0, 2, stream.integers(6, 13)).astype(np.int32)
            pixels = stream.uniform(0.95, 1.0, (len(label), side, side)).astype(np.float32)
            half = side // 2
            pixels[label == 0, :half, :half] -= 0.8
            pixels[label == 1, half:, half:] -= 0.8
            users[f"№{number} of {STREET} #{seed}"] = {
                "pixels": pixels,
                "label": 1 - label if number < mislabelled else label,
            }
        return users

    return make


@pytest.fixture(scope="session")
def sentences() -> Callable[..., dict[str, dict[str, np.ndarray]]]:
    """Users with 6 to 12 sentences of 2 to 7 words each in a column `tokens`, the words set apart by blanks.

    The frequent words are those of WORDS, the first ones most; each user has one word of her own in her first
    sentence, `oak-street-NUMBER`, which no vocabulary of frequent words holds. `seed` decides everything.
    """

    def make(count: int = 12, seed: int = 0) -> dict:
        stream = np.random.default_rng(seed)
        frequency = 1 / np.arange(1, len(WORDS) + 1)
        users = {}
        for number in range(count):
            rows = [
                list(stream.choice(WORDS, stream.integers(2, 8), p=frequency / frequency.sum()))
                for _ in range(stream.integers(6, 13))
            ]
            rows[0][1] = f"{STREET_TOKEN}-{number}"
            tokens = np.array([" ".join(row) for row in rows], object)
            users[f"№{number} of {STREET} #{seed}"] = {"tokens": tokens}
        return users

    return make


@pytest.fixture(scope="session")
def density(tmp_path_factory, write_shard, patches) -> Path:
    """The folder of a density of images of `patches`, of other, public users."""
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.clients.density import fit_images
    from fedprobe.models.public import quantiles_of, save_public

    folder = tmp_path_factory.mktemp("density")
    dataset = open_dataset([write_shard(folder / "public.h5", patches(40, seed=5))])
    fitted, scores = fit_images(dataset, 4, 0)
    save_public(folder / "model", fitted, quantiles_of(scores), {"populations": []})
    return folder / "model"


@pytest.fixture(scope="session")
def primary(tmp_path_factory, write_shard, patches) -> Path:
    """The folder of a primary model that is right on every image of `patches`, trained on other, public users."""
    from fedprobe.clients.classifier_training import train_classifier
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.models.primary import save_primary

    folder = tmp_path_factory.mktemp("primary")
    dataset = open_dataset([write_shard(folder / "public.h5", patches(seed=1))])
    trained = train_classifier(
        dataset, None, classes=2, merged=False, epochs=6, batch_size=16, learning_rate=0.003, seed=0
    )
    assert trained.test_accuracy == 1
    save_primary(folder / "model", trained.model, {"provenance": "public", "population": None})
    return folder / "model"
