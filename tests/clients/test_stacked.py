"""Users trained together, as on an accelerator: the same updates as one after another, but for rounding.

On the CPU, in float64: the grid's steps are far coarser than what is left of the difference.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprobe.clients import classifier_update, language_update, stacked, updates
from fedprobe.clients.classifier_update import ClassifierUpdate
from fedprobe.clients.data.shards import open_dataset
from fedprobe.clients.language_update import LanguageModelUpdate
from fedprobe.clients.selection import Members
from fedprobe.clients.updates import CriticUpdate
from fedprobe.models.classifier import ClassifierConfig
from fedprobe.models.flat import flatten
from fedprobe.models.gan import GanConfig
from fedprobe.models.language import LanguageConfig
from fedprobe.models.vocabulary import Vocabulary
from fedprobe.privacy.mechanism import Mechanism

# Below, at and above a batch of 4, and no examples at all.
EXAMPLES = [0, 1, 3, 4, 5, 9, 13]
USERS = len(EXAMPLES)
WORDS = Vocabulary(("the", "a", "of", "is"))
MECHANISM = Mechanism(0.5, 0.0)


def started(config, critic=False) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return flatten(config.critic() if critic else config.build()).double()


@pytest.fixture(scope="module")
def dataset_of(tmp_path_factory, write_shard):
    def make(users):
        return open_dataset([write_shard(tmp_path_factory.mktemp("shards") / "s.h5", users)])

    return make


@pytest.fixture(scope="module", params=["small", "paper", "paper-group-norm", "classifier", "language", "peepholes"])
def case(request, dataset_of):
    """A client update and what its devices get."""
    stream, everybody = np.random.default_rng(0), Members(np.arange(USERS))
    if request.param in ("language", "peepholes"):
        rows = {
            f"u{n}": {"tokens": np.array([" ".join(stream.choice([*WORDS.words, "oak"], 1 + i % 5)) for i in range(n)])}
            for n in EXAMPLES
        }
        rows = {user: {"tokens": columns["tokens"].astype(object)} for user, columns in rows.items()}
        config = LanguageConfig(WORDS.symbols, 3, 4, 3, 2, request.param == "peepholes", request.param == "language")
        update = LanguageModelUpdate(
            dataset_of(rows), everybody, WORDS, config, MECHANISM, 4, 2, 100, 10_000, 4, 0.5, 0
        )
        return update, {"model": started(config)}
    side = 18 if request.param == "classifier" else 12
    users = {
        f"u{n}": {
            "pixels": stream.random((n, side, side), dtype=np.float32),
            "label": stream.integers(0, 3, n),
        }
        for n in EXAMPLES
    }
    if request.param == "classifier":
        config = ClassifierConfig(side, side, 1, 3)
        update = ClassifierUpdate(dataset_of(users), everybody, config, MECHANISM, 4, 2, 10, 0.1, 0)
        return update, {"model": started(config)}
    config = GanConfig(request.param, side, side)
    update = CriticUpdate(dataset_of(users), everybody, config, MECHANISM, 4, 2, 0.05, 10.0, 0)
    fakes = torch.from_numpy(stream.uniform(-1, 1, (2, 4, 1, side, side)))
    return update, {"critic": started(config, critic=True), "fakes": fakes}


@pytest.fixture
def together(monkeypatch):
    """From here on, users are trained together."""

    def switch(users_at_once: int = 3) -> None:
        for module in (updates, language_update, classifier_update):
            monkeypatch.setattr(module, "stacks", lambda device: True)
            monkeypatch.setattr(
                module,
                "train_together",
                lambda *arguments: stacked.train_together(*arguments, users_at_once=users_at_once),
            )

    return switch


def test_together_is_what_they_are_one_after_another(case, together):
    update, public = case
    alone = [update(public, [member], 1) for member in range(USERS)]
    all_alone = update(public, range(USERS), 1)
    assert sum(one.any() for one in alone) >= USERS - 1
    together()
    assert np.abs(update(public, range(USERS), 1) - all_alone).max() <= 2 * USERS
    for member, one in enumerate(alone):
        assert np.abs(update(public, [member], 1) - one).max() <= 2


def test_an_update_is_hers_alone_whoever_is_trained_beside_her(case, together):
    """To the last bit, in float32 as on a device: no shape depends on who else is there."""
    update, public = case
    public = {name: tensor.float() for name, tensor in public.items()}
    together()
    for members in ([1, 2, 3], [6, 5, 4, 3, 2, 1, 0], [6]):
        alone = sum(update(public, [member], 1) for member in members)
        assert np.array_equal(update(public, members, 1), alone)


def test_too_little_memory_halves_how_many_are_trained_at_once(case, together, monkeypatch):
    update, public = case
    whole, tried = stacked._train, []

    def short_of_memory(*arguments):
        tried.append(arguments[-1])
        if arguments[-1] > 2:
            raise torch.OutOfMemoryError
        return whole(*arguments)

    expected = update(public, range(USERS), 1)
    monkeypatch.setattr(stacked, "_train", short_of_memory)
    together(8)
    assert np.abs(update(public, range(USERS), 1) - expected).max() <= 2 * USERS
    assert tried[:3] == [8, 4, 2] and set(tried[2:]) == {2}
    assert replace(update, seed=1)(public, [], 1).any() == 0


def test_no_more_users_are_held_than_are_trained_at_once(case, together):
    update, public = case
    together(3)
    held, most, whole = 0, 0, Mechanism.contribution

    def reading(members, dataset, users):
        nonlocal held, most
        held += 1
        most = max(most, held)
        return read(members, dataset, users)

    def done(mechanism, update, out=None):
        nonlocal held
        held -= 1
        return whole(mechanism, update, out)

    what = "sentences" if isinstance(update, LanguageModelUpdate) else "read"
    read = getattr(Members, what)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Members, what, reading)
        patch.setattr(Mechanism, "contribution", done)
        update(public, range(USERS), 1)
    # Who has no examples is read and not trained.
    assert 3 <= most <= 3 + 1
