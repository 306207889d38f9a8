"""Words and sentences of a language model: drawn as it says, scored exactly, shown safely."""

import itertools
import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedprobe.modeler import text_sampling
from fedprobe.modeler.printable import one_line, visible
from fedprobe.modeler.text_sampling import (
    TextSampler,
    drawn_sentences,
    drawn_words,
    log_probabilities,
    oov_by_position,
    open_text_sampler,
    sample_sequences,
    scored,
    top_words,
    write_samples,
)
from fedprobe.models.language import LanguageConfig, LanguageModel
from fedprobe.models.stored import StoredError, load_stored, store
from fedprobe.models.vocabulary import OOV, Bytes, Vocabulary
from fedprobe.runs import Run, RunError

# With a chance below it, an event in these tests is taken for a fault.
HARDLY_EVER = 1e-6


@dataclass(frozen=True)
class Letters:
    """The codec of a tiny alphabet: a, b and c are 0 to 2."""

    begin = 3
    end = 4
    symbols = 5
    impossible = (3,)

    def decode(self, ids):
        return "".join("abc"[id] for id in ids)


CODEC = Letters()


def words_of(longest: int) -> list[tuple[int, ...]]:
    """Every word of the tiny alphabet up to that length, the empty one too."""
    return [word for length in range(longest + 1) for word in itertools.product(range(3), repeat=length)]


def ended(words) -> list[list[int]]:
    return [[*word, CODEC.end] for word in words]


def random_model(seed: int, layers: int = 1, peepholes: bool = False, tied: bool = True) -> LanguageModel:
    """A model with large random weights, so that symbols depend on those before, in float64."""
    torch.manual_seed(seed)
    model = LanguageConfig(CODEC.symbols, 4, 6, 4, layers, peepholes, tied).build().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model.eval()


models = st.builds(random_model, st.integers(0, 10**6), st.integers(1, 2), st.booleans(), st.booleans())


def sampler_of(model, longest: int = 4) -> TextSampler:
    sampler = TextSampler(Run(Path("nowhere")), 1, model, CODEC)
    sampler.__dict__["longest"] = longest
    return sampler


class Unigrams:
    """Draws every symbol with the same chances, whatever came before; an impossible symbol seems the likeliest."""

    def __init__(self, *chances: float) -> None:
        a, b, c, end = (math.log(chance) if chance else -math.inf for chance in chances)
        self.logits = torch.tensor([a, b, c, 50.0, end], dtype=torch.float64)

    def start(self, sequences):
        return []

    def step(self, symbols, state):
        return self.logits.repeat(len(symbols), 1), state


@given(models, st.integers(0, 4))
def test_all_words_up_to_a_length_and_the_mass_of_longer_ones_sum_to_one(model, longest):
    words = np.exp(log_probabilities(model, CODEC, ended(words_of(longest))))
    unfinished = np.exp(log_probabilities(model, CODEC, list(itertools.product(range(3), repeat=longest + 1))))
    assert words.sum() + unfinished.sum() == pytest.approx(1, abs=1e-9)
    assert len(set(words)) > 1 or longest == 0


@given(models, st.lists(st.integers(0, 2), max_size=6))
def test_a_joint_probability_is_the_product_of_every_step(model, word):
    """Equation 1, from the whole sequence at once instead of step by step."""
    sequence = [*word, CODEC.end]
    with torch.no_grad():
        logits = model(torch.tensor([[CODEC.begin, *word]]))[0].numpy()
    possible = np.delete(np.exp(logits), CODEC.begin, axis=1)
    steps = np.exp(logits)[np.arange(len(sequence)), sequence] / possible.sum(axis=1)
    assert log_probabilities(model, CODEC, [sequence])[0] == pytest.approx(np.log(steps).sum(), abs=1e-9)


@given(models, st.permutations(words_of(2)), st.integers(1, 5))
def test_scores_come_in_the_order_of_the_words_however_many_are_scored_at_once(model, words, at_once):
    one_by_one = [log_probabilities(model, CODEC, [sequence])[0] for sequence in ended(words)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_sampling, "_AT_ONCE", at_once)
        assert log_probabilities(model, CODEC, ended(words)) == pytest.approx(one_by_one, abs=1e-9)


def test_nothing_to_score_has_no_scores():
    assert log_probabilities(random_model(0), CODEC, []).tolist() == []


def test_by_hand():
    model = Unigrams(0.5, 0.25, 0.125, 0.125)
    words = scored(sampler_of(model), [(0, 1), (2,), ()])
    assert [word.word for word in words] == ["ab", "c", ""]
    assert [word.joint_probability for word in words] == pytest.approx([1 / 64, 1 / 64, 1 / 8])


def test_probabilities_of_very_long_words_stay_finite_in_log_space():
    # 2^-20000 is no float64; its logarithm is.
    score = log_probabilities(Unigrams(0.5, 0.25, 0.125, 0.125), CODEC, [[0] * 20_000 + [CODEC.end]])[0]
    assert score == pytest.approx(-20_000 * math.log(2) - math.log(8), rel=1e-9)


def test_a_sequence_with_an_impossible_symbol_has_no_probability():
    for model in (random_model(0), Unigrams(0.5, 0.25, 0.125, 0.125)):
        scores = log_probabilities(model, CODEC, [[0, CODEC.begin, CODEC.end], [0, CODEC.end]])
        assert scores[0] == -math.inf and math.isfinite(scores[1])


@pytest.mark.parametrize("model", [random_model(1), random_model(7, layers=2, peepholes=True)], ids=["1", "2"])
def test_words_are_drawn_as_often_as_their_exact_probabilities_say(model):
    count, longest = 20_000, 3
    words = words_of(longest)
    exact = np.exp(log_probabilities(model, CODEC, ended(words)))
    drawn = Counter(map(tuple, sample_sequences(model, CODEC, count, longest, seed=0)))
    observed = np.array([drawn[(*word, CODEC.end)] for word in words])
    # Words too rare for the approximation, and those that were cut, count together.
    often = exact * count >= 10
    assert often.sum() >= 5
    observed = [*observed[often], count - observed[often].sum()]
    expected = [*exact[often], 1 - exact[often].sum()]
    assert stats.chisquare(observed, np.array(expected) * count).pvalue > HARDLY_EVER
    # And no word that the model cannot make: those are all of them.
    assert {sequence for sequence in drawn if sequence[-1] == CODEC.end} <= {(*word, CODEC.end) for word in words}


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, [4, 2, 1, 1]), (0.5, [16, 4, 1, 1]), (2.0, [2, 2**0.5, 1, 1])]
)
def test_a_temperature_sharpens_below_one_and_flattens_above(temperature, expected):
    """Chances of 4, 2, 1 and 1 in 8, to the power of 1 / temperature."""
    drawn = sample_sequences(Unigrams(0.5, 0.25, 0.125, 0.125), CODEC, 8000, 1, 0, temperature)
    first = np.bincount([sequence[0] for sequence in drawn], minlength=5)[[0, 1, 2, 4]]
    assert stats.chisquare(first, np.array(expected) * 8000 / sum(expected)).pvalue > HARDLY_EVER


def test_a_cold_model_always_says_the_likeliest():
    drawn = sample_sequences(Unigrams(0.4, 0.3, 0.1, 0.2), CODEC, 50, 3, 0, temperature=0.01)
    assert drawn == [[0, 0, 0]] * 50


@given(models, st.integers(0, 40), st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**40))
def test_as_many_sequences_as_asked_each_ended_once_or_cut(model, count, longest, at_once, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_sampling, "_AT_ONCE", at_once)
        drawn = sample_sequences(model, CODEC, count, longest, seed)
        assert drawn == sample_sequences(model, CODEC, count, longest, seed)
    assert len(drawn) == count
    for sequence in drawn:
        assert set(sequence[:-1]) <= {0, 1, 2}
        assert len(sequence) <= longest + 1 if sequence[-1] == CODEC.end else len(sequence) == longest


def test_another_seed_or_purpose_is_another_draw():
    model = random_model(1)
    draws = [
        str(sample_sequences(model, CODEC, 50, 4, seed, purpose=purpose))
        for seed in (0, 1)
        for purpose in ("one", "two")
    ]
    assert len(set(draws)) == len(draws)


def test_threads_are_independent_of_each_other_and_of_the_batch_before(monkeypatch):
    monkeypatch.setattr(text_sampling, "_AT_ONCE", 10)
    drawn = sample_sequences(Unigrams(0.3, 0.3, 0.3, 0.1), CODEC, 20, 8, 0)
    assert len(set(map(tuple, drawn))) > 10
    assert drawn[:10] != drawn[10:]


def test_impossible_symbols_are_never_drawn_however_likely():
    drawn = sample_sequences(Unigrams(0.3, 0.3, 0.3, 0.1), CODEC, 1000, 10, 0)
    assert CODEC.begin not in set(itertools.chain(*drawn))


def test_cut_and_empty_words_are_no_words():
    assert drawn_words(sampler_of(Unigrams(1, 0, 0, 0)), 20, 0) == []
    assert drawn_words(sampler_of(Unigrams(0, 0, 0, 1)), 20, 0) == []
    assert drawn_sentences(sampler_of(Unigrams(0, 0, 0, 1)), 3, 0) == [[], [], []]
    assert drawn_sentences(sampler_of(Unigrams(0, 1, 0, 0)), 2, 0) == [[1, 1, 1, 1]] * 2
    some = drawn_words(sampler_of(Unigrams(0.3, 0.3, 0.2, 0.2)), 500, 0)
    assert 0 < len(some) < 500
    assert {len(word) for word in some} == {1, 2, 3, 4}


@given(models, st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_ranking_is_that_of_all_exact_probabilities(model, top, random):
    words = words_of(3)[1:]
    drawn = [*words, *random.choices(words, k=30)]
    random.shuffle(drawn)
    exact = dict(zip(words, np.exp(log_probabilities(model, CODEC, ended(words))), strict=True))
    ranked = top_words(sampler_of(model), drawn, top)
    assert [word.joint_probability for word in ranked] == pytest.approx(sorted(exact.values(), reverse=True)[:top])
    assert len({word.ids for word in ranked}) == top
    for word in ranked:
        assert word.joint_probability == pytest.approx(exact[word.ids]) and word.word == CODEC.decode(word.ids)


def test_the_ranking_of_what_was_drawn_is_the_ranking_of_all_words():
    model = Unigrams(0.4, 0.2, 0.1, 0.3)
    # a, b, aa, c with .12, .06, .048, .03: each of them is among 5,000 but with a chance below 1e-60.
    exact = {word: math.prod(([0.4, 0.2, 0.1][id] for id in word), start=0.3) for word in words_of(4)[1:]}
    best = sorted(exact, key=exact.get, reverse=True)[:4]
    ranked = top_words(sampler_of(model), drawn_words(sampler_of(model), 5000, 0), 4)
    assert [word.joint_probability for word in ranked] == pytest.approx([exact[word] for word in best])


sentences_of_ids = st.lists(st.lists(st.integers(OOV, 6), max_size=6), max_size=30)


@given(sentences_of_ids)
def test_rates_by_position_are_counted_over_the_sentences_that_reach_it(sentences):
    profile = oov_by_position(sentences)
    assert len(profile.rates) == max(map(len, sentences), default=0)
    for position, rate in enumerate(profile.rates):
        there = [sentence[position] for sentence in sentences if len(sentence) > position]
        assert (profile.reached[position], profile.oov[position]) == (len(there), there.count(OOV))
        assert rate == there.count(OOV) / len(there)
    words = list(itertools.chain(*sentences))
    assert profile.overall == (words.count(OOV) / len(words) if words else 0)


@given(sentences_of_ids)
def test_intervals_are_wilsons_and_hold_their_rates(wilson, sentences):
    profile = oov_by_position(sentences)
    for rate, interval, hits, count in zip(profile.rates, profile.intervals, profile.oov, profile.reached, strict=True):
        assert interval == pytest.approx(wilson(int(hits), int(count)), abs=1e-9)
        assert interval[0] <= rate <= interval[1]
    if len(profile.rates):
        expected = wilson(int(profile.oov.sum()), int(profile.reached.sum()))
        assert profile.overall_interval == pytest.approx(expected, abs=1e-9)


def test_a_profile_by_hand():
    profile = oov_by_position([[OOV, 5], [5], [], [6, OOV, OOV], [7, 7, 7]])
    assert profile.oov.tolist() == [1, 1, 1]
    assert profile.reached.tolist() == [4, 3, 2]
    assert profile.rates == [1 / 4, 1 / 3, 1 / 2]
    assert profile.overall == 3 / 9
    # Wilson's 95% interval of 1 in 2: 1/2 +- z / (2 sqrt(2 + z^2)).
    half = 1.959964 / (2 * math.sqrt(2 + 1.959964**2))
    assert profile.intervals[2] == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    value = profile.to_json()
    assert json.loads(json.dumps(value)) == value
    assert (value["oov_rate"], value["oov_rate_by_position"]) == (profile.overall, profile.rates)
    assert value["sentences_by_position"] == [4, 3, 2]


@pytest.mark.parametrize("sentences", [[], [[]], [[], []]])
def test_without_words_there_are_no_rates(sentences):
    profile = oov_by_position(sentences)
    assert (profile.rates, profile.intervals, profile.overall) == ([], [], 0)
    low, high = profile.overall_interval
    assert low == 0 and high > 0.5
    assert json.loads(json.dumps(profile.to_json())) == profile.to_json()


def test_words_come_from_the_run(speaks):
    a, b = b"ab"
    sampler = open_text_sampler(speaks("words", {a: 0.5, b: 0.25, Bytes.end: 0.25}, longest=6).path)
    assert (sampler.round, sampler.longest) == (1, 6)
    (word,) = scored(sampler, [sampler.codec.encode("ab")])
    assert (word.word, word.joint_probability) == ("ab", pytest.approx(0.5 * 0.25 * 0.25))
    assert set(map(type, drawn_words(sampler, 10, 0))) == {list}
    assert {len(word) for word in drawn_words(sampler, 500, 0)} == {1, 2, 3, 4, 5, 6}


def test_sentences_come_from_the_run_with_its_vocabulary(speaks):
    vocabulary = Vocabulary(("the", "cat"))
    run = speaks("sentences", {OOV: 0.25, 4: 0.25, 5: 0.25, vocabulary.end: 0.25}, vocabulary, longest=4)
    for path in (run.path, run.path / "checkpoints" / "round_000001"):
        sampler = open_text_sampler(path)
        assert (sampler.codec, sampler.longest) == (vocabulary, 4)
    profile = oov_by_position(drawn_sentences(sampler, 3000, 0))
    # A sentence goes on with 3/4; of the words of those that do, 1/3 are out of vocabulary.
    assert stats.binomtest(int(profile.oov[0]), int(profile.reached[0]), 1 / 3).pvalue > HARDLY_EVER
    assert stats.binomtest(int(profile.reached[0]), 3000, 3 / 4).pvalue > HARDLY_EVER
    assert len(profile.rates) == 4


def test_a_run_is_sampled_at_its_latest_checkpoint_and_a_checkpoint_at_its_own(speaks):
    run = speaks("words", {97: 0.5, Bytes.end: 0.5})
    tensors, _ = run.load()
    run.checkpoint(10, {"average": torch.zeros_like(tensors["average"])})
    assert open_text_sampler(run.path).round == 10
    sampler = open_text_sampler(run.path / "checkpoints" / "round_000001")
    assert sampler.round == 1
    assert scored(sampler, [[97]])[0].joint_probability == pytest.approx(0.25)


def test_a_sampled_model_is_its_own_and_leaves_the_parameters_alone(speaks):
    run = speaks("words", {97: 0.5, Bytes.end: 0.5})
    vector = run.load()[0]["average"]
    before = vector.clone()
    model = text_sampling.model_of(open_text_sampler(run.path).model.config, vector)
    with torch.no_grad():
        model.output_bias.add_(1)
    assert torch.equal(vector, before)
    assert not model.training


@pytest.mark.parametrize("command", ["train-gan", "train-classifier", None])
def test_a_run_of_another_command_holds_no_language_model(tmp_path, command):
    run = Run.create(tmp_path / "run", {} if command is None else {"command": command}, {})
    with pytest.raises(StoredError, match="train-wordlm or train-charlm"):
        open_text_sampler(run.path)


def test_a_run_of_a_gan_holds_no_language_model(make_run):
    with pytest.raises(StoredError, match="no language model"):
        open_text_sampler(make_run("a").path)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError):
        open_text_sampler(tmp_path)


def rewrite(run: Run, **changes) -> None:
    (run.path / "config.json").write_text(json.dumps(run.config | changes))


def spoil_bytes(run: Run) -> None:
    file = run.path / "checkpoints" / "round_000001" / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def spoil_tensors(run: Run, tensors: dict) -> None:
    folder = run.path / "checkpoints" / "round_000001"
    description = load_stored(folder)[1]
    del description["tensors_sha256"]
    store(folder, tensors, description)


TAMPERED = {
    "an altered byte": spoil_bytes,
    "another length": lambda run: spoil_tensors(run, {"average": torch.zeros(7)}),
    "other tensors": lambda run: spoil_tensors(run, {"average": torch.zeros(7)}),
    "other words": lambda run: (run.path / "vocabulary.txt").write_text("the\ndog\n"),
    "words in another order": lambda run: (run.path / "vocabulary.txt").write_text("cat\nthe\n"),
    "one word less": lambda run: (run.path / "vocabulary.txt").write_text("the\n"),
    "a word twice": lambda run: (run.path / "vocabulary.txt").write_text("the\nthe\n"),
    "no vocabulary": lambda run: (run.path / "vocabulary.txt").unlink(),
    "no sizes": lambda run: rewrite(run, architecture={}),
    "sizes of nothing": lambda run: rewrite(run, architecture=run.config["architecture"] | {"layers": 0}),
    "an unknown size": lambda run: rewrite(run, architecture=run.config["architecture"] | {"depth": 1}),
    "no training": lambda run: rewrite(run, training={}),
    "sentences of nothing": lambda run: rewrite(run, training={"sequence_length": 0}),
}


@pytest.mark.parametrize("fault", TAMPERED)
def test_a_run_that_was_tampered_with_is_refused(speaks, fault):
    vocabulary = Vocabulary(("the", "cat"))
    run = speaks("sentences", {4: 0.5, vocabulary.end: 0.5}, vocabulary)
    open_text_sampler(run.path)
    TAMPERED[fault](run)
    with pytest.raises(StoredError) as refused:
        open_text_sampler(run.path)
    for word in ("the\n", "cat", "dog"):
        assert word not in str(refused.value)


def test_a_model_of_other_symbols_than_its_codecs_is_refused(speaks, tmp_path):
    """A model of words under the name of one of bytes."""
    vocabulary = Vocabulary(("the", "cat"))
    run = speaks("sentences", {4: 0.5, vocabulary.end: 0.5}, vocabulary)
    rewrite(run, command="train-charlm")
    with pytest.raises(StoredError, match="train again"):
        open_text_sampler(run.path)


@given(st.text())
def test_one_line_is_one_line_of_printable_signs(text):
    shown = one_line(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert one_line(shown) == shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("of the", "of␣the"),
        ("", ""),
        ("a\nb\r", r"a\nb\r"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\u202eevil", r"\u202eevil"),
        ("naïve №1", "naïve␣№1"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(word, shown):
    assert visible(word) == shown


def test_samples_are_written_one_a_line_whatever_is_in_them(speaks, tmp_path):
    newline, escape = b"\n\x1b"
    sampler = open_text_sampler(speaks("w", {newline: 0.3, escape: 0.2, 0xFF: 0.2, Bytes.end: 0.3}).path)
    path = write_samples(tmp_path / "deep" / "samples.txt", sampler.model, sampler.codec, sampler.longest, seed=0)
    lines = path.read_bytes().decode().split("\n")
    assert (len(lines), lines[-1]) == (101, "")
    assert set("".join(lines)) == set("\\nx1bff")


def test_written_sentences_hold_words_and_unk_apart(speaks, tmp_path):
    vocabulary = Vocabulary(("the", "cat"))
    sampler = open_text_sampler(speaks("s", {OOV: 0.4, 5: 0.4, vocabulary.end: 0.2}, vocabulary).path)
    path = write_samples(tmp_path / "samples.txt", sampler.model, vocabulary, sampler.longest, seed=0)
    assert set(path.read_text().split()) == {"UNK", "cat"}
    again = write_samples(tmp_path / "again.txt", sampler.model, vocabulary, sampler.longest, seed=0)
    assert path.read_text() == again.read_text()
