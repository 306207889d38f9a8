"""Users that `fedprobe select` decides on a second, what of that is the model's, what is reading, and peak memory.

    python -m benchmarks.selection [--users 20000 342477] [--kinds text images] [--workers 2] [--json]

342,477 users is the paper's Stack Overflow population; content is synthetic, in one packed shard. Text: ten sentences
of ten tokens a user, `oov-words` with a vocabulary of 10,000 words. Images: five of 28 x 28 with labels a user, a few
strokes' worth of bright pixels each, `low-accuracy` by the paper's primary classifier. The command runs as a user runs
it, twice: first everything is read, checked and measured; then what was measured is frozen beside the shard (text is
counted again). What the model and what reading take is measured apart, in one process of one thread, on the same users.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch

from benchmarks.memory import peak_mb
from fedprobe.clients.data.shards import FederatedDataset, open_dataset
from fedprobe.models.classifier import ClassifierConfig, predict
from fedprobe.models.primary import save_primary
from fedprobe.models.vocabulary import Vocabulary, read_vocabulary, write_vocabulary

USERS = (20_000, 342_477)
_IMAGES, _SENTENCES, _TOKENS = 5, 10, 10
_CLASSES = 62
_WORDS = 10_000
# Content is made for so many users and repeated: what it is decides nothing about the speed.
_DISTINCT = 1_000
# Users on whom reading and the model are measured apart.
_APART = 10_000


def _words() -> list[str]:
    return [f"word{number}" for number in range(2 * _WORDS)]


@contextmanager
def _growing(path: Path, users: int, rows: int) -> Iterator[Callable[[str, np.ndarray], None]]:
    """A packed shard of `users` with `rows` each; yields a function that writes a data set, its content repeated."""
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("packed")
        group["users"] = np.char.add("user_", np.char.zfill(np.arange(users).astype(str), 9)).astype("S")
        group["offsets"] = np.arange(users + 1, dtype=np.int64) * rows
        group["attributes"] = np.zeros(0, np.uint8)
        group["attribute_offsets"] = np.zeros(users + 1, np.int64)

        def write(name: str, values: np.ndarray) -> None:
            per_user = len(values) // _DISTINCT
            size = values.itemsize * int(np.prod(values.shape[1:]))
            data = group.create_dataset(
                name,
                (users * per_user, *values.shape[1:]),
                values.dtype,
                chunks=(min(users * per_user, max(1, (1 << 13) // size)), *values.shape[1:]),
                compression="gzip",
                compression_opts=1,
                shuffle=True,
            )
            for first in range(0, len(data), len(values)):
                here = values[: len(data) - first]
                data[first : first + len(here)] = here

        yield write


def write_images(path: Path, users: int) -> None:
    """Labelled images of 28 x 28, one pixel in six bright."""
    stream = np.random.default_rng(0)
    shape = (_DISTINCT * _IMAGES, 28, 28)
    with _growing(path, users, _IMAGES) as write:
        write("pixels", (stream.integers(1, 256, shape) * (stream.random(shape) < 1 / 6)).astype(np.uint8))
        write("label", stream.integers(0, _CLASSES, shape[0]))


def write_text(path: Path, users: int) -> None:
    """Sentences whose words are as frequent as in a language, a few in a hundred outside the first 10,000."""
    stream, words = np.random.default_rng(0), np.array(_words())
    frequency = 1 / np.arange(1, len(words) + 1)
    drawn = stream.choice(words, (_DISTINCT * _SENTENCES, _TOKENS), p=frequency / frequency.sum())
    # All of one length, so that where a sentence begins is a multiple of it.
    lines = [" ".join(sentence) for sentence in drawn.tolist()]
    longest = max(map(len, lines))
    flat = np.frombuffer("".join(line.ljust(longest) for line in lines).encode(), np.uint8)
    with _growing(path, users, _SENTENCES) as write:
        write("text/tokens/bytes", flat)
    with h5py.File(path, "a", libver="latest") as file:
        file["packed/text/tokens/offsets"] = np.arange(users * _SENTENCES + 1, dtype=np.int64) * longest


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def apart(dataset: FederatedDataset, model: Path) -> tuple[float, float]:
    """Seconds a user of one thread: for reading as the command reads, and for the model on what is read already."""
    users, at_once = min(len(dataset), _APART), 400
    pieces = [range(first, min(first + at_once, users)) for first in range(0, users, at_once)]
    torch.set_num_threads(1)
    if dataset.kind == "text":
        vocabulary = read_vocabulary(model)
        texts = list(dataset.texts(range(users)))
        reading = _seconds(lambda: [list(dataset.texts(piece)) for piece in pieces])
        counting = _seconds(lambda: [vocabulary.outside(sentence) for user in texts for sentence in user])
        return reading / users, counting / users
    classifier = ClassifierConfig(28, 28, 1, _CLASSES).build().eval()
    images = torch.from_numpy(dataset.read(range(at_once)).pixels).mul(2).sub(1)
    reading = _seconds(lambda: [dataset.read(piece) for piece in pieces])
    predict(classifier, images)
    return reading / users, _seconds(lambda: [predict(classifier, images) for _ in range(5)]) / (5 * at_once)


def measure(kind: str, users: int, workers: int | None) -> dict:
    """What selecting takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shard = folder / "users.h5"
        # In a process of its own: what writing takes is no part of what is measured here.
        write = write_text if kind == "text" else write_images
        writing = multiprocessing.get_context("fork").Process(target=write, args=(shard, users))
        writing.start()
        writing.join()
        model = folder / "model"
        if kind == "text":
            write_vocabulary(model, Vocabulary(tuple(_words()[:_WORDS])))
            how = ["--cohort", "oov-words", "--vocabulary", "model"]
        else:
            torch.manual_seed(0)
            save_primary(model, ClassifierConfig(28, 28, 1, _CLASSES).build(), {"provenance": "public"})
            how = ["--cohort", "low-accuracy", "--below", "0.5", "--primary", "model"]
        peak_mb(["init", "users.h5", "--kind", "simulation", "--quiet"], folder)
        how += [] if workers is None else ["--workers", str(workers)]
        command = ["select", "users.h5", *how, "--no-progress", "--quiet", "-o", "cohort.json"]
        peak, seconds = peak_mb(command, folder)
        _, again = peak_mb(command, folder)
        frozen = sum(file.stat().st_size for file in folder.glob(".fedprobe/*/measurements/*"))
        reading, modelling = apart(open_dataset([shard]), model)
        return {
            **{"kind": kind, "users": users, "sec": seconds, "users_per_second": users / seconds},
            **{"again_sec": again, "peak_mb": peak, "frozen_mb": frozen / 1e6},
            **{"reading_us_per_user": reading * 1e6, "model_us_per_user": modelling * 1e6},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, nargs="+", default=USERS)
    parser.add_argument("--kinds", nargs="+", choices=("text", "images"), default=("text", "images"))
    parser.add_argument("--workers", type=int, help="As the command's [default: the command's].")
    parser.add_argument("--json", action="store_true", help="One object a line.")
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        for users in arguments.users:
            result = measure(kind, users, arguments.workers)
            line = (
                "{users:>9,} users of {kind}: {users_per_second:,.0f} users/s ({sec:.1f} s, again {again_sec:.1f} s), "
                "peak {peak_mb:.0f} MB, frozen {frozen_mb:.1f} MB; in one thread reading {reading_us_per_user:.0f} us "
                "a user, the model {model_us_per_user:.0f} us"
            ).format(**result)
            print(json.dumps(result) if arguments.json else line, flush=True)


if __name__ == "__main__":
    main()
