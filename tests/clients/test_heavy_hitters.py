"""Which words a user names, and the sparse sum of what users name."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.clients.data.shards import open_dataset
from fedprobe.clients.heavy_hitters import NamedWords, in_order
from fedprobe.clients.selection import Members
from fedprobe.models.vocabulary import Vocabulary
from fedprobe.privacy.mechanism import CLIP_STEPS
from fedprobe.privacy.partition_selection import PartitionSelection
from fedprobe.server.engines.local import local_engine

WORDS = st.lists(st.sampled_from("abcdefg"), max_size=30)
USERS = {
    "u0": ["a b c", "a b the"],
    "u1": ["b"],
    "u2": ["the the"],
    "u3": ["d e f g", "d"],
}


@pytest.fixture
def named_of(tmp_path, write_shard):
    def make(users=USERS, most: int = 2, seed: int = 0) -> NamedWords:
        rows = {user: {"tokens": np.array(sentences, object)} for user, sentences in users.items()}
        dataset = open_dataset([write_shard(tmp_path / f"{len(users)}.h5", rows)])
        members = Members(np.arange(len(users)), outside=Vocabulary(("the",)))
        return NamedWords(dataset, members, PartitionSelection(most, 1.0, 1e-7), seed)

    return make


@given(words=WORDS, seed=st.integers(0, 5))
def test_her_most_frequent_words_come_first_whatever_order_she_has_them_in(words, seed):
    order = in_order(words, seed)
    frequencies = Counter(words)
    assert sorted(order) == sorted(frequencies)
    assert [frequencies[word] for word in order] == sorted(frequencies.values(), reverse=True)
    assert in_order(words[::-1], seed) == order


@given(one=st.sets(st.text(max_size=4)), other=st.sets(st.text(max_size=4)), seed=st.integers(0, 5))
def test_users_put_the_words_that_they_share_in_one_order(one, other, seed):
    orders = [[word for word in in_order(sorted(words), seed) if word in one & other] for words in (one, other)]
    assert orders[0] == orders[1]


def test_the_seed_decides_that_order():
    words = list("abcdefghijklmnop")
    assert in_order(words, 0) != in_order(words, 1)
    assert in_order(words, 0) == in_order(words, 0)


def test_the_sum_is_that_of_every_users_own_contribution(named_of):
    named = named_of()
    total = named({}, [0, 1, 2, 3], 1)
    root = int(CLIP_STEPS / 2**0.5)
    assert total["a"] == root
    assert total["b"] == root + CLIP_STEPS
    assert total["d"] == root
    assert "the" not in total, "in the vocabulary"
    assert sum(word in total for word in "efg") == 1, "she names two words, and the one that she has twice"
    assert total == sum((named({}, [member], 1) for member in (3, 1, 0, 2)), Counter())


def test_it_is_the_same_for_any_order_round_and_number_of_workers(named_of):
    named = named_of()
    expected = named({}, [0, 1, 2, 3], 1)
    assert named({}, [3, 2, 1, 0], 7) == expected
    for workers in (1, 2, 3):
        with local_engine(named, workers) as engine:
            assert engine.sum({}, np.arange(4), 1) == expected


def test_a_user_whose_text_is_bad_names_nothing_silently(named_of):
    good, bad = {"u0": ["a b c"]}, {"u1": [b"caf\xe9 a"]}
    assert named_of(good | bad)({}, [0, 1], 1) == named_of(good)({}, [0], 1)
