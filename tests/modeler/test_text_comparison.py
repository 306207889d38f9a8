"""Language models side by side."""

import math

import pytest
from scipy import stats

from fedprobe.modeler.comparison import ComparisonError
from fedprobe.modeler.text_comparison import compare_sentences, compare_words
from fedprobe.modeler.text_sampling import open_text_sampler
from fedprobe.models.vocabulary import OOV, Bytes, Vocabulary

A, B, BLANK = b"ab "
END = Bytes.end
VOCABULARY = Vocabulary(("the", "cat", "sat"))
PLAIN = {A: 0.4, B: 0.2, BLANK: 0.01, END: 0.39}
JOINED = {A: 0.3, B: 0.1, BLANK: 0.3, END: 0.3}
KNOWN = {OOV: 0.05, 4: 0.4, 5: 0.3, VOCABULARY.end: 0.25}
UNKNOWN = {OOV: 0.45, 4: 0.2, 5: 0.1, VOCABULARY.end: 0.25}


@pytest.fixture
def of_words(speaks):
    """Samplers of words from the chances of their bytes, in runs called a, b, ..."""

    def make(*chances):
        return [open_text_sampler(speaks(name, one).path) for name, one in zip("abcd", chances, strict=False)]

    return make


@pytest.fixture
def of_sentences(speaks):
    """Samplers of sentences from the chances of their words, in runs called a, b, ..."""

    def make(*chances, vocabulary=VOCABULARY):
        runs = [speaks(name, one, vocabulary) for name, one in zip("abcd", chances, strict=False)]
        return [open_text_sampler(run.path) for run in runs]

    return make


def chance(word: str, chances) -> float:
    """By hand: one factor a byte, and the end's."""
    return math.prod((chances.get(byte, 0) for byte in word.encode()), start=chances[END])


def test_every_model_gives_its_exact_probability_of_every_shown_word(of_words):
    result = compare_words(of_words(PLAIN, JOINED), ["before", "after"], count=2000, top=6)
    assert result.names == ["before", "after"]
    assert [len(ranked) for ranked in result.top] == [6, 6]
    for side, ranked in enumerate(result.top):
        assert ranked[0].word == "a"
        own = [word.probabilities[side] for word in ranked]
        assert own == sorted(own, reverse=True)
        for word in ranked:
            expected = [chance(word.word, PLAIN), chance(word.word, JOINED)]
            assert word.probabilities == pytest.approx(expected, rel=1e-4)
            assert word.log_ratio == pytest.approx(math.log(expected[1] / expected[0]), abs=1e-4)


def test_words_that_rose_are_the_joined_ones_most_risen_first(of_words):
    result = compare_words(of_words(PLAIN, JOINED), ["before", "after"], count=2000, top=8)
    rises = [word.probabilities[-1] - word.probabilities[0] for word in result.risen]
    assert rises and rises == sorted(rises, reverse=True) and rises[-1] > 0
    assert all(" " in word.word for word in result.risen)
    assert "a" not in {word.word for word in result.risen}


@pytest.mark.parametrize(("chances", "struck"), [((PLAIN, JOINED), "after"), ((JOINED, PLAIN), "before")])
def test_joined_words_are_found_and_named_whichever_side_they_are_on(of_words, chances, struck):
    result = compare_words(of_words(*chances), ["before", "after"], count=2000, top=3)
    (finding,) = result.findings
    assert finding.name == "joined-tokens"
    assert finding.says.startswith(f"{struck} has words that are two tokens joined")
    assert result.two_sample.differ


def test_a_model_of_words_against_itself_differs_in_nothing(of_words):
    result = compare_words(of_words(JOINED, JOINED), ["a", "b"], count=2000, top=5)
    assert list(result.findings) == []
    assert list(result.risen) == []
    assert result.two_sample.p_value > 1e-4


def test_four_models_of_words_are_shown_and_the_last_is_held_against_the_first(of_words):
    result = compare_words(of_words(PLAIN, PLAIN, PLAIN, JOINED), list("abcd"), count=1500, top=4)
    assert len(result.top) == 4
    for ranked in result.top:
        assert {len(word.probabilities) for word in ranked} == {4}
        assert all(word.probabilities[0] == pytest.approx(word.probabilities[2]) for word in ranked)
    assert result.findings[0].says.startswith("d has") and result.findings[0].says.endswith("a has fewer")


def test_the_seed_decides_the_comparison(of_words):
    samplers = of_words(PLAIN, JOINED)
    one, again, other = (compare_words(samplers, ["a", "b"], 600, 3, seed) for seed in (0, 0, 1))
    assert one == again
    assert one.findings[0].strength != other.findings[0].strength


@pytest.mark.parametrize("hopeless", [{A: 1.0}, {END: 1.0}, {A: 0.999, END: 0.001}], ids=["cut", "empty", "nearly"])
@pytest.mark.parametrize("first", [True, False])
def test_models_that_make_no_whole_words_cannot_be_compared(of_words, hopeless, first):
    both = (hopeless, PLAIN) if first else (PLAIN, hopeless)
    with pytest.raises(ComparisonError, match="more rounds"):
        compare_words(of_words(*both), ["a", "b"], count=1000, top=5)


def test_a_hundred_whole_words_are_enough(of_words):
    samplers = of_words({A: 0.5, END: 0.5}, {A: 0.5, END: 0.5})
    assert compare_words(samplers, ["a", "b"], count=400, top=5).two_sample.held_out > 0
    with pytest.raises(ComparisonError):
        compare_words(samplers, ["a", "b"], count=100, top=5)


def test_rates_sentences_and_findings_of_sentences_are_in_the_order_given(of_sentences):
    result = compare_sentences(of_sentences(KNOWN, UNKNOWN), ["before", "after"], count=3000)
    assert result.names == ["before", "after"]
    for profile, chances in zip(result.profiles, (KNOWN, UNKNOWN), strict=True):
        # Every word is out of vocabulary with the same chance, the end left out.
        exact = chances[OOV] / (1 - chances[VOCABULARY.end])
        hits, words = int(profile.oov.sum()), int(profile.reached.sum())
        assert stats.binomtest(hits, words, exact).pvalue > 1e-6
    assert [len(shown) for shown in result.sentences] == [8, 8]
    for shown in result.sentences:
        assert all(sentence and set(sentence) <= {"the", "cat", "UNK"} for sentence in shown)
    (finding,) = result.findings
    assert finding.name == "oov-by-position"
    assert finding.says.startswith("after has more words out of vocabulary at position ")
    assert finding.says.endswith("than before")
    assert result.two_sample.differ


def test_a_model_of_sentences_against_itself_differs_in_nothing(of_sentences):
    result = compare_sentences(of_sentences(KNOWN, KNOWN), ["a", "b"], count=2000)
    assert list(result.findings) == []
    assert result.two_sample.p_value > 1e-4


def test_four_models_of_sentences_are_shown_and_the_last_is_held_against_the_first(of_sentences):
    result = compare_sentences(of_sentences(KNOWN, UNKNOWN, UNKNOWN, KNOWN), list("abcd"), count=2000)
    assert len(result.profiles) == len(result.sentences) == 4
    assert result.profiles[1].overall > 0.4 > result.profiles[3].overall
    assert list(result.findings) == [], "a and d are alike"


@pytest.mark.parametrize("others", [("the", "cat", "sits"), ("cat", "the", "sat"), ("the", "cat", "sat", "on")])
def test_models_of_different_vocabularies_are_refused(of_sentences, others, speaks):
    (one,) = of_sentences(KNOWN)
    vocabulary = Vocabulary(others)
    other = open_text_sampler(speaks("b", KNOWN, vocabulary).path)
    for pair in ((one, other), (other, one)):
        with pytest.raises(ComparisonError, match="different vocabularies"):
            compare_sentences(pair, ["a", "b"], count=1000)


@pytest.mark.parametrize("first", [True, False])
def test_models_that_make_no_sentences_cannot_be_compared(of_sentences, first):
    silent = {VOCABULARY.end: 1.0}
    with pytest.raises(ComparisonError, match="more rounds"):
        compare_sentences(of_sentences(*((silent, KNOWN) if first else (KNOWN, silent))), ["a", "b"], count=1000)
