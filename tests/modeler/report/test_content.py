"""What a report says of runs, of every kind and number."""

import json

import pytest
import torch

from fedprobe.modeler.comparison import compare
from fedprobe.modeler.report.content import make_report
from fedprobe.modeler.report.page import render
from fedprobe.modeler.sampling import open_sampler
from fedprobe.modeler.text_comparison import compare_words
from fedprobe.modeler.text_sampling import open_text_sampler
from fedprobe.modeler.word_table import open_word_table
from fedprobe.models.classifier import Classifier, ClassifierConfig
from fedprobe.models.gan import GanConfig
from fedprobe.models.stored import StoredError
from fedprobe.models.vocabulary import OOV, Bytes, Vocabulary
from fedprobe.privacy.partition_selection import ReleasedWords
from fedprobe.runs import Run, RunError

A, B, BLANK = b"ab "
PLAIN = {A: 0.4, B: 0.2, BLANK: 0.01, Bytes.end: 0.39}
JOINED = {A: 0.3, B: 0.1, BLANK: 0.3, Bytes.end: 0.3}
VOCABULARY = Vocabulary(("the", "cat", "sat"))
KNOWN = {OOV: 0.05, 4: 0.4, 5: 0.3, VOCABULARY.end: 0.25}
UNKNOWN = {OOV: 0.45, 4: 0.2, 5: 0.1, VOCABULARY.end: 0.25}


@pytest.fixture
def images(make_run, reported):
    return lambda name, seed=0, noise=0.0, **more: reported(make_run(name, seed, **more), noise).path


@pytest.fixture
def words(speaks, reported):
    return lambda name, chances=PLAIN: reported(speaks(name, chances)).path


@pytest.fixture
def sentences(speaks, reported):
    return lambda name, chances=KNOWN, of=VOCABULARY: reported(speaks(name, chances, of)).path


@pytest.fixture
def classifier(tmp_path, reported):
    config = ClassifierConfig(20, 20, 1, 4)
    run = Run.create(tmp_path / "judge", {"command": "train-classifier", "architecture": config.to_json()}, {})
    run.checkpoint(2, dict(Classifier(config).state_dict()))
    return reported(run).path


def test_two_runs_of_images_say_what_compare_says(images):
    paths = [images("high"), images("low", 5)]
    (section,) = make_report(paths, count=60, seed=2).sections
    result = compare(*map(open_sampler, paths), None, 60, 2)
    (verdict,) = section.verdicts
    assert (verdict.two_sample, list(verdict.findings)) == (result.two_sample, list(result.findings))
    assert section.rows[1] == ["low", *(result.b.figures[key].says() for key in ("mean_ink", "contrast"))]
    assert [len(gallery.images) for gallery in section.galleries] == [64, 64]


def test_findings_between_different_cohorts_come_with_a_caution(make_run, reported):
    low = {"rule": {"criterion": "low-accuracy", "below": 0.8}, "primary": None}
    paths = [reported(make_run("high")).path, reported(make_run("low", 5), cohort=low).path]
    assert "different cohorts" in make_report(paths, count=40).caution
    assert make_report(paths[:1], count=40).caution is None


def test_a_gallery_says_whom_its_cohort_was_narrowed_to(make_run, reported):
    of = {"old": {"where": "version == '2.0'"}, "new": {"where": "version == '2.1'"}, "all": {}}
    rules = {name: {"rule": {"criterion": "random"} | where, "primary": None} for name, where in of.items()}
    paths = [reported(make_run(name), cohort=cohort).path for name, cohort in rules.items()]
    (section,) = make_report(paths, count=40).sections
    old, new, everybody = (gallery.cohort for gallery in section.galleries)
    assert (old, new) == ("random, where version == '2.0'", "random, where version == '2.1'")
    assert everybody == "random"


def test_one_run_of_images_has_its_gallery_and_is_held_against_nothing(images):
    report = make_report([images("high")], count=40)
    (section,) = report.sections
    assert (len(section.galleries), section.verdicts) == (1, [])
    assert "held against nothing" in section.note
    assert "Nothing was compared" in render(report)


def test_every_run_of_images_is_held_against_the_first(images):
    (section,) = make_report([images(name, seed) for seed, name in enumerate("abc")], count=40).sections
    assert [(verdict.a, verdict.b) for verdict in section.verdicts] == [("a", "b"), ("a", "c")]
    assert [gallery.name for gallery in section.galleries] == ["a", "b", "c"]


def test_images_of_different_sizes_are_shown_apart(images):
    paths = [images("a"), images("b", config=GanConfig("small", 20, 20)), images("c")]
    sections = make_report(paths, count=40).sections
    assert [[gallery.name for gallery in section.galleries] for section in sections] == [["a", "c"], ["b"]]


def test_words_say_what_compare_says(words):
    paths = [words("before"), words("after", JOINED)]
    report = make_report(paths, count=2000, top=4, seed=1)
    (section,) = report.sections
    result = compare_words([open_text_sampler(path) for path in paths], ["before", "after"], 2000, 4, 1)
    assert [[word for word, _ in one.rows] for one in section.lists] == [
        [word.word.replace(" ", "␣") for word in ranked] for ranked in result.top
    ]
    assert float(section.lists[0].rows[0][1]) == pytest.approx(1000 * result.top[0][0].probabilities[0], abs=0.01)
    assert [row[0] for row in section.risen] == [word.word.replace(" ", "␣") for word in result.risen]
    assert [finding for finding, _ in report.findings] == list(result.findings) != []


@pytest.fixture
def released(tmp_path, reported):
    """A function that makes a run which released these words with these noised counts."""

    def make(name, counts):
        plan = {"words_per_user": 4, "noise_multiplier": 1.5, "threshold_delta": 5e-7}
        run = Run.create(tmp_path / name, {"architecture": {}}, {})
        table = ReleasedWords(tuple(counts), tuple(counts.values()))
        run.checkpoint(1, {"words": torch.from_numpy(table.to_bytes())})
        run = reported(run, 0.0, command="train-charlm", method="one-round")
        config = run.config
        (run.path / "config.json").write_text(json.dumps(config | {"training": config["training"] | plan}))
        return run.path

    return make


def test_released_words_have_their_counts_with_intervals_and_what_rose(released):
    paths = [released("before", {"patch": 40.0}), released("after", {"this patch": 60.0, "patch": 41.0})]
    report = make_report(paths, top=1)
    (section,) = report.sections
    margin = 1.96 * 1.5
    assert [list(one.rows) for one in section.lists] == [
        [("patch", f"40.0 ± {margin:.1f}")],
        [("this␣patch", f"60.0 ± {margin:.1f}")],
    ]
    threshold = open_word_table(paths[0]).threshold
    assert f"2 words were released, above a threshold of {threshold:.1f}" in section.lists[1].note
    ((word, before, after, least),) = section.risen
    assert (word, before, after) == ("this␣patch", f"≤ {threshold:.1f}", "60.0")
    assert float(least) == pytest.approx(60 - threshold - margin * 2**0.5, abs=0.1)
    assert [finding.name for finding, _ in report.findings] == ["joined-tokens"]
    page = render(report)
    assert "released once" in dict(report.runs[0].facts)["holds"] and "noised count" in page
    assert "held out" not in page, "released words are no samples to test"


def test_a_table_without_words_alone_and_one_beside_a_model(released, words):
    (section,) = make_report([released("before", {})]).sections
    assert section.verdicts == [] and "held against nothing" in section.note
    assert section.lists[0].note.startswith("No word was released")
    (both,) = make_report([words("model"), released("after", {"a a": 60.0})], count=400, top=3).sections
    assert [one.heading for one in both.lists] == ["joint probability, 1e-3", "noised count"]
    assert both.risen == []


def test_two_tables_and_two_models_are_compared_apart(released, words):
    paths = [words("a"), released("b", {}), words("c", JOINED), released("d", {"a a": 60.0})]
    tables, models = make_report(paths, count=2000, top=3).sections
    assert [one.name for one in tables.lists] == ["b", "d"] and tables.verdicts[0].two_sample is None
    assert [one.name for one in models.lists] == ["a", "c"] and models.verdicts[0].two_sample.differ


def test_what_tells_runs_apart_is_shown_where_they_differ(images):
    path = images("a")
    (section,) = make_report([path, images("b", 9), path], count=60).sections
    assert [verdict.two_sample.differ for verdict in section.verdicts] == [True, False]
    (told,) = section.telling
    assert (told.a, told.b) == (section.verdicts[0].a, section.verdicts[0].b)
    assert [len(row.images) for row in told.rows] == [len(row.counterparts) for row in told.rows] == [8, 8]
    assert [len(dots.points) for dots in told.map.sets] == [60, 60]


def test_a_run_of_several_rounds_is_a_film_strip_but_not_one_round_of_it(images):
    path = images("a", rounds=tuple(range(1, 10)))
    (section,) = make_report([path, path / "checkpoints" / "round_000001"], count=40).sections
    (strip,) = section.strips
    rounds = [round for round, _ in strip.rounds]
    assert len(rounds) == 6 and (rounds[0], rounds[-1]) == (1, 9)
    assert strip.rounds[-1][1] == section.galleries[0].images[:12], "the same latents as in the gallery"


def test_sentences_of_one_vocabulary_are_compared_with_each_other_alone(sentences):
    other = Vocabulary(("a", "dog", "ran"))
    paths = [sentences("a"), sentences("b", UNKNOWN), sentences("c", of=other)]
    both, alone = make_report(paths, count=2000).sections
    assert (both.names, alone.names) == (["a", "b"], ["c"])
    assert both.verdicts[0].findings[0].name == "oov-by-position"
    assert alone.verdicts == [] and alone.chart is not None
    assert both.chart.headings == ["position", "a", "b"]
    assert len(both.sentences[0]) == 8


def test_models_that_make_no_words_yet_are_shown_with_the_reason(words):
    (section,) = make_report([words("a"), words("b", {A: 0.999, Bytes.end: 0.001})], count=1000).sections
    assert section.note.startswith("Not compared: a model hardly makes whole words yet")
    assert [one.name for one in section.lists] == ["a", "b"]
    assert section.lists[0].rows[0][0] == "a"


def test_a_word_without_end_is_cut_and_control_characters_are_shown(words):
    (section,) = make_report([words("a", {0x07: 0.9, Bytes.end: 0.1})], count=2000, top=1).sections
    assert section.lists[0].rows[0][0] == "\\x07"


def test_all_kinds_together(images, words, sentences, classifier):
    paths = [words("w1"), images("i1"), classifier, sentences("s1"), words("w2"), images("i2"), sentences("s2")]
    report = make_report(paths, count=500)
    assert [section.kind for section in report.sections] == ["images", "words", "sentences"]
    assert [run.name for run in report.runs] == ["w1", "i1", "judge", "s1", "w2", "i2", "s2"]
    assert report.title == "w1, i1, judge and 4 other runs"
    assert len(report.statement.parts) == 7
    page = render(report)
    for run in report.runs:
        assert f"Card of <bdi>{run.name}</bdi>" in page


def test_the_runs_say_their_cohort_their_card_and_what_they_cost(images):
    report = make_report([images("high")], count=40)
    (run,) = report.runs
    facts = dict(run.facts)
    assert facts["cohort"] == "random: every user"
    assert facts["users"] == "7 (exact: a simulation)"
    assert facts["shown"] == "after round 1 of 2"
    assert facts["data"] == "private"
    assert run.card == ["# A card", "", "of two lines."]
    (row,) = report.ledger
    assert (row.epsilon, row.budget, row.left) == ("1.25", "4.00", "2.75")
    assert run.hyperparameters == {"users per round": "4", "rounds": "2", "tied": "False"}


def test_a_card_that_is_a_link_to_elsewhere_is_not_shown(images, tmp_path):
    path = images("high")
    (tmp_path / "diary").write_text("mine")
    (path / "card.md").unlink()
    (path / "card.md").symlink_to(tmp_path / "diary")
    report = make_report([path], count=40)
    assert report.runs[0].card is None
    assert "The run has no card" in render(report)


def test_runs_of_one_plan_share_its_chart(images):
    (plan,) = make_report([images("a", noise=0.25), images("b", 1, noise=0.25)], count=40).plans
    assert plan.names == ["a", "b"]
    assert plan.chart.headings[3] == "z 0.25 (the plan)"
    assert make_report([images("c")], count=40).plans == [], "without noise there is nothing to draw"


def test_the_same_run_twice_counts_once(images):
    path = images("a", noise=0.25, rounds=(1, 2))
    once = make_report([path], count=40).statement.bound.value
    twice = make_report([path, path / "checkpoints" / "round_000001"], count=40)
    assert twice.statement.bound.value == once
    assert [one.round for one in twice.opened] == [2, 1]


def test_the_same_runs_and_seed_give_the_same_page(images, words):
    paths = [images("a"), images("b", 1), words("c")]
    one, again, other = (render(make_report(paths, count=400, seed=seed)) for seed in (0, 0, 1))
    assert one == again != other


def test_what_is_no_whole_run_is_refused(images, tmp_path):
    path = images("a")
    with pytest.raises(RunError):
        make_report([tmp_path / "nowhere"])
    for file, broken in (
        ("config.json", {"command": "train-gan"}),
        ("config.json", {**json.loads((path / "config.json").read_text()), "training": None}),
        ("config.json", {**json.loads((path / "config.json").read_text()), "cohort": []}),
        ("config.json", {**json.loads((path / "config.json").read_text()), "command": "train-elephants"}),
        ("privacy.json", {**json.loads((path / "privacy.json").read_text()), "ledger": None}),
        ("privacy.json", {**json.loads((path / "privacy.json").read_text()), "ledger": {"spent": 3}}),
        ("privacy.json", {}),
    ):
        before = (path / file).read_text()
        (path / file).write_text(json.dumps(broken))
        with pytest.raises(StoredError):
            make_report([path], count=40)
        (path / file).write_text(before)
    make_report([path], count=40)
