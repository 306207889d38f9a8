"""Language models: sizes of the paper, one way through them whichever way it is taken, and losses that know padding."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedprobe.models.language import NO_TARGET, LanguageConfig, LanguageModel

# The paper's: Section 5, with the projection that its parameter count implies; and Chen et al. 2019's char-LM.
WORDS = LanguageConfig(10_000, 96, 670, 96, 1, peepholes=False, tied=True)
BYTES = LanguageConfig(258, 128, 256, 128, 3, peepholes=True, tied=False)

SYMBOLS = 7
configs = st.builds(
    lambda embedding, hidden, projection, layers, peepholes, tied: LanguageConfig(
        SYMBOLS, embedding, hidden, embedding if tied else projection, layers, peepholes, tied
    ),
    *[st.integers(1, 5)] * 3,
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
sequences = st.lists(st.lists(st.integers(0, SYMBOLS - 1), min_size=1, max_size=6), min_size=1, max_size=4)


def made(config: LanguageConfig, seed: int = 0) -> LanguageModel:
    """A model in float64 whose every parameter, biases too, is random."""
    model, stream = config.build().double(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=stream)
    return model


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def padded(many: list[list[int]], to: int, filler: int) -> tuple[Tensor, Tensor]:
    """Inputs, each starting with symbol 0, and targets; where nothing follows the input is `filler`."""
    symbols = [[0, *one[:-1], *[filler] * (to - len(one))] for one in many]
    targets = [[*one, *[NO_TARGET] * (to - len(one))] for one in many]
    return torch.tensor(symbols), torch.tensor(targets)


class TestSizes:
    def test_the_word_model_is_the_papers(self):
        model = WORDS.build()
        assert count(model.layers) == 452_250
        assert count(model.layers) + count(model.embedding) == 1_412_250
        assert count(model) == 1_412_250 + 10_000

    @pytest.mark.parametrize(
        "peepholes, tied, parameters", [(True, False, 758_274), (False, False, 756_738), (True, True, 725_250)]
    )
    def test_the_character_model_is_the_papers(self, peepholes, tied, parameters):
        config = LanguageConfig(258, 128, 256, 128, 3, peepholes, tied)
        assert count(config.build()) == parameters

    @given(configs)
    def test_no_model_has_buffers(self, config):
        assert list(config.build().buffers()) == []

    @pytest.mark.parametrize("name", ["symbols", "embedding", "hidden", "projection", "layers"])
    @pytest.mark.parametrize("value", [0, -1])
    def test_sizes_that_make_no_model_are_refused(self, name, value):
        with pytest.raises(ValueError, match="at least 1"):
            LanguageConfig(**{**BYTES.to_json(), name: value})

    @given(st.integers(1, 9), st.integers(1, 9))
    def test_a_tied_output_needs_equal_sizes(self, embedding, projection):
        sizes = {**WORDS.to_json(), "embedding": embedding, "projection": projection}
        if embedding == projection:
            assert LanguageConfig(**sizes).tied
        else:
            with pytest.raises(ValueError, match="projection"):
                LanguageConfig(**sizes)
        assert not LanguageConfig(**{**sizes, "tied": False}).tied

    @pytest.mark.parametrize("config", [WORDS, BYTES])
    def test_a_configuration_survives_json(self, config):
        assert LanguageConfig(**config.to_json()) == config


@given(configs, st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**31))
def test_step_by_step_the_logits_are_those_of_the_whole(config, steps, many, seed):
    model = made(config, seed)
    symbols = torch.randint(SYMBOLS, (many, steps), generator=torch.Generator().manual_seed(seed))
    whole = model(symbols)
    assert whole.shape == (many, steps, SYMBOLS)
    state = model.start(many)
    for step in range(steps):
        logits, state = model.step(symbols[:, step], state)
        torch.testing.assert_close(logits, whole[:, step], rtol=1e-10, atol=1e-10)


@given(configs, sequences, st.integers(0, 2**31))
def test_dropout_is_for_training_alone(config, many, seed):
    plain, dropping = made(config, seed), made(replace(config, dropout=0.5), seed)
    symbols, targets = padded(many, 6, 0)
    assert torch.equal(dropping.eval()(symbols), plain(symbols))
    assert torch.equal(dropping.loss(symbols, targets), plain.loss(symbols, targets))
    state, before = dropping.train().start(len(many)), plain.start(len(many))
    assert torch.equal(dropping.step(symbols[:, 0], state)[0], plain.step(symbols[:, 0], before)[0])


@given(st.floats(0.1, 0.9), st.integers(0, 2**31))
def test_what_is_left_is_as_much_larger_as_others_are_gone(share, seed):
    config = LanguageConfig(SYMBOLS, 5, 5, 5, 1, peepholes=False, tied=False, dropout=share)
    model, symbols = made(config, seed), torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad():
        # The layer gives the last word: of an embedding that is dropped nothing is left to see.
        model.layers[0].w_input.zero_()
        whole = model.eval()._outputs(symbols)
        for _ in range(5):
            dropped = model.train()._outputs(symbols)
            # The share is rounded to a 65,536th.
            assert torch.allclose(dropped[dropped != 0], whole[dropped != 0] / (1 - share), rtol=1e-4)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="dropout"):
        replace(WORDS, dropout=share)


def test_a_state_may_be_gone_on_from_twice():
    model = made(LanguageConfig(SYMBOLS, 3, 4, 2, 2, peepholes=True, tied=False))
    _, state = model.step(torch.tensor([2, 5]), model.start(2))
    once, twice = (model.step(torch.tensor([1, 3]), state)[0] for _ in range(2))
    assert torch.equal(once, twice)


@given(configs, sequences, st.integers(0, 3), st.integers(0, SYMBOLS - 1), st.integers(0, 2**31))
def test_padding_changes_neither_the_loss_nor_its_gradient(config, many, more, filler, seed):
    model = made(config, seed)
    longest = max(map(len, many)) + more
    loss = model.loss(*padded(many, longest, filler))
    # Each sequence alone, one symbol after the other, and the mean over all that was to be predicted.
    surprises = []
    for one in many:
        state, previous = model.start(1), 0
        for symbol in one:
            logits, state = model.step(torch.tensor([previous]), state)
            surprises.append(-logits.log_softmax(1)[0, symbol])
            previous = symbol
    alone = torch.stack(surprises).mean()
    torch.testing.assert_close(loss, alone, rtol=1e-10, atol=1e-10)
    parameters = list(model.parameters())
    ours, theirs = (torch.autograd.grad(value, parameters) for value in (loss, alone))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


def test_a_model_of_nothing_but_biases_predicts_with_them():
    model = made(LanguageConfig(3, 2, 2, 2, 1, peepholes=False, tied=False))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.output_bias.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
    assert model(torch.tensor([[0, 2]])).exp()[0].tolist() == [pytest.approx([0.5, 0.25, 0.25])] * 2
    # -(2 ln 1/4 + ln 1/2) / 3 = 5/3 ln 2.
    loss = model.loss(torch.tensor([[0, 1], [0, 2]]), torch.tensor([[1, 2], [0, NO_TARGET]]))
    assert float(loss.detach()) == pytest.approx(5 / 3 * 0.693147, rel=1e-6)


def test_a_tied_output_is_the_embedding():
    tied = made(LanguageConfig(SYMBOLS, 3, 4, 3, 2, peepholes=True, tied=True))
    free = made(LanguageConfig(SYMBOLS, 3, 4, 3, 2, peepholes=True, tied=False))
    free.load_state_dict({**tied.state_dict(), "output": tied.embedding.weight})
    symbols, targets = padded([[1, 2, 3], [6]], 3, 0)
    assert torch.equal(tied(symbols), free(symbols))
    # What it learns as an output and as an embedding adds up.
    (whole,) = torch.autograd.grad(tied.loss(symbols, targets), [tied.embedding.weight])
    parts = torch.autograd.grad(free.loss(symbols, targets), [free.embedding.weight, free.output])
    torch.testing.assert_close(whole, sum(parts))
