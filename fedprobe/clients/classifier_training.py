"""The primary classifier in a simulation: centralised training on pooled examples, and exact tests of any classifier.

On a private population both are refused before they get here: there a primary model comes from public data, or is
trained through the mechanism, and what it does on the users is no figure to show.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from fedprobe.clients.data.shards import DataError, FederatedDataset
from fedprobe.clients.selection import Members, Rows
from fedprobe.models.classifier import Classifier, ClassifierConfig, merge_case, predict
from fedprobe.privacy.randomness import key

MOST_CLASSES = 10_000


@dataclass(frozen=True)
class Trained:
    """A classifier and its accuracy on held-out examples."""

    model: Classifier
    steps: int
    test_accuracy: float
    test_examples: int


def count_classes(dataset: FederatedDataset) -> int:
    """One more than the largest label in the shards (a figure of the data: simulations only)."""
    dataset.require_labels()
    largest = max(int(batch.labels.max(initial=-1)) for _, batch in dataset.batches())
    if not 0 <= largest < MOST_CLASSES:
        raise DataError(f"the labels must be 0 to K - 1 with K at most {MOST_CLASSES:,}; or give --classes")
    return largest + 1


def networks(dataset: FederatedDataset, labels: int, merged: bool) -> ClassifierConfig:
    """The classifier for the images of `dataset` and so many `labels`. Raises DataError where there can be none."""
    dataset.require_labels()
    try:
        return ClassifierConfig.of(dataset.shape, labels, merged)
    except ValueError as error:
        raise DataError(str(error)) from error


def hold_out(dataset: FederatedDataset, share: float, seed: int) -> tuple[Members, Members]:
    """Everybody, with the examples to train on, and with those held out: `share` of each user's, as `seed` decides.

    Which of a user's examples are held out depends on her alone. Raises DataError if none are, or nothing else is left.
    """
    counts = dataset.examples
    drawn = (
        np.random.default_rng(key(seed, "held-out", user)).random(count) < share
        for user, count in zip(dataset.ids(), counts.tolist(), strict=True)
    )
    held_out = np.concatenate([np.zeros(0, bool), *drawn])
    if held_out.all() or not held_out.any():
        raise DataError("too few examples to train on and to hold some out; give others to test on with --test")
    offsets = np.concatenate([[0], np.cumsum(counts)])
    kept, tested = (Members(np.arange(len(dataset)), Rows.of(wanted, offsets)) for wanted in (~held_out, held_out))
    return kept, tested


def exact_accuracy(
    model: Classifier,
    dataset: FederatedDataset,
    members: Members | None = None,
    device: str = "cpu",
    users_at_once: int = 64,
) -> tuple[float, int]:
    """The share of the examples of `members` (None: of everybody) that `model` gets right, and their number.

    *Assumes:* a simulation: the figure is exact.
    """
    members = Members(np.arange(len(dataset))) if members is None else members
    model = model.to(device).eval()
    right = examples = 0
    for start in range(0, len(members), users_at_once):
        batch = members.read(dataset, range(start, min(start + users_at_once, len(members))))
        labels = torch.from_numpy(batch.labels)
        labels = merge_case(labels) if model.config.merge_case else labels
        guesses = predict(model, torch.from_numpy(batch.pixels).mul(2).sub_(1).to(device)).argmax(1).cpu()
        right += int((guesses == labels).sum())
        examples += len(labels)
    return right / max(1, examples), examples


def train_classifier(
    dataset: FederatedDataset,
    test: FederatedDataset | None,
    *,
    classes: int,
    merged: bool,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    device: str = "cpu",
    on_step: Callable[[int], None] = lambda step: None,
) -> Trained:
    """Train the paper's CNN with Adam on the pooled examples, and test it on `test` or on a held-out tenth.

    `classes` is the number of labels in the shards; `merged` reads EMNIST's 62 as 36. `on_step` is told how
    many steps of optimisation are done.
    Raises DataError where images or labels do not fit. Source: the authors' train_emnist_classifier (Adam 1e-3,
    batches of 32, 3 epochs).
    """
    config = networks(dataset, classes, merged)
    images, labels = _pool(dataset, merged)
    if test is None:
        stream = np.random.default_rng(key(seed, "held-out"))
        held_out = np.zeros(len(images), bool)
        held_out[stream.permutation(len(images))[: max(1, len(images) // 10)]] = True
        mask = torch.from_numpy(held_out)
        test_images, test_labels = images[mask], labels[mask]
        images, labels = images[~mask], labels[~mask]
    else:
        test_images, test_labels = _pool(test, merged)
    if not len(images):
        raise DataError("too few examples to train on and to hold some out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "initial parameters"))
        model = config.build()
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    step = 0
    for epoch in range(epochs):
        stream = torch.Generator().manual_seed(key(seed, "epoch", epoch))
        for batch in torch.randperm(len(images), generator=stream).split(batch_size):
            loss = functional.cross_entropy(model(images[batch].to(device)), labels[batch].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            on_step(step)
    guesses = predict(model.eval(), test_images.to(device)).argmax(1).cpu()
    return Trained(model.cpu(), step, float((guesses == test_labels).float().mean()), len(test_labels))


def _pool(dataset: FederatedDataset, merged: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Every example of every user: images [n, C, H, W] in [-1, 1] and labels [n]."""
    dataset.require_labels()
    pixels, labels = [], []
    for _, batch in dataset.batches():
        pixels.append(torch.from_numpy(batch.pixels))
        labels.append(torch.from_numpy(batch.labels))
    pooled = torch.cat(labels)
    return torch.cat(pixels).mul_(2).sub_(1), merge_case(pooled) if merged else pooled
