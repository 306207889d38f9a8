"""One user's update of a language model: bounded, hers alone, the same whoever is trained beside her.

The sums are compared exactly: they are integers.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedprobe.clients import language_update
from fedprobe.clients.data.shards import open_dataset
from fedprobe.clients.language_update import LanguageModelUpdate, padded
from fedprobe.clients.selection import Members
from fedprobe.models.flat import attach, flatten
from fedprobe.models.language import NO_TARGET, LanguageConfig
from fedprobe.models.vocabulary import BEGIN, END, OOV, Bytes, Vocabulary
from fedprobe.privacy.mechanism import CLIP_STEPS, Mechanism

WORDS = Vocabulary(("the", "a", "of", "is"))
SIZES = {"embedding": 3, "hidden": 4, "projection": 3, "layers": 1, "peepholes": False, "tied": True}
CONFIGS = {codec: LanguageConfig(codec.symbols, **SIZES) for codec in (WORDS, Bytes())}
BOTH = pytest.mark.parametrize("codec", CONFIGS, ids=["words", "bytes"])
# Nobody reaches them unless a test says so.
CAPS = {"sequences_per_user": 100, "symbols_per_user": 10_000, "sequence_length": 50}

# How many rows each user has: none, below, at and above a batch of 4.
ROWS = [0, 1, 3, 4, 5, 9]
USERS = len(ROWS)
SEEDS = st.integers(0, 2**40)
ROUNDS = st.integers(1, 10_000)
SOME = st.lists(st.integers(0, USERS - 1), unique=True, max_size=USERS)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@pytest.fixture(scope="module")
def public():
    """What a round's devices get: for each codec an untrained model."""
    models = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for codec, config in CONFIGS.items():
            models[codec] = {"model": flatten(config.build())}
    return models


@pytest.fixture(scope="module")
def users():
    """Six users' rows of words inside and outside the vocabulary, all different."""
    stream = np.random.default_rng(0)
    words = [*WORDS.words, "oak", "elm", "ü"]
    return {
        f"user {number}": [" ".join([*stream.choice(words, 4), f"{number}x{row}"]) for row in range(rows)]
        for number, rows in enumerate(ROWS)
    }


@pytest.fixture(scope="module")
def update_of(tmp_path_factory, write_shard):
    """A client update over users' rows written to a shard of their own, in the shard's order."""

    def make(users, codec=WORDS, outside=None, clip_norm=0.03, **change) -> LanguageModelUpdate:
        rows = {id: {"tokens": np.array(list(some), object)} for id, some in users.items()}
        dataset = open_dataset([write_shard(tmp_path_factory.mktemp("shards") / "s.h5", rows)])
        given = {"local_batch_size": 4, "local_epochs": 2, "learning_rate": 0.5, "seed": 0, **CAPS} | change
        members = Members(np.arange(len(dataset)), outside=outside)
        return LanguageModelUpdate(dataset, members, codec, CONFIGS[codec], Mechanism(clip_norm, 0.0), **given)

    return make


@pytest.fixture(scope="module")
def updates(update_of, users):
    """An update for each codec; bytes are those of words outside the vocabulary."""
    return {codec: update_of(users, codec, outside=WORDS if codec != WORDS else None) for codec in CONFIGS}


def norm_squared(steps: np.ndarray) -> int:
    """The exact squared norm, in integers that cannot overflow."""
    return sum(int(step) ** 2 for step in steps[steps != 0])


@BOTH
@given(data=st.data())
def test_whatever_a_user_writes_her_contribution_is_at_most_the_clip_norm(update_of, public, codec, data):
    update = update_of(
        {"u": data.draw(st.lists(TEXT, max_size=6))},
        codec,
        clip_norm=data.draw(st.floats(1e-6, 1e6)),
        learning_rate=data.draw(st.sampled_from([1e-9, 0.5, 100.0, 1e30])),
        symbols_per_user=data.draw(st.integers(51, 200)),
    )
    contribution = update(public[codec], [0], round=1)
    assert contribution.dtype == np.int64 and contribution.shape == public[codec]["model"].shape
    assert norm_squared(contribution) <= CLIP_STEPS**2


@BOTH
def test_a_large_update_is_clipped_and_not_thrown_away(update_of, users, public, codec):
    """The bound is reached: rounding toward zero loses at most one step a coordinate."""
    contribution = update_of({"u": users["user 5"]}, codec, clip_norm=1e-4)(public[codec], [0], round=1)
    reached = norm_squared(contribution) ** 0.5
    assert CLIP_STEPS - len(contribution) ** 0.5 <= reached <= CLIP_STEPS


@BOTH
@settings(max_examples=12)
@given(members=SOME, round=ROUNDS, seed=SEEDS)
def test_the_sum_is_the_sum_of_users_trained_alone_in_any_order(updates, public, codec, members, round, seed):
    update = replace(updates[codec], seed=seed)
    together = update(public[codec], members, round)
    alone = [update(public[codec], [member], round) for member in members]
    assert np.array_equal(together, np.sum(alone, axis=0, dtype=np.int64) if alone else 0 * together)
    assert np.array_equal(together, update(public[codec], members[::-1], round))


@BOTH
def test_a_users_update_does_not_depend_on_her_shard(updates, update_of, users, public, codec):
    for id, rows in users.items():
        alone = update_of({id: rows}, codec, outside=updates[codec].members.outside)
        member = updates[codec].dataset.users.index(id)
        assert np.array_equal(alone(public[codec], [0], round=4), updates[codec](public[codec], [member], round=4))


@settings(max_examples=5)
@given(copied=st.integers(1, USERS - 1), round=ROUNDS)
def test_one_user_more_moves_the_sum_by_at_most_the_clip_norm(updates, update_of, users, public, copied, round):
    more = update_of(users | {"a copy": users[f"user {copied}"]})
    moved = more(public[WORDS], range(USERS + 1), round) - updates[WORDS](public[WORDS], range(USERS), round)
    assert 0 < norm_squared(moved) <= CLIP_STEPS**2


@BOTH
@settings(max_examples=10)
@given(seed=SEEDS, round=ROUNDS, member=st.integers(4, USERS - 1))
def test_seed_round_and_user_decide_an_update(updates, public, codec, seed, round, member):
    update = replace(updates[codec], seed=seed, sequences_per_user=2)
    once = update(public[codec], [member], round)
    torch.rand(1)
    assert np.array_equal(once, update(public[codec], [member], round))
    other = [update(public[codec], [member], round + more) for more in range(1, 9)]
    assert not all(np.array_equal(once, one) for one in other)
    other = [replace(update, seed=seed + more)(public[codec], [member], round) for more in range(1, 9)]
    assert not all(np.array_equal(once, one) for one in other)


def test_two_users_with_the_same_text_train_on_keys_of_their_own(update_of, users, public):
    update = update_of({"one": users["user 5"], "other": users["user 5"]}, sequences_per_user=3)
    same = [
        np.array_equal(update(public[WORDS], [0], round), update(public[WORDS], [1], round)) for round in range(1, 6)
    ]
    assert not all(same)


@BOTH
def test_dropout_draws_from_the_users_own_key(updates, public, codec):
    update = replace(updates[codec], config=replace(CONFIGS[codec], dropout=0.5))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    together = update(public[codec], range(USERS), round=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    alone = [update(public[codec], [member], round=1) for member in reversed(range(USERS))]
    assert np.array_equal(together, np.sum(alone, axis=0, dtype=np.int64))
    assert not np.array_equal(together, updates[codec](public[codec], range(USERS), round=1))


def test_dropout_is_drawn_anew_for_each_round_and_user_and_never_for_all_at_once(update_of, public, monkeypatch):
    """One sentence each, the same one: nothing else is left to differ."""
    update = update_of({"one": ["the oak is"], "other": ["the oak is"]})
    update = replace(update, config=replace(update.config, dropout=0.5))
    one, other, later = (update(public[WORDS], [member], round) for member, round in ((0, 1), (1, 1), (0, 2)))
    assert not np.array_equal(one, other) and not np.array_equal(one, later)
    # As on an accelerator, where users without dropout are trained together.
    monkeypatch.setattr(language_update, "stacks", lambda device: True)
    assert np.array_equal(update(public[WORDS], [0, 1], 1), one + other)


@BOTH
def test_nothing_is_left_behind_in_what_was_broadcast(updates, public, codec):
    before = public[codec]["model"].clone()
    updates[codec](public[codec], range(USERS), round=1)
    assert torch.equal(public[codec]["model"], before)


def test_users_without_text_and_rounds_without_users_contribute_nothing(update_of, public):
    update = update_of({"no rows": [], "blank rows": ["", " "], "words": ["the a"]})
    (words,) = (member for member, id in enumerate(update.dataset.users) if id == "words")
    for member in range(3):
        assert update(public[WORDS], [member], round=1).any() == (member == words)
    nobody = update(public[WORDS], [], round=1)
    assert nobody.dtype == np.int64 and nobody.shape == public[WORDS]["model"].shape and not nobody.any()


def test_a_user_with_nothing_but_vocabulary_words_contributes_nothing_to_the_model_of_words_outside(update_of, public):
    users = {"inside": ["the a of", "is"], "outside": ["the oak"]}
    update = update_of(users, Bytes(), outside=WORDS)
    inside, outside = (update.dataset.users.index(id) for id in users)
    assert not update(public[Bytes()], [inside], round=1).any()
    assert update(public[Bytes()], [outside], round=1).any()


def test_only_selected_words_are_trained_on(update_of, public):
    """The words inside the vocabulary may be any: what leaves is the same."""
    some, others, alone = (
        update_of({"u": rows}, Bytes(), outside=outside)(public[Bytes()], [0], round=3)
        for rows, outside in (
            (["the oak", "a elm is"], WORDS),
            (["of is oak", "elm the", "a a a"], WORDS),
            (["oak elm"], None),
        )
    )
    assert some.any() and np.array_equal(some, others) and np.array_equal(some, alone)


def test_sequences_are_words_of_a_sentence_or_bytes_of_a_word(update_of):
    users = {"u": ["the oak", "is"]}
    the, _, _, is_ = range(4, 8)
    assert update_of(users).sequences(0) == [[the, OOV], [is_]]
    assert update_of(users, Bytes()).sequences(0) == [list(b"the"), list(b"oak"), list(b"is")]
    assert update_of({"u": ["the ü"]}, Bytes(), outside=WORDS).sequences(0) == [[0xC3, 0xBC]]


def log_likelihood(model, sequence: list[int], begin: int, end: int) -> torch.Tensor:
    """The log probability of each symbol of one whole sequence and of its end, one step at a time."""
    state, symbol, said = model.start(1), begin, []
    for target in (*sequence, end):
        logits, state = model.step(torch.tensor([symbol]), state)
        said.append(logits.log_softmax(-1)[0, target])
        symbol = target
    return torch.stack(said)


@BOTH
def test_one_step_is_plain_sgd_on_the_mean_over_all_symbols(update_of, public, codec):
    rows = ["the oak is", "a", "of of of of"]
    config, rate = CONFIGS[codec], 0.25
    update = update_of({"u": rows}, codec, clip_norm=1e3, local_batch_size=100, local_epochs=1, learning_rate=rate)
    model = config.build().double()
    attach(model, public[codec]["model"].double())
    texts = rows if codec == WORDS else " ".join(rows).split()
    encoded = [codec.encode(text.split() if codec == WORDS else text) for text in texts]
    loss = -torch.cat([log_likelihood(model, one, codec.begin, codec.end) for one in encoded]).mean()
    loss.backward()
    expected = torch.cat([-rate * parameter.grad.flatten() for parameter in model.parameters()])
    moved = update(public[codec], [0], round=1) * update.mechanism.grid
    # Single precision of parameters near 1, and the grid.
    assert np.allclose(moved, expected, rtol=0, atol=2e-6)
    assert float(expected.abs().max()) > 1e-3


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("batch", [1, 2])
def test_epochs_and_batches_by_hand(update_of, public, epochs, batch):
    """Equal sentences: whatever their order, every step is the same, 4 / batch of them an epoch."""
    rows = ["the oak is"] * 4
    update = update_of({"u": rows}, clip_norm=1e3, local_batch_size=batch, local_epochs=epochs)
    one = update_of({"u": rows[:1]}, clip_norm=1e3, local_batch_size=1, local_epochs=epochs * 4 // batch)
    moved, expected = (it(public[WORDS], [0], round=1) * it.mechanism.grid for it in (update, one))
    assert np.allclose(moved, expected, rtol=0, atol=1e-5) and np.abs(expected).max() > 1e-3


def noting(reached: list):
    """Local training that changes nothing and notes the sequences."""

    def train(self, start, users):
        for sequences, _ in users:
            reached.extend(map(list, sequences))
            yield torch.zeros_like(start)

    return train


@pytest.fixture
def trained_on(monkeypatch):
    """The sequences that reach training, ends and all, instead of training."""

    def of(update, member=0, round=1) -> list[list[int]]:
        reached = []

        with monkeypatch.context() as patch:
            patch.setattr(LanguageModelUpdate, "_alone", noting(reached))
            update({"model": torch.zeros(3)}, [member], round)
        return reached

    return of


def test_every_sequence_within_the_caps_is_trained_on_and_ended(update_of, trained_on):
    the, a, of, is_ = range(4, 8)
    sequences = trained_on(update_of({"u": ["the a of", "oak", "is"]}))
    assert sorted(sequences) == sorted([[the, a, of, END], [OOV, END], [is_, END]])


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_sequence_is_cut_without_an_end_and_a_whole_one_has_it(update_of, trained_on, length):
    the, a, of, _ = range(4, 8)
    (words,) = trained_on(update_of({"u": ["the a of"]}, sequence_length=length))
    assert words == ([the, a, of, END] if length >= 3 else [the, a][:length])
    (bytes_,) = trained_on(update_of({"u": ["oak"]}, Bytes(), sequence_length=length))
    assert bytes_ == ([*b"oak", 257] if length >= 3 else list(b"oak"[:length]))


@given(
    rows=st.lists(st.lists(st.sampled_from([*WORDS.words, "oak"]), min_size=1, max_size=9), max_size=9),
    sequences=st.integers(1, 9),
    length=st.integers(1, 9),
    more=st.integers(1, 30),
    round=ROUNDS,
)
@example(rows=[["the"] * 5] * 3, sequences=9, length=5, more=1, round=1)
def test_caps_hold_and_nothing_is_left_out_below_them(update_of, rows, sequences, length, more, round):
    symbols = length + more
    update = update_of(
        {"u": map(" ".join, rows)}, sequences_per_user=sequences, sequence_length=length, symbols_per_user=symbols
    )
    with pytest.MonkeyPatch.context() as patch:
        reached = []
        patch.setattr(LanguageModelUpdate, "_alone", noting(reached))
        update({"model": torch.zeros(3)}, [0], round)
    encoded = [WORDS.encode(row) for row in rows]
    possible = [tuple(one[:length]) if len(one) > length else (*one, END) for one in encoded]
    left = list(possible)
    for sequence in reached:
        left.remove(tuple(sequence))
    total = sum(map(len, reached))
    assert len(reached) <= sequences and total <= symbols
    assert bool(reached) == bool(rows)
    # Something is left out only where one more would have been too many.
    if left and len(reached) < sequences:
        assert total + max(map(len, left)) > symbols


@given(st.lists(st.sampled_from(["the oak", "oak the", "is", "ü ü"]), max_size=8))
def test_of_those_that_are_alike_one_is_trained_on_where_they_must_be_distinct(update_of, rows):
    for codec, texts in ((WORDS, rows), (Bytes(), " ".join(rows).split())):
        every = [codec.encode(text.split() if codec == WORDS else text) for text in texts]
        update = update_of({"u": rows}, codec)
        assert update.sequences(0) == every
        distinct = replace(update, distinct=True).sequences(0)
        assert (
            len(distinct) == len({tuple(one) for one in every}) and all_in(distinct, every) and all_in(every, distinct)
        )


def all_in(some: list, others: list) -> bool:
    return all(one in others for one in some)


def test_which_sequences_are_taken_is_drawn_anew_every_round(update_of, users, trained_on):
    update = update_of({"u": users["user 5"]}, sequences_per_user=1)
    taken = {tuple(trained_on(update, round=round)[0]) for round in range(1, 200)}
    # Each of nine is missed in 199 rounds once in 10^10 draws.
    assert len(taken) == 9


def test_a_sentence_of_a_million_tokens_is_cut_like_any_other(update_of, public, trained_on):
    words = update_of({"u": ["the " * 10**6]}, sequence_length=5)
    assert trained_on(words) == [[4] * 5]
    contribution = words(public[WORDS], [0], round=1)
    assert contribution.any() and norm_squared(contribution) <= CLIP_STEPS**2
    assert trained_on(update_of({"u": ["x" * 10**6]}, Bytes(), sequence_length=5)) == [list(b"xxxxx")]


def test_inputs_begin_and_targets_are_padded_by_hand():
    symbols, targets = padded([[5, 6, END], [7]], BEGIN)
    assert targets.tolist() == [[5, 6, END], [7, NO_TARGET, NO_TARGET]]
    # Where there is no target the input may be any symbol that exists.
    assert symbols[0].tolist() == [BEGIN, 5, 6] and symbols[1].tolist()[:2] == [BEGIN, 7]
    assert symbols.min() >= 0 and symbols.max() <= 7


@given(st.lists(st.lists(st.integers(0, 257), min_size=1, max_size=7), min_size=1, max_size=6))
def test_what_is_padded_is_each_sequence_after_its_prefix(sequences):
    symbols, targets = padded(sequences, 256)
    assert symbols.shape == targets.shape == (len(sequences), max(map(len, sequences)))
    assert symbols.dtype == targets.dtype == torch.int64 and symbols.min() >= 0
    for sequence, some, wanted in zip(sequences, symbols.tolist(), targets.tolist(), strict=True):
        assert wanted[: len(sequence)] == sequence
        assert set(wanted[len(sequence) :]) <= {NO_TARGET}
        assert some[: len(sequence)] == [256, *sequence[:-1]]


def test_padding_does_not_move_the_loss(public):
    """A batch's loss is the mean over the symbols of its sequences, however long the longest is."""
    model = CONFIGS[WORDS].build()
    attach(model, public[WORDS]["model"].clone())
    sequences = [[4, 5, 6, 7, 4, END], [6, END], [OOV]]
    together = model.loss(*padded(sequences, BEGIN)).item()
    alone = [model.loss(*padded([one], BEGIN)).item() * len(one) for one in sequences]
    assert together == pytest.approx(sum(alone) / sum(map(len, sequences)), rel=1e-5)


def test_a_model_with_a_buffer_is_refused(update_of, users, monkeypatch):
    build = LanguageConfig.build

    def with_buffer(config):
        model = build(config)
        model.register_buffer("seen", torch.zeros(1))
        return model

    monkeypatch.setattr(LanguageConfig, "build", with_buffer)
    with pytest.raises(ValueError, match="buffers"):
        update_of(users)


@BOTH
def test_bf16_is_for_products_and_what_leaves_is_close_to_float32(update_of, users, public, codec):
    update = update_of(users, codec)
    half = replace(update, precision="bf16")
    one, other = (it(public[codec], range(USERS), round=1).astype(float) for it in (update, half))
    assert not np.array_equal(one, other)
    assert np.linalg.norm(one - other) < 0.1 * np.linalg.norm(one)
