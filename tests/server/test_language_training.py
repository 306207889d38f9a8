"""The whole training of language models on eight users: what decides it, how it goes on, and what it leaves behind."""

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from fedprobe.clients.data.shards import FederatedDataset, open_dataset
from fedprobe.clients.language_update import LanguageModelUpdate, padded
from fedprobe.clients.selection import Members
from fedprobe.clients.updates import ClientUpdate
from fedprobe.models.flat import attach
from fedprobe.models.stored import StoredError
from fedprobe.models.vocabulary import Bytes, Vocabulary
from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.randomness import key
from fedprobe.runs import Run, RunError
from fedprobe.server.algorithms.dp_fedavg import FedAvgState
from fedprobe.server.declaration import Declaration, resume, start, train_declared
from fedprobe.server.engines.local import EngineError
from fedprobe.server.gan_presets import PRESETS as GAN_PRESETS
from fedprobe.server.language_presets import WORD_PRESETS

USERS, ROUNDS = 8, 4
VOCABULARY = Vocabulary(("the", "a", "to", "of", "is", "it", "."))
# In the data and in no vocabulary: see `sentences`.
SECRETS = (b"oak-street", b"Oak Street")
TRAINING = replace(
    WORD_PRESETS["quick"],
    embedding=3,
    hidden=4,
    projection=3,
    peepholes=True,
    users_per_round=4,
    rounds=ROUNDS,
    noise_multiplier=0.0,
    clip_norm=0.5,
    local_batch_size=2,
    sequences_per_user=5,
    symbols_per_user=40,
    sequence_length=12,
)
COHORT = {"rule": {"criterion": "random"}, "population": "population one", "measurement": None}
SENTENCES = Declaration(
    command="train-wordlm",
    training=TRAINING,
    networks=TRAINING.networks(VOCABULARY.symbols),
    cohort=COHORT,
    population=USERS,
    conditional_on="vocabulary",
    # The quickest accountant.
    accountant="rdp",
    vocabulary=VOCABULARY,
)
WORDS = replace(
    SENTENCES,
    command="train-charlm",
    networks=TRAINING.networks(Bytes().symbols),
    cohort={**COHORT, "rule": {"criterion": "oov-words", "min_examples": 1, "vocabulary": VOCABULARY.digest}},
    vocabulary=None,
)
both = pytest.mark.parametrize("declared", [SENTENCES, WORDS], ids=["sentences", "words"])


def changed(declaration: Declaration, **changes) -> Declaration:
    return replace(declaration, training=replace(declaration.training, **changes))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, write_shard, sentences) -> FederatedDataset:
    return open_dataset([write_shard(tmp_path_factory.mktemp("shards") / "text.h5", sentences(USERS))])


def update_of(declaration: Declaration, dataset: FederatedDataset) -> LanguageModelUpdate:
    training, words = declaration.training, declaration.vocabulary is None
    return LanguageModelUpdate(
        dataset,
        Members(np.arange(USERS), outside=VOCABULARY if words else None),
        Bytes() if words else VOCABULARY,
        declaration.networks,
        declaration.mechanism,
        training.local_batch_size,
        training.local_epochs,
        training.sequences_per_user,
        training.symbols_per_user,
        training.sequence_length,
        training.client_learning_rate,
        declaration.seed,
    )


@pytest.fixture(scope="module")
def train(dataset, simulated_ledger):
    """A function that trains what was declared, from the start or on from a run's last checkpoint."""

    def trained(declaration: Declaration, path: Path, begin=start, update=None, **options) -> tuple[FedAvgState, Run]:
        ledger = simulated_ledger(path.parent)
        run, state, first_round = begin(declaration, path, ledger)
        update = update or update_of(declaration, dataset)

        def keys() -> list[int]:
            return [key(dataset.user_id(user)) for user in range(USERS)]

        options = {"workers": 1, "checkpoint_every": 1, **options}
        state, _ = train_declared(declaration, run, state, first_round, update, USERS, keys, ledger, **options)
        return state, run

    return trained


@pytest.fixture(scope="module")
def reference(train, tmp_path_factory):
    """A function that returns a training without noise and without a stop, in this process; done once for each."""
    done = {}

    def trained(declaration: Declaration) -> tuple[FedAvgState, Run]:
        if declaration.command not in done:
            done[declaration.command] = train(declaration, tmp_path_factory.mktemp("runs") / declaration.command)
        return done[declaration.command]

    return trained


def bits(state: FedAvgState) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in state.tensors().items()}


@both
def test_training_makes_the_users_text_more_likely(reference, dataset, declared):
    """On average over all users and by the model's own loss: their symbols cost less than before."""
    (trained, _), update = reference(declared), update_of(declared, dataset)
    first = declared.algorithm.init()
    assert all(tensor.isfinite().all() for tensor in trained.tensors().values())

    def loss(state: FedAvgState) -> float:
        model = declared.networks.build()
        attach(model, state.model.clone())
        ended = [[*one, update.codec.end] for member in range(USERS) for one in update.sequences(member)]
        return float(model.loss(*padded(ended, update.codec.begin)).detach())

    assert loss(trained) < loss(first)


@both
@pytest.mark.parametrize("workers", [1, 2])
def test_without_noise_the_seed_decides_every_bit_for_any_number_of_workers(
    train, reference, tmp_path, declared, workers
):
    state, run = train(declared, tmp_path / "again", workers=workers)
    expected, before = reference(declared)
    assert bits(state) == bits(expected)
    assert run.metrics() == before.metrics()


def test_another_seed_is_another_training(train, reference, tmp_path):
    state, _ = train(replace(SENTENCES, seed=1), tmp_path / "other")
    assert not torch.equal(state.model, reference(SENTENCES)[0].model)


def test_with_noise_no_training_is_ever_repeated(train, tmp_path):
    states = [train(changed(SENTENCES, noise_multiplier=0.01), tmp_path / name)[0] for name in ("one", "two")]
    assert not torch.equal(states[0].model, states[1].model)


def test_noise_of_the_stated_size_falls_on_every_coordinate(train, tmp_path):
    # Everybody takes part, so that what is left between the two is the noise alone.
    noisy, exact = (
        train(replace(changed(WORDS, noise_multiplier=z, rounds=1), population=4), tmp_path / str(z))[0]
        for z in (2.0, 0.0)
    )
    # Nesterov's momentum makes the first step 1 + 0.9 times the update.
    noise = (noisy.model - exact.model).double() / 1.9
    assert int((noise == 0).sum()) < 5
    # z S / m = 2 * 0.5 / 4, to six standard deviations of the mean of so many squares.
    assert abs(float(noise.square().mean()) / 0.25**2 - 1) < 6 * (2 / len(noise)) ** 0.5


@both
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stopped", [1, 3])
def test_resuming_equals_training_without_a_stop(train, reference, tmp_path, declared, workers, stopped):
    asked = iter(range(1, ROUNDS + 1))
    options = {"workers": workers, "checkpoint_every": 50}
    train(declared, tmp_path / "run", stop=lambda: next(asked) == stopped, **options)
    state, run = train(declared, tmp_path / "run", begin=resume, **options)
    expected, before = reference(declared)
    assert bits(state) == bits(expected)
    assert run.metrics() == before.metrics()
    assert run.rounds_opened == ROUNDS


@dataclass(frozen=True)
class KilledInRoundThree:
    """An update whose process is killed from outside while it computes."""

    update: ClientUpdate
    parent: int

    def __call__(self, public, members, round):
        assert os.getpid() != self.parent
        if round == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.update(public, members, round)


@both
@pytest.mark.parametrize("every", [1, 50])
def test_after_a_worker_was_killed_its_round_is_charged_anew_and_the_others_are_applied_again(
    train, reference, dataset, tmp_path, declared, every, simulated_ledger
):
    killed = KilledInRoundThree(update_of(declared, dataset), os.getpid())
    with pytest.raises(EngineError, match="--resume"):
        train(declared, tmp_path / "run", update=killed, workers=2, checkpoint_every=every)
    state, run = train(declared, tmp_path / "run", begin=resume, workers=2)
    expected, before = reference(declared)
    assert bits(state) == bits(expected)
    assert run.metrics() == before.metrics()
    # Round 3 was opened before it was lost; of rounds 1 and 2 the noised sums were written.
    assert run.rounds_opened == ROUNDS + 1
    planned, again = simulated_ledger(tmp_path).entries()
    assert (planned.events[0].rounds, again.events[0].rounds) == (ROUNDS, 1)


@pytest.mark.parametrize(
    "words", [("a", "the", *VOCABULARY.words[2:]), ("oak-street-0", *VOCABULARY.words[1:]), VOCABULARY.words[:-1]]
)
def test_a_run_goes_on_with_its_own_vocabulary_only(tmp_path, words, simulated_ledger):
    start(SENTENCES, tmp_path / "run", simulated_ledger(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = Vocabulary(words)
    with pytest.raises(RunError, match="another .*vocabulary") as refused:
        resume(
            replace(SENTENCES, vocabulary=other, networks=TRAINING.networks(other.symbols)),
            tmp_path / "run",
            simulated_ledger(tmp_path),
        )
    assert "oak-street" not in str(refused.value)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_run_after_some_rounds_goes_on_with_its_own_vocabulary_only_too(train, tmp_path, simulated_ledger):
    """The checkpoint does not even fit the other vocabulary's model."""
    train(changed(SENTENCES, rounds=1), tmp_path / "run")
    more = Vocabulary((*VOCABULARY.words, "and"))
    with pytest.raises(RunError, match="another .*vocabulary"):
        resume(
            replace(SENTENCES, vocabulary=more, networks=TRAINING.networks(more.symbols)),
            tmp_path / "run",
            simulated_ledger(tmp_path),
        )


def test_a_model_of_words_goes_on_with_the_words_outside_its_own_vocabulary_only(tmp_path, simulated_ledger):
    start(WORDS, tmp_path / "run", simulated_ledger(tmp_path))
    other = Vocabulary(VOCABULARY.words[::-1])
    cohort = {**WORDS.cohort, "rule": {**WORDS.cohort["rule"], "vocabulary": other.digest}}
    with pytest.raises(RunError, match="another cohort"):
        resume(replace(WORDS, cohort=cohort), tmp_path / "run", simulated_ledger(tmp_path))


@pytest.mark.parametrize(
    "name, other",
    [
        ("command", replace(SENTENCES, command="train-charlm")),
        ("architecture", replace(SENTENCES, networks=replace(SENTENCES.networks, peepholes=False))),
        ("conditional_on", replace(SENTENCES, conditional_on=None)),
        ("clip_norm", changed(SENTENCES, clip_norm=0.2)),
        ("sequence_length", changed(SENTENCES, sequence_length=5)),
    ],
)
def test_a_resumed_run_is_the_one_that_was_declared(tmp_path, name, other, simulated_ledger):
    start(SENTENCES, tmp_path / "run", simulated_ledger(tmp_path))
    with pytest.raises(RunError, match=f"another {name}[,;]"):
        resume(other, tmp_path / "run", simulated_ledger(tmp_path))


@both
def test_a_run_of_another_command_is_refused_though_its_checkpoint_fits_no_model_of_this_one(
    tmp_path, declared, simulated_ledger
):
    gan = GAN_PRESETS["quick"]
    other = replace(declared, command="train-gan", training=gan, networks=gan.networks((1, 8, 8)), vocabulary=None)
    run, state, _ = start(other, tmp_path / "gan", simulated_ledger(tmp_path))
    run.checkpoint(1, state.tensors())
    with pytest.raises(RunError, match="another command"):
        resume(declared, run.path, simulated_ledger(tmp_path))
    run, state, _ = start(declared, tmp_path / "language", simulated_ledger(tmp_path))
    run.checkpoint(1, state.tensors())
    with pytest.raises(RunError, match="another command"):
        resume(other, run.path, simulated_ledger(tmp_path))


def test_a_finished_run_may_go_on_to_more_rounds(train, reference, tmp_path):
    train(changed(SENTENCES, rounds=2), tmp_path / "run")
    state, run = train(SENTENCES, tmp_path / "run", begin=resume)
    assert bits(state) == bits(reference(SENTENCES)[0])
    assert SampledGaussian.from_json(run.privacy["event"]).rounds == ROUNDS


def test_a_run_of_a_word_model_holds_its_words_and_one_of_bytes_none(reference):
    assert reference(SENTENCES)[1].vocabulary == VOCABULARY
    assert reference(SENTENCES)[1].config["vocabulary"] == VOCABULARY.digest
    assert reference(WORDS)[1].config["vocabulary"] is None
    with pytest.raises(StoredError):
        _ = reference(WORDS)[1].vocabulary


@both
def test_a_run_holds_released_figures_and_nothing_of_the_text_or_the_users(reference, declared):
    _, run = reference(declared)
    assert {name for line in run.metrics() for name in line} == {"round", "released_update_norm"}
    files = [path for path in run.path.rglob("*") if path.is_file()]
    released = {"config.json", "privacy.json", "metrics.jsonl", "rounds_opened", "manifest.json", "tensors.safetensors"}
    words = set() if declared.vocabulary is None else {"vocabulary.txt"}
    assert {path.name for path in files} == released | words
    assert not any(secret in path.read_bytes() for path in files for secret in SECRETS)


def test_a_run_says_what_it_was_declared_to_cost_and_on_what_condition(tmp_path, simulated_ledger):
    declaration = replace(changed(WORDS, noise_multiplier=1.0), delta=1e-4)
    run, _, _ = start(declaration, tmp_path / "run", simulated_ledger(tmp_path))
    expected = epsilon([SampledGaussian(1.0, 0.5, ROUNDS)], 1e-4, "rdp")
    said = run.statement(accountant="rdp")
    assert declaration.statement().bound == said.bound == expected
    assert said.conditional_on == run.privacy["conditional_on"] == "vocabulary"
    assert "Conditional on the vocabulary:" in "\n".join(said.lines())


@both
@pytest.mark.parametrize("workers", [1, 2])
def test_users_whose_text_is_not_utf8_contribute_zeros_silently(
    train, write_shard, sentences, tmp_path, capfd, declared, workers
):
    users = sentences(USERS)
    for text in users.values():
        text["tokens"] = np.array([row.encode() for row in text["tokens"]])
    path = write_shard(tmp_path / "text.h5", users)
    update = update_of(declared, open_dataset([path]))
    with h5py.File(path, "a") as file:
        for group in file["examples"].values():
            rows = group["tokens"][...]
            rows[0] = b"oak-street \xff"
            group["tokens"][...] = rows
    everybody = replace(declared, population=1)
    state, _ = train(everybody, tmp_path / "run", update=update, workers=workers)
    assert torch.equal(state.model, everybody.algorithm.init().model)
    said = capfd.readouterr()
    assert not any(secret.decode() in text for secret in SECRETS for text in said)
