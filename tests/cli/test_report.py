"""`fedprobe report`: one file from run directories alone."""

import html
import json
import re
import shlex
import shutil

import pytest

from fedprobe.modeler.report.reproduce import command_of
from fedprobe.runs import Run


def test_it_needs_neither_shards_nor_ledger(fedprobe, copied):
    for gone in ("shards", "primary", "cohorts"):
        shutil.rmtree(copied / gone)
    done = fedprobe("report", "runs/high", "runs/low", "-n", "40", "--json")
    assert (done.code, done.err) == (0, "")
    value = done.json
    assert value["schema"] == "fedprobe.report/1"
    assert value["file"] == "runs/report-high-low.html"
    file = copied / value["file"]
    assert value["bytes"] == file.stat().st_size
    assert [(run["given"], run["kind"], run["round"]) for run in value["runs"]] == [
        ("runs/high", "images", 3),
        ("runs/low", "images", 3),
    ]
    assert value["runs"][1]["cohort"] == {"criterion": "low-accuracy", "below": 0.882}
    assert (value["privacy"]["epsilon"], value["privacy"]["epsilon_is"]) == (None, "infinite")
    page = file.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and "Without noise there is no guarantee" in page


def test_the_same_command_writes_the_same_file(fedprobe, copied):
    command = ("report", "runs/high", "runs/low", "--primary", "primary", "-n", "40", "-q", "-o", "new/r.html")
    pages = []
    for _ in range(2):
        assert fedprobe(*command).code == 0
        pages.append((copied / "new" / "r.html").read_text())
    assert pages[0] == pages[1]
    assert "confidence" in pages[0]
    repeated = html.unescape(re.sub("</?span>", "", pages[0].rpartition("<pre>")[2].partition("</pre>")[0]))
    assert shlex.split(repeated)[1:4] == list(command[:3]) and "--output new/r.html" in repeated


def test_text_alone_or_beside_images_and_a_run_alone(fedprobe, copied_text):
    done = fedprobe("report", "runs/words", "-n", "1000", "-o", "r.html")
    assert (done.code, done.err) == (0, "")
    assert "report     r.html" in done.out and "epsilon    infinite" in done.out
    runs = [f"runs/{name}" for name in ("sentences", "broken-sentences", "words", "broken-words")]
    done = fedprobe("report", *runs, "-n", "1000", "--top", "3", "-o", "r.html", "--json")
    assert done.code == 0, done.err
    assert [run["kind"] for run in done.json["runs"]] == ["sentences", "sentences", "words", "words"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "RUN..."),
        (["nowhere"], 2, "is not a run"),
        (["runs/high", "shards"], 2, "is not a run"),
        (["runs/high", "-o", "r.png"], 2, "ends in .html"),
        (["runs/high", "-o", "runs/high"], 2, "ends in .html"),
        (["runs/high", "-n", "3"], 2, "--count"),
        (["runs/high", "--primary", "nowhere"], 3, "nothing is there"),
        (["runs/high", "-o", "shards/patches.h5/r.html"], 2, "choose another place"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(fedprobe, copied, leaves_nothing, arguments, code, words):
    with leaves_nothing():
        done = fedprobe("report", *arguments)
    assert (done.code, done.out) == (code, "")
    assert words in done.line


def test_a_damaged_run_is_refused(fedprobe, copied):
    config = copied / "runs" / "low" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"training": 3}))
    done = fedprobe("report", "runs/high", "runs/low", "-n", "40")
    assert done.code == 3 and done.line.endswith("train again")


def test_the_command_that_it_gives_trains_the_run_again(fedprobe, copied):
    (copied / "new").mkdir()
    words = shlex.split(" ".join(command_of(Run(copied / "runs" / "low"))))
    words[words.index("--output") + 1] = "new/low"
    done = fedprobe(*words[1:], "--workers", "1", "--no-progress", "-q")
    assert done.code == 0, done.err
    before, after = (Run(copied / name / "low") for name in ("runs", "new"))
    assert before.config["training"] == after.config["training"]
    tensors = [run.load()[0] for run in (before, after)]
    assert all(value.equal(tensors[1][name]) for name, value in tensors[0].items()), "without noise, to the last bit"


ONCE = ["--method", "one-round", "--workers", "1", "--no-progress"]


def test_every_command_that_it_gives_is_taken(fedprobe, copied, walked_text, tiny):
    shutil.copytree(walked_text, copied / "text")
    words = ["--vocabulary", "vocabulary.txt"]
    for within, command in (
        (".", ["train-gan", "shards", *ONCE, "--classes", "2", "-o", "runs/one-round"]),
        (".", ["train-classifier", "shards", "--method", "fedavg", *tiny, "-o", "runs/classifier"]),
        ("text", ["train-charlm", "shards", *words, *ONCE, "-o", "runs/released"]),
    ):
        done = fedprobe(*command, within=within)
        assert done.code == 0, done.err
    taken = 0
    for within in (".", "text"):
        for path in (copied / within / "runs").iterdir():
            _, *words = shlex.split(" ".join(command_of(Run(path))))
            done = fedprobe(*words, "--dry-run", "-q", within=within)
            assert done.code == 0, f"{path.name}: {done.err}"
            taken += 1
    assert taken == 9
