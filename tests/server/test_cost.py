"""How long a plan will take, with times that the test says."""

import itertools
from dataclasses import replace

import pytest

from fedprobe.clients.data import shards
from fedprobe.models.classifier import ClassifierConfig
from fedprobe.models.vocabulary import Bytes
from fedprobe.server import classifier_presets, cost, gan_presets, language_presets
from fedprobe.server.cost import Cost, predict, symbols_of

SMALL = {"embedding": 4, "hidden": 6, "projection": 4, "layers": 1}
GAN = gan_presets.PRESETS["quick"]
WORDS = replace(language_presets.CHAR_PRESETS["quick"], **SMALL)
SENTENCES = replace(language_presets.WORD_PRESETS["quick"], **SMALL)
LABELS = classifier_presets.PRESETS["quick"]
PLANS = {
    "gan": (GAN, GAN.networks((1, 28, 28))),
    "words": (WORDS, WORDS.networks(Bytes.symbols)),
    "sentences": (SENTENCES, SENTENCES.networks(symbols=9)),
    "classifier": (LABELS, ClassifierConfig.of((1, 28, 28), 5, False)),
}


@pytest.fixture(params=PLANS)
def plan(request):
    return PLANS[request.param]


@pytest.fixture
def predicted(monkeypatch):
    """`predict`, where dealing is timed as 1 s, a user's first batch as 2 s, and everything after them as 1 s."""

    def one(training, networks, workers: int = 1) -> Cost:
        seconds = itertools.chain([1.0, 3.0], itertools.repeat(1.0))

        def timed(work) -> float:
            work()
            return next(seconds)

        monkeypatch.setattr(cost, "_seconds", timed)
        return predict(training, networks, workers)

    return one


def test_a_plan_takes_its_rounds_times_what_a_round_takes(plan, predicted):
    training, networks = plan
    short, long = (predicted(replace(training, rounds=rounds), networks) for rounds in (10, 70))
    assert short.seconds == pytest.approx(10 * short.seconds_per_round)
    assert long.seconds == pytest.approx(7 * short.seconds)


def test_a_round_takes_its_users_and_workers_share_them(plan, predicted):
    training, networks = replace(plan[0], users_per_round=9), plan[1]
    alone, shared = (predicted(training, networks, workers) for workers in (1, 2))
    once = alone.broadcast + alone.dealing + alone.release + alone.apply
    assert alone.dealing == 1
    assert alone.seconds_per_round == pytest.approx(once + 9 * alone.user)
    # The slower of the two has five.
    assert shared.seconds_per_round == pytest.approx(once + 5 * shared.user)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("gan", {"local_steps": 12}),
        ("words", {"local_epochs": 12}),
        ("sentences", {"local_epochs": 12}),
        ("classifier", {"local_epochs": 12}),
    ],
)
def test_a_users_batches_are_counted_whole_though_few_are_timed(name, more, predicted):
    training, networks = PLANS[name]
    least = dict.fromkeys(more, 1)
    one, twelve = (predicted(replace(training, **how), networks).user for how in (least, more))
    assert 0 < twelve == pytest.approx(12 * one)


def test_what_no_memory_would_hold_is_scaled_up(predicted):
    """A million examples of a batch, as many batches: what is made up for the clock is small."""
    huge = replace(GAN, local_batch_size=10**6, local_steps=10**6, generator_steps=10**6, generator_batch_size=10**6)
    assert predicted(huge, PLANS["gan"][1]).user == pytest.approx(2 * 10**12 / cost._EXAMPLES)


def test_a_generator_that_learns_in_every_tenth_round_takes_a_tenth(monkeypatch):
    # Dealing, a user, applying without the generator, broadcast, applying with it, the release.
    seconds = iter([1.0, 2.0, 2.0, 1.0, 21.0, 1.0])
    monkeypatch.setattr(cost, "_seconds", lambda work: next(seconds))
    training = replace(GAN, critic_rounds_per_generator_phase=10, generator_steps=3)
    assert predict(training, PLANS["gan"][1], 1).apply == pytest.approx(2.0 + 3 * 19.0 / 10)


def test_a_model_too_large_to_be_tried_is_not_built():
    training = replace(WORDS, hidden=10**6, projection=10**5)
    assert predict(training, training.networks(Bytes.symbols)) is None


def test_no_shard_is_opened(plan, monkeypatch):
    def opened(*_):
        raise AssertionError("a shard was opened")

    monkeypatch.setattr(shards.h5py, "File", opened)
    assert predict(*plan, 1).seconds > 0


def test_a_vocabulary_counts_where_it_can_be_read(tmp_path):
    (tmp_path / "v.txt").write_text("a\nb\n")
    assert symbols_of(tmp_path / "v.txt") == 6
    assert symbols_of(tmp_path / "none.txt") == symbols_of(None) == 10_004
