"""Bad text and bad vocabularies: one clear line, the right exit code, no word and no id, nothing half-written."""

import json
import shutil

import h5py
import numpy as np
import pytest

from fedprobe.clients.data import demo_text

STREET, TOKEN = "Oak Street", "oak-street"
# What was not refused, but should have been, is at least soon over.
SHORT = "--rounds 1 --users-per-round 3 --noise-multiplier 0 --workers 1 --hidden 4".split()
COMMANDS = {
    "describe": ["data", "describe", "data", "--check", "--quiet"],
    "vocabulary": ["data", "vocabulary", "data", "-o", "counted.txt", "--quiet"],
    "select": ["select", "data", "--cohort", "oov-words", "--vocabulary", "words.txt"],
    "train-wordlm": ["train-wordlm", "data", *SHORT, "--vocabulary", "words.txt"],
    "train-charlm": ["train-charlm", "data", *SHORT, "--vocabulary", "words.txt"],
}
TRAININGS = ["train-wordlm", "train-charlm"]
BY_VOCABULARY = ["select", *TRAININGS]


def assert_silent(done) -> None:
    """Neither a user nor a word of hers, in any case or spelling."""
    for stream in (done.out, done.err):
        for word in (STREET, TOKEN, "№", "\\u2116"):
            assert word.lower() not in stream.lower()


@pytest.fixture
def command(tmp_path, fedprobe, leaves_nothing):
    """Run one of COMMANDS; hold that it fails in one line, writes nothing and shows nothing of the data."""
    if not (tmp_path / "words.txt").exists():
        (tmp_path / "words.txt").write_text("the\nof\n")

    def run(name: str, *more: object):
        with leaves_nothing():
            done = fedprobe(*COMMANDS[name], *more)
        assert_silent(done)
        # What describe could tell before it looked at contents, it has told.
        assert done.line and (done.out == "" or name == "describe")
        return done

    return run


def of_bytes(user) -> None:
    user["tokens"] = np.array([f"{TOKEN} the".encode(), f"{TOKEN} ".encode() + b"\xff\xfe"])


def noted(tmp_path) -> list[str]:
    (file,) = (tmp_path / "data").rglob("faults.json")
    return list(json.loads(file.read_text()))


CONTENT = {
    "not UTF-8": (of_bytes, "not UTF-8"),
    "no sentences": (lambda user: user.update(tokens=user["tokens"][:0]), "no examples"),
}
STRUCTURE = {
    "numbers": (lambda user: user.update(tokens=np.arange(3)), "a column of text"),
    "a table": (lambda user: user.update(tokens=user["tokens"][:4].reshape(2, 2)), "a column of text"),
    "no columns": (lambda user: user.clear(), "a column of text"),
    "columns of different lengths": (lambda user: user.update(text=user["tokens"][1:]), "different lengths"),
}


def one_fault(tmp_path, command, simulation, users, name, spoil, words) -> None:
    bad = list(users)[2]
    spoil(users[bad])
    simulation(users)
    done = command(name)
    assert done.code == 3
    assert done.line.startswith("error: ") and "1 user" in done.line and words in done.line
    assert noted(tmp_path) == [bad]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("fault", CONTENT)
def test_one_users_fault_stops_every_command_and_is_noted_beside_the_data(
    tmp_path, command, simulation, sentences, name, fault
):
    one_fault(tmp_path, command, simulation, sentences(4), name, *CONTENT[fault])


@pytest.mark.parametrize("fault", STRUCTURE)
def test_one_users_data_sets_that_are_no_columns_are_noted_beside_the_data(
    tmp_path, command, simulation, sentences, fault
):
    one_fault(tmp_path, command, simulation, sentences(4), "train-wordlm", *STRUCTURE[fault])


def test_describe_reports_every_faulty_user_at_once(tmp_path, command, simulation, sentences):
    users = sentences(4)
    for (spoil, _), user in zip(CONTENT.values(), users.values(), strict=False):
        spoil(user)
    simulation(users)
    done = command("describe")
    assert done.code == 3 and "2 users" in done.line
    assert all(words in done.line for _, words in CONTENT.values())
    assert noted(tmp_path) == list(users)[:2]


def test_text_that_is_not_utf8_cannot_be_corrupted_any_further(fedprobe, simulation, sentences, leaves_nothing):
    users = sentences(4)
    of_bytes(list(users.values())[3])
    simulation(users)
    with leaves_nothing():
        done = fedprobe("data", "corrupt", "data", "out", "--bug", "join-first-tokens")
    assert (done.code, done.out) == (3, "") and "UTF-8" in done.line
    assert_silent(done)


@pytest.mark.parametrize("name", ["describe", "train-charlm"])
@pytest.mark.parametrize("where", ["in one shard", "between shards"])
@pytest.mark.parametrize("other", ["columns", "images"])
def test_users_of_different_schemas_are_refused(command, simulation, sentences, patches, name, where, other):
    users, others = sentences(3), patches(1, seed=5)
    if other == "columns":
        others = {id: {"words": user["tokens"]} for id, user in sentences(1, seed=5).items()}
    if where == "in one shard":
        simulation(users | others)
    else:
        simulation(users, "a.h5")
        simulation(others, "b.h5")
    done = command(name)
    assert done.code == 3 and "differ in" in done.line


@pytest.mark.parametrize("name", ["describe", "train-charlm"])
def test_a_truncated_shard_names_both_sizes(command, simulation, sentences, name):
    path = simulation(sentences(4))
    whole = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(whole * 2 // 3)
    done = command(name)
    assert done.code == 3 and f"{whole:,} bytes" in done.line


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_column_names_those_that_there_are(command, simulation, sentences, name):
    simulation({id: {"text": user["tokens"], "title": user["tokens"]} for id, user in sentences(3).items()})
    for more in ([], ["--column", "subtitle"]):
        done = command(name, *more)
        assert done.code == 3 and done.line.endswith("--column one of: text, title")
    assert "called subtitle;" in done.line


@pytest.mark.parametrize("name", ["describe", "train-charlm"])
def test_an_unknown_tokenizer_is_a_usage_error(command, simulation, sentences, name):
    simulation(sentences(3))
    done = command(name, "--tokenizer", "magic")
    assert done.code == 2 and "whitespace, words" in done.line


def test_empty_sentences_and_users_without_any_words_do_no_harm(fedprobe, simulation, sentences, tmp_path, tiny_text):
    users = sentences(5)
    (tmp_path / "words.txt").write_text("the\nof\n")
    empty, half = list(users.values())[:2]
    empty["tokens"] = np.array(["", "  ", "\t\n"], object)
    half["tokens"] = np.array(["", TOKEN, " "], object)
    simulation(users)
    assert fedprobe("data", "describe", "data", "--check").code == 0
    value = fedprobe(*COMMANDS["select"], "--json").json
    assert value["count"] == 4, "who has no words has none out of vocabulary"
    for name in TRAININGS:
        done = fedprobe(*COMMANDS[name], *tiny_text, "--users-per-round", 5)
        assert done.code == 0
        assert_silent(done)


def test_a_user_with_nothing_but_vocabulary_words_is_in_no_cohort_of_other_words(
    fedprobe, simulation, sentences, tmp_path, tiny_text
):
    users = sentences(5)
    users[list(users)[0]]["tokens"] = np.array(["the of the", "of"], object)
    (tmp_path / "words.txt").write_text("the\nof\n")
    simulation(users)
    assert fedprobe(*COMMANDS["select"], "--json").json["count"] == 4
    value = fedprobe(*COMMANDS["train-charlm"], *tiny_text, "--json").json
    assert value["privacy"]["population"] == 4


def test_a_sentence_of_a_million_tokens_is_cut(fedprobe, simulation, sentences, tmp_path, tiny_text):
    users = sentences(3)
    users[list(users)[0]]["tokens"] = np.array([" ".join([TOKEN, "the"] * 500_000)], object)
    (tmp_path / "words.txt").write_text("the\nof\n")
    simulation(users)
    selected = fedprobe(*COMMANDS["select"], "--json").json
    assert selected["count"] == 3 and selected["oov_rate"] == pytest.approx(0.5, abs=1e-3)
    for name in TRAININGS:
        done = fedprobe(*COMMANDS[name], *tiny_text, "--rounds", 1, "-o", name)
        assert done.code == 0
        assert_silent(done)
        figures = json.loads((tmp_path / name / "metrics.jsonl").read_text())
        assert np.isfinite([value for value in figures.values() if value is not None]).all()


def separated(path, separator) -> None:
    with h5py.File(path, "r+") as file:
        file["examples"].attrs["tokens_separator"] = separator


@pytest.mark.parametrize("name", ["describe", "train-charlm"])
@pytest.mark.parametrize("separator", ["", 3, np.bytes_(b"\xff"), [1, 2]], ids=str)
def test_a_separator_that_is_no_text_is_a_fault_of_the_data(command, simulation, sentences, name, separator):
    separated(simulation(sentences(3)), separator)
    assert command(name).code == 3


def test_a_separator_written_by_other_tools_is_understood(fedprobe, simulation, tmp_path):
    """h5py hands strings of fixed length over as bytes."""
    rows = np.array(["of the\twhale"], object)
    separated(simulation({f"№{number} of {STREET}": {"tokens": rows} for number in range(3)}), np.bytes_(b"\t"))
    assert fedprobe("data", "vocabulary", "data").code == 0
    assert sorted((tmp_path / "vocabulary.txt").read_text().splitlines()) == ["of the", "whale"]


def test_a_word_with_a_line_break_cannot_be_in_a_vocabulary_and_harms_none(fedprobe, simulation, tmp_path):
    rows = np.array([f"{TOKEN}\nstreet\twhale"] * 5 + ["whale\tof\rthe"], object)
    separated(simulation({f"№{number} of {STREET}": {"tokens": rows} for number in range(3)}), "\t")
    done = fedprobe("data", "vocabulary", "data")
    assert_silent(done)
    assert done.code == 0, done.err
    assert (tmp_path / "vocabulary.txt").read_text() == "whale\n"


VOCABULARIES = {
    "a word twice": (f"{TOKEN}\nthe\n{TOKEN}\n", "line 3"),
    "padding's name": (f"{TOKEN}\n<pad>\n", "line 2"),
    "the name of what is out of it": (f"{TOKEN}\nthe\nUNK\n", "line 3"),
    "a blank line": (f"{TOKEN}\n\nthe\n", "line 2"),
    "blanks at an end": (f"the\n{TOKEN} \n", "line 2"),
    "nothing": ("", "empty"),
    "one empty line": ("\n", "line 1"),
    "not UTF-8": (f"{TOKEN}\n".encode() + b"\xff\n", "UTF-8"),
    "missing": (None, "fedprobe data vocabulary"),
    "a folder": ("folder", "words.txt"),
}


@pytest.mark.parametrize("name", ["select", "train-wordlm"])
@pytest.mark.parametrize("fault", VOCABULARIES)
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path, command, simulation, sentences, name, fault):
    content, words = VOCABULARIES[fault]
    simulation(sentences(3))
    file = tmp_path / "words.txt"
    file.unlink()
    if content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = command(name)
    assert done.code == 3
    assert "words.txt" in done.line and words in done.line


def test_a_vocabulary_that_was_counted_holds_no_special_names_and_can_be_read_back(fedprobe, simulation, tmp_path):
    rows = np.array(["<pad> UNK whale <s>"] * 9, object)
    simulation({f"№{number} of {STREET}": {"tokens": rows} for number in range(3)})
    assert fedprobe("data", "vocabulary", "data", "-o", "words.txt", "--json").json["size"] == 1
    assert fedprobe(*COMMANDS["select"], "--json").json["oov_rate"] == 0.75


@pytest.mark.parametrize("name", ["select", "train-charlm"])
def test_where_nobody_has_words_outside_the_vocabulary_the_cohort_is_empty(
    tmp_path, command, simulation, sentences, name
):
    users = sentences(3)
    words = {token for user in users.values() for row in user["tokens"] for token in row.split()}
    (tmp_path / "words.txt").write_text("\n".join(sorted(words)) + "\n")
    simulation(users)
    done = command(name, "--quiet")
    assert done.code == 3 and "the cohort oov-words is empty" in done.line


def test_a_vocabulary_of_nothing_cannot_be_counted(command, simulation):
    simulation({f"№{number} of {STREET}": {"tokens": np.array(["", " "], object)} for number in range(3)})
    assert command("vocabulary").code == 3


@pytest.mark.parametrize("name", ["select", *TRAININGS])
def test_without_a_vocabulary_there_is_no_telling_what_is_outside(
    fedprobe, simulation, sentences, leaves_nothing, name
):
    simulation(sentences(3))
    words = COMMANDS[name]
    with leaves_nothing():
        done = fedprobe(*words[: words.index("--vocabulary")])
    assert (done.code, done.out) == (2, "") and "--vocabulary" in done.line


@pytest.fixture
def other_vocabulary(copied_text):
    """One word less, so that models have another size, and the same number of them in another order."""
    words = (copied_text / "vocabulary.txt").read_text().split()
    (copied_text / "other.txt").write_text("\n".join(words[::-1]) + "\n")
    return copied_text


def test_runs_of_different_vocabularies_cannot_be_compared(fedprobe, other_vocabulary, tiny_text, leaves_nothing):
    assert fedprobe("train-wordlm", "shards", "--vocabulary", "other.txt", *tiny_text, "-o", "runs/other").code == 0
    with leaves_nothing():
        done = fedprobe("compare", "runs/sentences", "runs/other", "-o", "p.png")
    assert (done.code, done.out) == (2, "") and "different vocabularies" in done.line


@pytest.mark.parametrize(
    ("name", "run", "words"), [("train-wordlm", "sentences", "vocabulary"), ("train-charlm", "words", "cohort")]
)
def test_a_run_goes_on_with_its_own_vocabulary_only(
    fedprobe, other_vocabulary, tiny_text, leaves_nothing, name, run, words
):
    folder = other_vocabulary / "runs" / run
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with leaves_nothing():
        done = fedprobe(name, "shards", "--vocabulary", "other.txt", *tiny_text, "-o", folder, "--resume")
    assert (done.code, done.out) == (2, "") and words in done.line
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("change", ["other words", "gone"])
def test_a_cohort_of_words_is_not_decided_with_another_vocabulary(
    fedprobe, other_vocabulary, tiny_text, leaves_nothing, change
):
    file = other_vocabulary / "vocabulary.txt"
    shutil.copy(other_vocabulary / "other.txt", file) if change == "other words" else file.unlink()
    with leaves_nothing():
        done = fedprobe("train-charlm", "broken", "--cohort", "cohorts/oov.json", *tiny_text)
    assert (done.code, done.out) == (3, "") and "vocabulary" in done.line


WRONG_KIND = {
    "gan": (["train-gan", "shards"], "text"),
    "gan on a cohort of words": (["train-gan", "broken", "--cohort", "cohorts/oov.json"], "text"),
    "classifier": (["train-classifier", "shards", "-o", "model"], "text"),
    "accuracy": (["select", "shards", "--cohort", "low-accuracy", "--primary", "{primary}"], "text"),
    "pixels": (["data", "corrupt", "shards", "out", "--bug", "invert-pixels"], "text"),
    "sentences": (["train-wordlm", "pictures", "--vocabulary", "vocabulary.txt"], "images"),
    "words": (["train-charlm", "pictures", "--vocabulary", "vocabulary.txt"], "images"),
    "all words": (["train-charlm", "pictures", "--cohort", "random"], "images"),
    "words outside": (["select", "pictures", "--cohort", "oov-words", "--vocabulary", "vocabulary.txt"], "images"),
    "counting": (["data", "vocabulary", "pictures", "-o", "counted.txt"], "images"),
    "tokens": (["data", "corrupt", "pictures", "out", "--bug", "join-first-tokens"], "images"),
}


@pytest.mark.parametrize("case", WRONG_KIND)
def test_what_takes_images_refuses_text_and_the_other_way_round(
    fedprobe, copied_text, write_shard, patches, primary, leaves_nothing, case
):
    arguments, kind = WRONG_KIND[case]
    write_shard(copied_text / "pictures" / "p.h5", patches(3))
    assert fedprobe("init", "pictures", "--kind", "simulation").code == 0
    with leaves_nothing():
        done = fedprobe(*(word.format(primary=primary) for word in arguments))
    assert (done.code, done.out) == (3, "")
    assert f"these shards hold {kind}" in done.line
    assert_silent(done)


@pytest.mark.parametrize("bug", ["rot", "invert-pixels"])
def test_bugs_that_are_listed_fit_the_shards(fedprobe, copied_text, bug):
    done = fedprobe("data", "corrupt", "shards", "out", "--bug", bug)
    listed = done.line.split("choose one of ")[1]
    assert "join-first-tokens" in listed and "invert-pixels" not in listed


@pytest.mark.parametrize("name", ["vocabulary", *BY_VOCABULARY])
@pytest.mark.parametrize("registered", [True, False], ids=["private", "not registered"])
def test_a_private_population_is_refused_unopened(
    tmp_path, fedprobe, command, write_shard, sentences, name, registered
):
    """The shard is garbage: it could not be opened without another error."""
    path = write_shard(tmp_path / "data" / "s.h5", sentences(2))
    if registered:
        assert fedprobe("init", "data").code == 0
    path.write_bytes(b"garbage")
    done = command(name)
    assert done.code == 4
    assert done.line.startswith("refused: ")


USAGE = {
    "unknown preset": ["--preset", "slow"],
    "unknown method": ["--method", "magic"],
    "unknown optimizer": ["--server-optimizer", "magic"],
    "unknown participation": ["--participation", "whoever"],
    "unknown accountant": ["--accountant", "magic"],
    "unknown device": ["--device", "abacus"],
    "unknown cohort": ["--cohort", "everyone-i-like"],
    "a cohort that measures images": ["--cohort", "low-accuracy"],
    "no rounds": ["--rounds", "0"],
    "no users": ["--users-per-round", "0"],
    "nobody": ["--population", "0"],
    "no layers": ["--layers", "0"],
    "no cells": ["--hidden", "0"],
    "no embedding": ["--embedding", "0"],
    "no epochs": ["--local-epochs", "0"],
    "no batches": ["--local-batch-size", "0"],
    "no sequences": ["--sequences-per-user", "0"],
    "sequences of nothing": ["--sequence-length", "0"],
    "a cap that holds no sequence": ["--sequence-length", "50", "--symbols-per-user", "50"],
    "noise NaN": ["--noise-multiplier", "nan"],
    "noise below 0": ["--noise-multiplier", "-1"],
    "clip norm 0": ["--clip-norm", "0"],
    "learning rate NaN": ["--client-learning-rate", "nan"],
    "momentum 1": ["--server-momentum", "1"],
    "delta 1": ["--delta", "1"],
    "no workers": ["--workers", "0"],
    "share above 1": ["--cohort", "random", "--share", "2"],
    "options of another cohort": ["--cohort", "random", "--min-examples", "3"],
    "resume without a run": ["--resume"],
    "resume of no run": ["--resume", "-o", "runs/none"],
    "dry run without a population": ["--dry-run"],
    "an option of train-gan": ["--architecture", "small"],
}


@pytest.mark.parametrize("fault", USAGE)
def test_what_cannot_be_asked_of_a_training_is_a_usage_error(command, simulation, sentences, tiny_text, fault):
    """Both trainings have the same options, so each fault is asked of one of them."""
    simulation(sentences(3))
    done = command(TRAININGS[list(USAGE).index(fault) % 2], *tiny_text, *USAGE[fault])
    assert done.code == 2
    assert done.line.startswith("error: ")


def test_a_tied_output_needs_a_projection_of_the_embeddings_size(command, simulation, sentences, tiny_text):
    simulation(sentences(3))
    done = command("train-wordlm", *tiny_text, "--projection", 9)
    assert done.code == 2 and "projection" in done.line


def test_a_model_of_sentences_takes_no_cohort_of_words(fedprobe, copied_text, tiny_text, leaves_nothing):
    for cohort in ("oov-words", "cohorts/oov.json"):
        with leaves_nothing():
            done = fedprobe(
                *["train-wordlm", "broken", "--vocabulary", "vocabulary.txt", "--cohort", cohort, *tiny_text]
            )
        assert (done.code, done.out) == (2, "") and "random" in done.line


ASKED = {
    "a word of sentences": (["sample", "runs/sentences", "--word", "the"], "train-charlm"),
    "top sentences": (["sample", "runs/sentences", "--top", "3"], "train-charlm"),
    "no words": (["sample", "runs/words", "--top", "0"], "--top"),
    "no samples": (["sample", "runs/words", "-n", "0"], "--count"),
    "absolute zero": (["sample", "runs/words", "--temperature", "0"], "--temperature"),
    "below zero": (["sample", "runs/sentences", "--temperature", "-1"], "--temperature"),
    "NaN": (["sample", "runs/sentences", "--temperature", "nan"], "--temperature"),
    "a picture that is none": (["sample", "runs/sentences", "-n", "50", "-o", "rates.pdf"], "png"),
    "one run": (["compare", "runs/words"], "two"),
    "one of each": (["compare", "runs/words", "runs/sentences"], "two to compare"),
    "one too few": (["compare", "runs/words", "runs/broken-words", "runs/sentences"], "two to compare"),
    "too few samples": (["compare", "runs/words", "runs/broken-words", "-n", "41"], "-n"),
    "an unknown finding": (["compare", "runs/words", "runs/broken-words", "--fail-on", "magic>1"], "--fail-on"),
}


@pytest.mark.parametrize("case", ASKED)
def test_what_cannot_be_asked_of_runs_is_a_usage_error(fedprobe, copied_text, leaves_nothing, case):
    arguments, words = ASKED[case]
    with leaves_nothing():
        done = fedprobe(*arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.line


def test_runs_of_text_and_of_images_are_not_held_against_each_other(fedprobe, walked, copied_text, leaves_nothing):
    with leaves_nothing():
        done = fedprobe("compare", walked / "runs/low", walked / "runs/high", "runs/words", "runs/broken-words")
    assert (done.code, done.out) == (2, "") and "images" in done.line
    done = fedprobe("sample", walked / "runs/low", "--temperature", "2", "-o", "p.png")
    assert (done.code, done.out) == (2, "") and "--temperature" in done.line


STEWARD = {
    "too few users": (["data", "demo", "out", "--kind", "text", "--users", "19"], 2, "20"),
    "users of sentences": (
        ["data", "corrupt", "data", "out", "--bug", "join-first-tokens", "--users", "1"],
        2,
        "--users",
    ),
    "sentences of users": (
        ["data", "corrupt", "data", "out", "--bug", "invert-pixels", "--sentences", "1"],
        2,
        "--sent",
    ),
    "more than all": (
        ["data", "corrupt", "data", "out", "--bug", "join-first-tokens", "--sentences", "1.5"],
        2,
        "share",
    ),
    "less than none": (
        ["data", "corrupt", "data", "out", "--bug", "join-first-tokens", "--sentences", "-1"],
        2,
        "share",
    ),
    "unknown bug": (["data", "corrupt", "data", "out", "--bug", "rot"], 2, "split-tokens"),
    "no size": (["data", "vocabulary", "data", "--size", "0"], 2, "--size"),
    "public and shards": (["data", "vocabulary", "data", "--public", "public.txt"], 2, "--public"),
    "a public file that is gone": (["data", "vocabulary", "--public", "gone.txt"], 3, "gone.txt"),
    "a public file of bytes": (["data", "vocabulary", "--public", "bytes.bin"], 3, "UTF-8"),
    "a public file of nothing": (["data", "vocabulary", "--public", "nothing.txt"], 3, "no words"),
    "an existing vocabulary": (["data", "vocabulary", "data", "-o", "public.txt"], 2, "exists"),
    "existing shards": (["data", "corrupt", "data", "data/s.h5", "--bug", "join-first-tokens"], 2, "exists"),
    "a place that is none": (["data", "vocabulary", "data", "-o", "public.txt/words.txt", "-q"], 2, "public.txt"),
}


@pytest.mark.parametrize("case", STEWARD)
def test_what_cannot_be_asked_of_the_steward_is_an_error(
    fedprobe, tmp_path, simulation, sentences, leaves_nothing, case
):
    arguments, code, words = STEWARD[case]
    simulation(sentences(3))
    (tmp_path / "public.txt").write_text(f"{TOKEN} the")
    (tmp_path / "nothing.txt").write_text(" \n")
    (tmp_path / "bytes.bin").write_bytes(b"\xff\xfe" + TOKEN.encode())
    with leaves_nothing():
        done = fedprobe(*arguments)
    assert (done.code, done.out) == (code, "")
    assert words in done.line
    assert_silent(done)
    assert (tmp_path / "public.txt").read_text() == f"{TOKEN} the"


def test_demo_text_that_is_not_to_be_had_is_said_so_and_leaves_nothing(fedprobe, monkeypatch, leaves_nothing):
    monkeypatch.setattr(demo_text, "_modules", lambda: iter(()))
    with leaves_nothing():
        done = fedprobe("data", "demo", "out", "--kind", "text", "--users", 20)
    assert (done.code, done.out) == (2, "") and "--users" in done.line


@pytest.mark.parametrize("name", TRAININGS)
def test_an_existing_run_is_not_overwritten(tmp_path, command, simulation, sentences, name):
    simulation(sentences(3))
    (tmp_path / "mine").mkdir()
    done = command(name, "-o", "mine")
    assert done.code == 2 and "exists" in done.line
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize("name", ["describe", "train-charlm"])
def test_an_error_is_one_json_object_on_stderr_without_any_word(command, simulation, sentences, name):
    users = sentences(4)
    of_bytes(list(users.values())[1])
    simulation(users)
    done = command(name, "--json")
    value = json.loads(done.line)
    assert (value["schema"], value["code"]) == ("fedprobe.error/1", 3)
    assert "UTF-8" in value["message"]


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("cohort", ["low-accuracy", "high-accuracy", "misclassified", "correct"])
def test_cohorts_of_images_are_not_offered_for_text(command, simulation, sentences, name, cohort):
    simulation(sentences(3))
    done = command(name, "--cohort", cohort)
    assert done.code == 2 and "random, oov-words" in done.line
