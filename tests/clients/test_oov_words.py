"""The cohort oov-words: each device's own tokens outside the vocabulary; decided, kept in a file, read back."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.clients.cohort_files import read_cohort, write_cohort
from fedprobe.clients.cohorts import decide_cohort, vocabulary_known
from fedprobe.clients.data.shards import DataError, TextError, open_dataset
from fedprobe.clients.data.vocabulary import count_shards
from fedprobe.clients.measuring import count_oov
from fedprobe.clients.selection import Members, decide
from fedprobe.clients.text import TextFormat
from fedprobe.errors import FedprobeError
from fedprobe.models.vocabulary import Vocabulary, VocabularyError, write_vocabulary
from fedprobe.privacy.population import register
from fedprobe.privacy.randomness import key
from fedprobe.privacy.rules import rule

WORDS = "a b c d e".split()
# Users' sentences; what is outside a vocabulary of some of the five words is certain to be there now and then.
USERS = st.lists(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), max_size=4), min_size=1, max_size=5)
VOCABULARIES = st.lists(st.sampled_from([*WORDS, "never said"]), min_size=1, unique=True).map(
    lambda words: Vocabulary(tuple(words))
)


@pytest.fixture(scope="module")
def dataset_of(tmp_path_factory, write_shard):
    """Users' sentences as a data set, in the users' order."""

    def make(users):
        rows = {
            f"u{number}": {"tokens": np.array([" ".join(sentence) for sentence in user], object)}
            for number, user in enumerate(users)
        }
        path = write_shard(tmp_path_factory.mktemp("shards") / "s.h5", rows)
        return open_dataset([path])

    return make


def outside(user: list[list[str]], vocabulary: Vocabulary) -> list[str]:
    return [token for sentence in user for token in sentence if token not in vocabulary.words]


@given(users=USERS, vocabulary=VOCABULARIES)
def test_every_token_is_counted_once_and_those_outside_are_out(dataset_of, users, vocabulary):
    done = []
    counts = count_oov(dataset_of(users), vocabulary, done.append)
    assert counts.tokens.tolist() == [sum(map(len, user)) for user in users]
    assert counts.oov.tolist() == [len(outside(user, vocabulary)) for user in users]
    assert done[-1] == len(users)
    total = sum(counts.tokens.tolist())
    assert counts.rate == (sum(counts.oov.tolist()) / total if total else 0)


@given(users=USERS, vocabulary=VOCABULARIES, least=st.integers(1, 6))
def test_selected_words_are_exactly_the_tokens_outside_of_users_with_enough_of_them(
    dataset_of, users, vocabulary, least
):
    dataset = dataset_of(users)
    counts = count_oov(dataset, vocabulary)
    selected = rule("oov-words", min_examples=least, vocabulary=vocabulary.digest)
    enough = [user for user, some in enumerate(users) if len(outside(some, vocabulary)) >= least]
    if not enough:
        with pytest.raises(DataError, match="empty") as raised:
            decide(selected, dataset, vocabulary=vocabulary, counts=counts)
        assert selected.says() in str(raised.value)
        return
    members = decide(selected, dataset, vocabulary=vocabulary, counts=counts)
    assert members.users.tolist() == enough
    for member, user in enumerate(enough):
        assert members.words(dataset, member) == outside(users[user], vocabulary)
        assert members.sentences(dataset, member) == users[user]


def test_without_a_vocabulary_every_token_is_selected_repetitions_and_all(dataset_of):
    dataset = dataset_of([[["a", "b"], ["a"]]])
    assert Members(np.array([0])).words(dataset, 0) == ["a", "b", "a"]


def test_one_word_is_enough_unless_more_are_asked_for():
    assert rule("oov-words", vocabulary="0").min_examples == 1


def test_case_and_the_names_of_special_symbols_are_outside():
    """What the file cannot hold is out of vocabulary, whatever it is called."""
    vocabulary = Vocabulary(("a",))
    assert all(token not in vocabulary for token in ("A", "UNK", "<pad>", "<begin>", "<end>", "", "a "))


def test_images_are_refused_and_text_that_is_not_utf8_is_an_error_without_it(tmp_path, write_shard, patches):
    with pytest.raises(DataError, match="images"):
        count_oov(open_dataset([write_shard(tmp_path / "i.h5", patches(1))]), Vocabulary(("a",)))
    users = {"№1 of Oak Street": {"tokens": np.array([b"oak-street \xff"], object)}}
    with pytest.raises(TextError) as raised:
        count_oov(open_dataset([write_shard(tmp_path / "t.h5", users)]), Vocabulary(("a",)))
    assert not any(secret in f"{raised.value!r} {raised.value.__cause__!r}" for secret in ("oak", "Oak", "№"))


@pytest.fixture
def texts(tmp_path, write_shard, sentences):
    """A registered shard of text."""
    path = write_shard(tmp_path / "data" / "s.h5", sentences(12))
    register([path], "simulation")
    return path


@pytest.fixture
def vocabulary(tmp_path):
    """A file of some of its words, which was not counted on it."""
    write_vocabulary(tmp_path / "v.txt", Vocabulary(tuple("the a to of is it and in you that was".split())))
    return tmp_path / "v.txt"


@pytest.fixture
def selected(vocabulary):
    """The rule, with at least six words outside."""
    words = Vocabulary(tuple(vocabulary.read_text().split()))
    return rule("oov-words", min_examples=6, vocabulary=words.digest)


@pytest.fixture
def cohort_file(tmp_path, texts, vocabulary, selected):
    dataset = open_dataset([texts])
    value = decide_cohort(dataset, selected, vocabulary=vocabulary).to_json(dataset)
    write_cohort(tmp_path / "c.json", value)
    return tmp_path / "c.json"


def test_a_cohort_file_leads_back_to_the_cohort(texts, vocabulary, selected, cohort_file):
    dataset = open_dataset([texts])
    decided, again = decide_cohort(dataset, selected, vocabulary=vocabulary), read_cohort(cohort_file, dataset)
    assert again.rule == selected and again.primary is None and again.measurement is None
    assert 0 < len(again.members) < len(dataset)
    assert again.members.users.tolist() == decided.members.users.tolist()
    for member in range(len(again.members)):
        words = again.members.words(dataset, member)
        assert len(words) >= 6 and words == decided.members.words(dataset, member)


def test_the_file_holds_no_id_and_no_token(texts, cohort_file):
    value = json.loads(cohort_file.read_text())
    text = cohort_file.read_text() + repr(value)
    for forbidden in ("oak-street", "Oak Street", "№", "u2116"):
        assert forbidden not in text
    dataset = open_dataset([texts])
    assert not any(str(key(id)) in text for id in dataset.users)
    # Neither words of the vocabulary nor of the data: whatever the file holds besides, no string of it is a token.
    tokens = {token for user in range(len(dataset)) for sentence in dataset.sentences(user) for token in sentence}
    strings = {item for item in [*value, *value.values(), *value["rule"].values()] if isinstance(item, str)}
    assert not strings & tokens


def test_exact_figures_say_that_they_are(texts, vocabulary, cohort_file):
    dataset = open_dataset([texts])
    words = set(vocabulary.read_text().split())
    tokens = [token for user in range(12) for sentence in dataset.sentences(user) for token in sentence]
    value = json.loads(cohort_file.read_text())
    assert value["oov_rate"] == pytest.approx(sum(token not in words for token in tokens) / len(tokens))
    assert (value["oov_rate_is"], value["count_is"]) == ("exact-simulation", "exact-simulation")


def test_of_a_private_population_nothing_is_counted_in_the_open(tmp_path, write_shard, sentences, vocabulary, selected):
    path = write_shard(tmp_path / "private" / "s.h5", sentences(12))
    register([path], "private")
    dataset = open_dataset([path])
    value = decide_cohort(dataset, selected, vocabulary=vocabulary).to_json(dataset)
    assert (value["count"], value["count_is"]) == (None, "not-released")
    assert "oov_rate" not in value


@pytest.mark.parametrize("content", ["the\na\n", "a\nthe\nto\nof\nis\nit\nand\nin\nyou\nthat\nwas\n"])
def test_a_vocabulary_that_changed_since_is_refused(texts, vocabulary, cohort_file, content):
    """Fewer words, or the same in another order: the word model's ids would be others."""
    vocabulary.write_text(content)
    with pytest.raises(DataError, match="vocabulary changed"):
        read_cohort(cohort_file, open_dataset([texts]))


@pytest.mark.parametrize("content", [None, "", "the\noak-street\noak-street\n", "oak-street\n<s>\n"])
def test_a_vocabulary_that_is_none_any_more_is_refused_without_its_words(texts, vocabulary, cohort_file, content):
    vocabulary.unlink()
    if content is not None:
        vocabulary.write_text(content)
    with pytest.raises(VocabularyError) as raised:
        read_cohort(cohort_file, open_dataset([texts]))
    assert raised.value.exit_code == 3 and "oak-street" not in f"{raised.value!r} {raised.value.__cause__!r}"


@pytest.mark.parametrize(
    "change",
    [
        {"vocabulary": None},
        {"vocabulary": 5},
        {"vocabulary": ["v.txt"]},
        {"rule": {"criterion": "oov-words", "min_examples": 6}},
        {"rule": {"criterion": "oov-words", "min_examples": 0, "vocabulary": "0"}},
        {"rule": {"criterion": "oov-words", "min_examples": 6, "vocabulary": 5}},
    ],
    ids=str,
)
def test_a_cohort_file_that_was_altered_is_refused(texts, cohort_file, change):
    cohort_file.write_text(json.dumps(json.loads(cohort_file.read_text()) | change))
    with pytest.raises(DataError):
        read_cohort(cohort_file, open_dataset([texts]))


def test_a_cohort_file_without_its_vocabulary_is_refused(texts, cohort_file):
    value = json.loads(cohort_file.read_text())
    del value["vocabulary"]
    cohort_file.write_text(json.dumps(value))
    with pytest.raises(DataError):
        read_cohort(cohort_file, open_dataset([texts]))


def test_words_are_read_from_the_column_that_is_asked_for(tmp_path, write_shard, vocabulary):
    data = {"tokens": np.array(["the"], object), "title": np.array(["the oak"], object)}
    path = write_shard(tmp_path / "two" / "s.h5", {"u": data})
    register([path], "simulation")
    digest = Vocabulary(tuple(vocabulary.read_text().split())).digest
    selected = rule("oov-words", vocabulary=digest)
    with pytest.raises(DataError, match="empty"):
        decide_cohort(open_dataset([path]), selected, vocabulary=vocabulary)
    dataset = open_dataset([path], text=TextFormat("title"))
    assert decide_cohort(dataset, selected, vocabulary=vocabulary).members.words(dataset, 0) == ["oak"]


@pytest.mark.parametrize(
    ("provenance", "known"), [("public", None), *((said, "vocabulary") for said in ("dp", "conditional", None))]
)
def test_a_vocabulary_may_know_the_users_unless_it_is_said_to_be_public(texts, vocabulary, selected, provenance, known):
    dataset = open_dataset([texts])
    cohort = decide_cohort(dataset, selected, vocabulary=vocabulary)
    assert cohort.conditional_on(dataset, provenance) == known
    assert vocabulary_known(dataset, cohort.members.outside, provenance) == known


@pytest.mark.parametrize("provenance", ["public", "dp", "conditional", None])
def test_a_vocabulary_counted_on_the_users_knows_them_whatever_is_said(texts, tmp_path, provenance):
    dataset = open_dataset([texts])
    words = count_shards(dataset, 5).vocabulary
    write_vocabulary(tmp_path / "here.txt", words)
    selected = rule("oov-words", vocabulary=words.digest)
    cohort = decide_cohort(dataset, selected, vocabulary=tmp_path / "here.txt")
    assert cohort.conditional_on(dataset, provenance) == "vocabulary"


def test_a_rule_that_measures_nobody_is_conditional_on_nothing(texts):
    dataset = open_dataset([texts])
    assert decide_cohort(dataset, rule("random")).conditional_on(dataset) is None


def test_a_rule_about_words_needs_a_vocabulary(texts, selected):
    with pytest.raises(FedprobeError, match="--vocabulary"):
        decide_cohort(open_dataset([texts]), selected)
