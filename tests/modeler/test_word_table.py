"""Released words as a run holds them, their intervals, and tables side by side."""

import json
import math

import pytest
import torch

from fedprobe.modeler.text_sampling import open_text_sampler
from fedprobe.modeler.word_table import is_word_table, open_word_table, write_words
from fedprobe.modeler.word_table_comparison import compare_word_tables
from fedprobe.models.stored import StoredError
from fedprobe.models.vocabulary import Bytes
from fedprobe.privacy.partition_selection import ReleasedWords
from fedprobe.runs import Run, RunError

NOISE = 2.0
MARGIN = 1.959963984540054 * NOISE


@pytest.fixture
def releases(tmp_path):
    """A function that makes a run which released these words with these counts."""

    def make(name: str, counts: dict[str, float], **numbers) -> Run:
        training = {"words_per_user": 4, "noise_multiplier": NOISE, "threshold_delta": 5e-7} | numbers
        run = Run.create(tmp_path / name, {"command": "train-charlm", "method": "one-round", "training": training}, {})
        table = ReleasedWords(tuple(counts), tuple(counts.values()))
        run.checkpoint(1, {"words": torch.from_numpy(table.to_bytes())})
        return run

    return make


@pytest.fixture
def tables(releases):
    names = iter("abcdefgh")

    def make(*counts):
        return [open_word_table(releases(next(names), one).path) for one in counts]

    return make


def test_a_table_is_read_back_with_intervals(releases):
    run = releases("run", {"this patch": 40.0, "héllo": 11.5})
    table = open_word_table(run.path)
    assert open_word_table(run.checkpoints()[0]) == table
    assert (table.round, is_word_table(run)) == (1, True)
    assert [word.word for word in table.words] == ["this patch", "héllo"]
    first = table.words[0].to_json()
    assert first["count_interval"] == pytest.approx([40 - MARGIN, 40 + MARGIN])
    # A user adds at most 1, and at least 1/sqrt(4).
    assert first["users_interval"] == [math.ceil(40 - MARGIN), math.floor(2 * (40 + MARGIN))]
    assert table.count_of("héllo") == 11.5
    assert table.count_of("hello") is None


def test_users_are_one_at_least_and_without_noise_exact(releases):
    noised = open_word_table(releases("noised", {"w": 0.5}).path)
    assert noised.words[0].users[0] == 1
    exact = open_word_table(releases("exact", {"w": 7.0}, noise_multiplier=0.0, words_per_user=1).path)
    assert exact.words[0].users == (7, 7)


def test_a_model_is_no_table_and_a_table_no_model(releases, speaks):
    model = speaks("model", {97: 0.5, Bytes.end: 0.5})
    assert not is_word_table(model)
    with pytest.raises(StoredError):
        open_word_table(model.path)
    with pytest.raises(StoredError):
        open_text_sampler(releases("table", {}).path)


def test_a_run_without_its_release_or_its_numbers_says_so(releases):
    run = releases("run", {"w": 9.0})
    config = run.config
    del config["training"]["threshold_delta"]
    (run.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(StoredError, match="release them again"):
        open_word_table(run.path)
    with pytest.raises(RunError, match="no checkpoint"):
        open_word_table(Run.create(run.path.with_name("empty"), config, {}).path)


def test_a_damaged_table_is_refused(releases):
    run = releases("run", {"w": 9.0})
    run.checkpoint(1, {"words": torch.zeros(4, dtype=torch.uint8)})
    with pytest.raises(StoredError, match="release them again"):
        open_word_table(run.path)


def test_words_are_written_one_a_line(tmp_path):
    path = write_words(tmp_path / "a" / "w.txt", ReleasedWords(("a b", "c\nd"), (12.5, 9.0)))
    assert path.read_text() == "12.5\ta b\n9\tc\\nd\n"


def test_joined_words_that_only_the_last_released_are_a_finding(tables):
    result = compare_word_tables(tables({}, {"this patch": 40.0, "vec": 12.0}), ["before", "after"], 0, 5)
    (found,) = result.findings
    assert found.name == "joined-tokens"
    assert found.strength == pytest.approx(40 / 52)
    assert found.low < found.strength < found.high
    assert "this patch" in found.evidence
    assert [[word.word for word in ranked] for ranked in result.ranked] == [[], ["this patch", "vec"]]


def test_tables_without_joined_words_or_with_as_many_are_none(tables):
    assert compare_word_tables(tables({"vec": 20.0}, {"vec": 40.0}), ["a", "b"], 0, 5).findings == []
    joined = {"this patch": 40.0, "vec": 12.0}
    assert compare_word_tables(tables(joined, joined), ["a", "b"], 0, 5).findings == []
    assert compare_word_tables(tables({}, {}), ["a", "b"], 0, 5).findings == []


def test_words_rise_beyond_noise_or_from_below_the_threshold(tables):
    before = {"steady": 30.0, "rose": 20.0, "gone": 15.0}
    after = {"rose": 60.0, "steady": 31.0, "new": 14.0}
    sides = tables(before, after)
    first, second = compare_word_tables(sides, ["a", "b"], 0, 5).risen
    margin = MARGIN * math.sqrt(2)
    assert (first.word, first.counts, first.least_rise) == ("rose", (20.0, 60.0), pytest.approx(40 - margin))
    assert (second.word, second.counts) == ("new", (None, 14.0))
    assert second.least_rise == pytest.approx(14 - sides[0].threshold - margin)


def test_no_more_words_are_shown_than_asked_for(tables):
    many = {f"w{number}": 50.0 - number for number in range(9)}
    result = compare_word_tables(tables({}, many), ["a", "b"], 0, 3)
    assert [len(ranked) for ranked in result.ranked] == [0, 3]
    assert len(result.risen) == 3


def test_a_table_stands_beside_a_model_of_words(tables, speaks):
    (table,) = tables({"a a": 40.0})
    model = open_text_sampler(speaks("model", {97: 0.5, Bytes.end: 0.5}).path)
    result = compare_word_tables([model, table], ["model", "table"], 200, 3)
    assert result.ranked[0][0].probability == pytest.approx(0.25, rel=1e-4)
    assert result.ranked[1][0].count == 40.0
    assert result.risen == []
    found = result.findings[0]
    assert (found.name, found.strength) == ("joined-tokens", 1.0)
    assert "the words drawn from model" in found.evidence
    assert [finding.says for finding in compare_word_tables([table, model], ["t", "m"], 200, 3).findings]
