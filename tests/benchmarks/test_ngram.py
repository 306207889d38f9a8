"""The baseline is a probability, and smooths as Kneser and Ney say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ngram import BEGIN, KneserNey

SYMBOLS = 4
sequences = st.lists(st.lists(st.integers(0, SYMBOLS - 1), min_size=1, max_size=6), min_size=1, max_size=8)


@given(sequences, st.integers(1, 4), st.lists(st.integers(0, SYMBOLS - 1), min_size=3, max_size=3))
def test_after_every_context_the_probabilities_of_all_symbols_sum_to_one(counted, order, context):
    model = KneserNey(counted, order, SYMBOLS)
    for before in ((BEGIN,) * (order - 1), tuple(context)[: order - 1]):
        assert math.isclose(sum(model.probability(before, symbol) for symbol in range(SYMBOLS)), 1)


def test_a_bigram_model_by_hand():
    # "0 1" twice and "2 1" once: three bigrams begin a sequence or follow 0 and 2.
    model = KneserNey([[0, 1], [0, 1], [2, 1]], 2, SYMBOLS)
    # Bigrams (begin 0) 2, (0 1) 2, (begin 2) 1, (2 1) 1: n1 = n2 = 2, so the discount is 2 / (2 + 4).
    discount = 1 / 3
    # Of the lower order, 1 stands after two different symbols, 0 and 2 after one: n1 = 2, n2 = 1, discount 2 / 4.
    lower = (2 - 0.5 + 0.5 * 3 / SYMBOLS) / 4
    assert model.probability((0,), 1) == pytest.approx((2 - discount + discount * 1 * lower) / 2)
    # A context never seen leaves the word to the lower order.
    assert model.probability((3,), 1) == pytest.approx(lower)


def test_perplexity_is_the_inverse_geometric_mean_of_the_probabilities():
    model = KneserNey([[0, 1], [2, 1]], 2, SYMBOLS)
    expected = (model.probability((BEGIN,), 0) * model.probability((0,), 1)) ** (-1 / 2)
    assert model.perplexity([[0, 1]]) == pytest.approx(expected)
