"""`fedprobe export` and `fedprobe data import --labels`: to a labelling tool and back, or what was wrong."""

import csv
import json

import pytest

ONCE = ["--method", "one-round", "--workers", 1, "--no-progress", "--noise-multiplier", 0]


@pytest.fixture
def run(fedprobe, copied):
    """A run by label in `runs/labels`, one without labels in `runs/plain`."""
    for name, more in (("labels", ["--classes", 2]), ("plain", [])):
        done = fedprobe("train-gan", "shards", *ONCE, *more, "-o", f"runs/{name}")
        assert done.code == 0, done.err
    return copied


def test_to_a_tool_and_back(fedprobe, run):
    exported = ["export", "runs/labels", "-n", 6, "--primary", "primary", "-o", "out"]
    made = fedprobe(*exported, "--json")
    assert made.code == 0, made.err
    value = made.json
    assert (value["schema"], value["count"], value["labels"]) == ("fedprobe.export/1", 12, [0, 1])
    assert value["truncation"] == 0.5
    assert value["agreement"]["count"] == 12 and [one["count"] for one in value["agreement_by_label"]] == [6, 6]
    table = run / value["table"]
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 12 and all((run / "out" / row["file"]).is_file() for row in rows)
    # A person who agrees with the primary model but for one image, and cannot read another.
    for row in rows:
        row["label"] = row["guess"]
    rows[0]["label"], rows[1]["label"] = str(1 - int(rows[0]["guess"])), "?"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    back = ["data", "import", "out", "--labels", table]
    found = fedprobe(*back, "-o", "table.json", "--json").json
    assert (found["labelled"], found["unreadable"]) == (12, 1)
    assert (found["right"]["hits"], found["right"]["count"]) == (10, 11)
    ((label, guess, share),) = [(one["label"], one["guess"], one["share"]) for one in found["errors"]]
    assert (str(label), str(guess), share["hits"]) == (rows[0]["label"], rows[0]["guess"], 1)
    assert json.loads((run / "table.json").read_text()) | {"file": "table.json"} == found
    shown = fedprobe(*back).out
    assert "10" not in shown.splitlines()[0] and "guessed as" in shown and "90.9%" in shown


def test_without_labels_or_a_primary_model_it_is_images_and_a_blank_table(fedprobe, run):
    done = fedprobe("export", "runs/plain", "-n", 5, "-o", "out", "--json")
    assert done.json["count"] == 5 and done.json["labels"] == [] and "agreement" not in done.json
    rows = list(csv.DictReader((run / "out/labels.csv").open()))
    assert {(row["drawn_as"], row["guess"], row["confidence"], row["label"]) for row in rows} == {("", "", "", "")}
    back = fedprobe("data", "import", "out", "--labels", "out/labels.csv")
    assert back.code == 0 and "no guesses" in back.out and "column `label`" in back.err
    # Whoever labels the glyphs of one round without labels is told whose they are.
    assert "a public prior's" in " ".join(back.out.split())


def test_folders_are_labels(fedprobe, run):
    asked = ["export", "runs/labels", "-n", 3, "--label", 1, "--primary", "primary", "--layout", "folders", "-o", "out"]
    assert fedprobe(*asked).code == 0
    found = fedprobe("data", "import", "out", "--labels", "out/images", "--json").json
    assert found["labelled_as_drawn"]["value"] == 1 and found["labelled"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["export", "runs/none", "-o", "new"], 2, "not a run"),
        (["export", "runs/labels", "--label", "2", "-o", "new"], 2, "0 to 1"),
        (["export", "runs/plain", "--label", "0", "-o", "new"], 2, "without labels"),
        (["export", "runs/labels", "--layout", "tree", "-o", "new"], 2, "folders"),
        (["export", "runs/labels", "--primary", "runs/low", "-o", "new"], 3, "--primary"),
        (["export", "runs/labels", "-o", "shards"], 2, "exists"),
        (["export", "runs/labels", "-n", "0", "-o", "new"], 2, "--count"),
        (["export", "runs/labels", "--truncation", "0", "-o", "new"], 2, "above 0"),
        (["export", "runs/labels", "--truncation", "nan", "-o", "new"], 2, "above 0"),
        (["export", "runs/plain", "--truncation", "0.5", "-o", "new"], 2, "with labels"),
        (["sample", "runs/plain", "--truncation", "0.5"], 2, "with labels"),
        (["sample", "runs/labels", "--truncation", "2"], 2, "at most 1"),
        (["data", "import", "out"], 2, "--labels"),
        (["data", "import", "shards", "--labels", "out/labels.csv"], 3, "fedprobe export"),
        (["data", "import", "out", "--labels", "none.csv"], 3, "cannot be read"),
        (["data", "import", "out", "--labels", "other/labels.csv"], 3, "another one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_line(fedprobe, run, arguments, code, says):
    fedprobe("export", "runs/labels", "-n", 2, "-o", "out")
    fedprobe("export", "runs/labels", "-n", 2, "--seed", 1, "-o", "other")
    done = fedprobe(*arguments)
    assert (done.code, done.out) == (code, "")
    assert says in done.line
    assert not (run / "new").exists()


def test_a_sample_may_be_of_the_typical_ones_too(fedprobe, run):
    files = [
        fedprobe("sample", "runs/labels", "-n", 4, *more, "--json").json["file"]
        for more in ([], ["--truncation", 0.3], ["--truncation", 0.3, "--label", 1])
    ]
    assert len(set(files)) == 3
