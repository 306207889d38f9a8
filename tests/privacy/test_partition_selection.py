"""Words above a threshold: what one user can move, what the threshold promises, what an adversary sees of one alone."""

import math
from collections import Counter
from functools import reduce

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, chi2

from fedprobe.privacy import partition_selection
from fedprobe.privacy.mechanism import CLIP_STEPS
from fedprobe.privacy.partition_selection import PartitionSelection, ReleasedWords, threshold

WORDS = st.lists(st.text(max_size=3), max_size=30)
FALSE_ALARM = 1e-6


def mechanism(words_per_user: int = 5, noise_multiplier: float = 1.0, delta: float = 5e-7) -> PartitionSelection:
    return PartitionSelection(words_per_user, noise_multiplier, delta)


def total_of(users, one: PartitionSelection) -> Counter[str]:
    return reduce(Counter.__add__, (one.contribution(words) for words in users), Counter())


def square(vector) -> int:
    return sum(steps**2 for steps in vector.values())


@given(words=WORDS, most=st.integers(1, 40))
def test_a_users_norm_is_at_most_one_in_integers_and_hardly_less(words, most):
    vector = mechanism(most).contribution(words)
    assert list(vector) == list(dict.fromkeys(words))[:most]
    assert len(set(vector.values())) <= 1, "her words weigh the same"
    assert square(vector) <= CLIP_STEPS**2
    if words:
        assert square(vector) > CLIP_STEPS**2 * (1 - 1e-7)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 10, 99, 100, 9999, 10_000])
def test_every_weight_is_the_largest_on_the_grid_that_keeps_the_norm(count):
    (weight,) = set(mechanism(10_000).contribution([str(number) for number in range(count)]).values())
    assert count * weight**2 <= CLIP_STEPS**2 < count * (weight + 1) ** 2


@given(users=st.lists(WORDS, max_size=5), her=WORDS, most=st.integers(1, 8))
def test_one_user_more_moves_the_sums_by_at_most_one(users, her, most):
    one = mechanism(most)
    without, with_her = total_of(users, one), total_of([*users, her], one)
    difference = {word: with_her[word] - without[word] for word in with_her}
    assert square(difference) <= CLIP_STEPS**2
    assert total_of([her, *reversed(users)], one) == with_her, "the order of users decides nothing"


def chance_of_showing(tau: float, weight, words: int, noise_multiplier: float):
    """That any of `words` independent noised sums of `weight` exceeds tau: 1 - Phi((tau - w) / z)^t, in 60 digits."""
    below = mpmath.ncdf((mpmath.mpf(tau) - weight) / mpmath.mpf(noise_multiplier))
    return 1 - below**words


@pytest.mark.parametrize("noise_multiplier", [0.05, 0.5, 1.226, 4.366, 50.0])
@pytest.mark.parametrize("most", [1, 2, 5, 40])
@pytest.mark.parametrize("delta", [5e-7, 1e-12])
def test_whatever_words_are_hers_alone_they_show_with_probability_delta_at_most(noise_multiplier, most, delta):
    with mpmath.workdps(60):
        tau = threshold(most, noise_multiplier, delta)
        worst = 0
        for named in range(1, most + 1):
            for alone in range(1, named + 1):
                chance = chance_of_showing(tau, 1 / mpmath.sqrt(named), alone, noise_multiplier)
                assert chance <= delta
                worst = max(worst, chance)
        # Nothing is given away beyond rounding.
        assert worst > delta * (1 - 1e-6)


def test_the_threshold_without_noise_is_what_one_user_can_add():
    one = mechanism(3, 0.0)
    assert one.threshold == pytest.approx(1.0, abs=1e-9)
    total = total_of([["hers"], ["ours"], ["ours"], ["both", "ours"]], one)
    released = ReleasedWords.from_bytes(one.release(total))
    assert released.words == ("ours",)
    assert released.weights == pytest.approx((2 + 1 / math.sqrt(2),))


def shown_alone(one: PartitionSelection, words: int, experiments: int) -> int:
    """In how many of `experiments` anything shows of a user alone with so many words; they lie side by side."""
    weight = one.contribution([str(number) for number in range(words)])["0"]
    total = {f"{experiment} {number}": weight for experiment in range(experiments) for number in range(words)}
    released = ReleasedWords.from_bytes(one.release(total))
    return len({word.split()[0] for word in released.words})


@pytest.mark.parametrize("words", [1, 4])
def test_a_user_alone_with_her_words_is_seen_as_often_as_delta_allows(monkeypatch, words):
    """Delta is blown up, so that a small number of experiments can tell; four words are the worst case of at most 4."""
    delta, experiments = 0.05, 20_000
    monkeypatch.setattr(partition_selection, "MOST_THRESHOLD_DELTA", delta)
    seen = shown_alone(mechanism(4, 2.0, delta), words, experiments)
    assert seen <= binom.isf(FALSE_ALARM, experiments, delta)
    if words == 4:
        assert seen >= binom.ppf(FALSE_ALARM, experiments, delta)
        # A threshold for one word would not do for four, and these experiments would tell.
        for_one = chance_of_showing(threshold(1, 2.0, delta), 1.0, 1, 2.0)
        assert for_one == pytest.approx(delta)
        assert float(chance_of_showing(threshold(1, 2.0, delta), 0.5, 4, 2.0)) > 1.5 * delta


def test_what_is_shown_is_the_sum_with_gaussian_noise_on_it():
    one, experiments, sum_steps = mechanism(1, 1.5), 20_000, 100 * CLIP_STEPS
    released = ReleasedWords.from_bytes(one.release({str(number): sum_steps for number in range(experiments)}))
    assert len(released.words) == experiments, "far above the threshold"
    noise = (np.array(released.weights) - 100) / 1.5
    squares = float(np.square(noise).sum())
    assert chi2.ppf(FALSE_ALARM / 2, experiments) < squares < chi2.isf(FALSE_ALARM / 2, experiments)
    assert abs(noise.sum()) < 5 * math.sqrt(experiments)


def test_words_come_out_by_falling_count_whatever_order_they_went_in():
    one = mechanism(1, 0.0)
    users = [["b"]] * 3 + [["a"]] * 3 + [["c"]] * 5
    tables = {one.release(total_of(order, one)).tobytes() for order in (users, users[::-1])}
    (table,) = tables
    assert ReleasedWords.from_bytes(np.frombuffer(table, np.uint8)) == ReleasedWords(("c", "a", "b"), (5.0, 3.0, 3.0))


@given(st.lists(st.tuples(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False)), max_size=5))
def test_a_table_survives_its_bytes(rows):
    table = ReleasedWords(tuple(word for word, _ in rows), tuple(weight for _, weight in rows))
    assert ReleasedWords.from_bytes(table.to_bytes()) == table


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"words": ["a"], "weights": []}',
        '{"words": [1], "weights": [1.0]}',
        '{"words": ["a"], "weights": ["1"]}',
        '{"words": ["a"], "weights": [NaN]}',
        '{"words": [], "weights": [], "users": []}',
    ],
)
def test_bytes_of_anything_else_are_refused(text):
    with pytest.raises(ValueError):
        ReleasedWords.from_bytes(np.frombuffer(text.encode(), np.uint8))


@pytest.mark.parametrize(
    "numbers",
    [(0, 1.0, 1e-7), (10_001, 1.0, 1e-7), (5, -1.0, 1e-7), (5, math.inf, 1e-7), (5, 1.0, 0.0), (5, 1.0, 2e-6)],
)
def test_numbers_that_no_release_can_have_are_refused(numbers):
    with pytest.raises(ValueError):
        PartitionSelection(*numbers)


def test_nobody_names_anything():
    assert mechanism().contribution([]) == {}
    assert ReleasedWords.from_bytes(mechanism().release({})) == ReleasedWords((), ())
