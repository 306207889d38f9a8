"""`--where` and `--where-each`: cohorts of users whose public attributes match, and what they cost together."""

import json
import os
import shlex

import h5py
import numpy as np
import pytest
from h5py import h5a, h5s, h5t

from fedprobe.clients.cohort_files import cell_of
from fedprobe.clients.cohorts import decide_cohort
from fedprobe.clients.data.shards import open_dataset
from fedprobe.privacy.entries import Entry, together
from fedprobe.privacy.rules import rule

VERSIONS = ("2.0", "2.1")
ONCE = ["--method", "one-round", "--workers", 1, "--no-progress"]


@pytest.fixture
def shards(tmp_path, write_shard, patches):
    """Shards in `data`, to be registered: 12 users, the first 4 with all labels wrong; every third has version 2.1."""
    path = write_shard(tmp_path / "data" / "s.h5", patches(12, mislabelled=4))
    with h5py.File(path, "r+") as file:
        # HDF5 lists groups by name, and `patches` numbers them.
        for number, group in enumerate(file["examples"].values()):
            group.attrs["version"] = VERSIONS[number % 3 == 0]
            group.attrs["age"] = np.int32(number)
            group.attrs["beta"] = np.bool_(number < 6)
            group.attrs["vector"] = np.arange(3)
            if number == 7:
                del group.attrs["version"]
    return path


@pytest.fixture
def simulation(fedprobe, shards):
    assert fedprobe("init", "data", "--kind", "simulation").code == 0


@pytest.fixture
def private(fedprobe, shards):
    assert fedprobe("init", "data", "--budget-epsilon", 2).code == 0


def counted(fedprobe, *arguments) -> int:
    done = fedprobe("select", "data", *arguments, "-o", "c.json", "--json", "--no-progress")
    assert done.code == 0, done.err
    return done.json["count"]


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("version == '2.1'", 4),
        ("version != '2.1'", 7),
        ("version == '2.1' or age < 3", 6),
        ("beta", 6),
        ("not beta and age in (6, 7, 100)", 2),
        ("2 <= age < 5.5", 4),
        ("age == True", 1),
    ],
)
def test_users_are_selected_by_their_attributes(tmp_path, fedprobe, simulation, where, count):
    assert counted(fedprobe, "--where", where) == count
    written = json.loads((tmp_path / "c.json").read_text())
    assert counted(fedprobe, "--where", written["rule"]["where"]) == count


def test_it_narrows_every_cohort(tmp_path, fedprobe, simulation, primary, density, tiny):
    measured = ["--primary", primary]
    cohorts = [[name, *measured] for name in ("low-accuracy", "high-accuracy")]
    cohorts += [[name, *measured, "--min-examples", 1] for name in ("misclassified", "correct")]
    cohorts += [["unlike-public", "--public", density, "--public-share", 0.9], ["random"]]
    for cohort in cohorts:
        # The mislabelled users have the ages 0, 1, 4 and 5.
        halves = [f"age {op} (0, 4, 6, 8)" for op in ("in", "not in")]
        parts = [counted(fedprobe, "--cohort", *cohort, "--where", where) for where in halves]
        assert sum(parts) == counted(fedprobe, "--cohort", *cohort)
    done = fedprobe("train-gan", "data", "--where", "age < 6", *tiny, "-o", "run", "--json")
    assert done.code == 0 and "where age < 6" in (tmp_path / "run/card.md").read_text(), done.err
    assert json.loads((tmp_path / "run/config.json").read_text())["cohort"]["count"] == 6
    assert fedprobe("train-gan", "data", "--cohort", "c.json", *tiny, "-o", "again").code == 0


def test_words_of_users_who_match(fedprobe, copied_text, tiny_text):
    with h5py.File(copied_text / "shards/sentences.h5", "r+") as file:
        for number, group in enumerate(file["examples"].values()):
            group.attrs["locale"] = "de" if number < 5 else "at"
    oov = ["--cohort", "oov-words", "--vocabulary", "vocabulary.txt", "--where", "locale == 'de'"]
    assert fedprobe("select", "shards", *oov, "--json").json["count"] == 5
    done = fedprobe("train-charlm", "shards", *oov, *tiny_text, "-o", "run")
    assert done.code == 0, done.err


def test_a_comparison_says_whom_each_cohort_was_narrowed_to(fedprobe, copied):
    for run, version in zip(("low", "high"), VERSIONS, strict=True):
        config = json.loads((copied / "runs" / run / "config.json").read_text())
        config["cohort"]["rule"]["where"] = f"v == '{version}'"
        (copied / "runs" / run / "config.json").write_text(json.dumps(config))
    done = fedprobe("compare", "runs/low", "runs/high", "-n", 60, "-o", "p.png", COLUMNS="200")
    assert done.code == 0, done.err
    for version in VERSIONS:
        assert f"where v == '{version}'" in done.out


def test_each_value_is_a_cohort_and_all_of_them_cost_what_one_does(tmp_path, fedprobe, private):
    each = ["--where-each", "version in ('2.0', '2.1', 'never')"]
    value = fedprobe("select", "data", *each, "-o", "slices", "--json").json
    assert [one["where"] for one in value["cohorts"]] == [f"version == '{one}'" for one in (*VERSIONS, "never")]
    assert {one["count"] for one in value["cohorts"]} == {None} and value["epsilon"] == 0
    runs = []
    for number, one in enumerate(value["cohorts"]):
        runs.append(f"run{number}")
        asked = ["--target-epsilon", 1.5, *ONCE, "-o", runs[-1]]
        done = fedprobe("train-gan", "data", "--cohort", one["file"], *asked)
        assert done.code == 0, done.err
    ledger = fedprobe("ledger", "data", "--json").json
    assert 1.4 < ledger["spent"]["epsilon"] <= 1.5 and len(ledger["entries"]) == 3
    together = fedprobe("privacy", *runs, "--json").json
    assert 1.4 < together["epsilon"] <= 1.5
    assert fedprobe("train-gan", "data", "--target-epsilon", 1.5, *ONCE, "-o", "everybody").code == 4


@pytest.mark.parametrize("cohort", ["random", "low-accuracy", "correct"])
def test_slices_that_are_named_on_the_fly_cost_what_one_does_too(fedprobe, private, primary, cohort):
    paid = ["--cohort", cohort, "--primary", primary, "--target-epsilon", 1.5, *ONCE]
    paid += ["--min-examples", 1] if cohort == "correct" else []

    def train(version: str, *more: str):
        return fedprobe("train-gan", "data", *paid, "--where", f"version == '{version}'", *more)

    assert fedprobe("select", "data", "--cohort", cohort, "--primary", primary, "--where", "age < 99").code == 0
    for version in VERSIONS:
        after = train(version, "--dry-run", "--json").json["ledger"]["after"]["epsilon"]
        done = train(version, "-o", version)
        assert done.code == 0, done.err
        # What was said before is what was charged.
        assert fedprobe("ledger", "data", "--json").json["spent"]["epsilon"] == pytest.approx(after)
    assert after <= 1.5
    # The same users again, or who may be any of them, do not fit any more.
    assert train(VERSIONS[0], "-o", "again").code == 4
    assert fedprobe("train-gan", "data", *paid, "--where", "age < 99", "-o", "young").code == 4


def test_the_command_that_is_named_next_goes_on_with_the_same_shards(fedprobe, shards):
    where = ["--record", "the record"]
    assert fedprobe("init", "data", "--kind", "simulation", *where).code == 0
    (shards.parents[1] / "fedprobe.toml").unlink()
    made = fedprobe("select", "data", *where, "--where-each", "version in ('2.0',)", "-o", "some slices")
    (said,) = [line for line in made.err.splitlines() if "next, for each: " in line]
    command = shlex.split(said.partition("next, for each: fedprobe ")[2])
    done = fedprobe(*command, "--workers", 1, "--dry-run")
    assert done.code == 0, done.err


@pytest.mark.parametrize("unnoticed", [False, True])
def test_who_changed_sides_meanwhile_is_charged_for_all_she_takes_part_in(
    tmp_path, fedprobe, private, shards, unnoticed
):
    paid, status = ["--target-epsilon", 1.5, *ONCE], shards.stat()
    for version in VERSIONS:
        where = ["--where", f"version == '{version}'", "-o", f"{version}.json"]
        assert fedprobe("select", "data", *where).code == 0
    assert fedprobe("train-gan", "data", "--cohort", "2.0.json", *paid, "-o", "one").code == 0
    with h5py.File(shards, "r+") as file:
        for group in file["examples"].values():
            group.attrs.modify("version", "2.1")
    if not unnoticed:
        done = fedprobe("train-gan", "data", "--cohort", "2.1.json", *paid, "-o", "other")
        assert done.code == 3 and "changed" in done.line
        assert fedprobe("select", "data", "--where", "version == '2.1'", "-o", "2.1.json").code == 0
        done = fedprobe("train-gan", "data", "--cohort", "2.1.json", *paid, "-o", "other")
        assert done.code == 4 and "left" in done.line
        return
    # As a copy that keeps times does. What was frozen counts: four users have version 2.1, and no more.
    os.utime(shards, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert shards.stat().st_size == status.st_size
    dataset = open_dataset([shards])
    members = [decide_cohort(dataset, rule("random", where=f"version == '{one}'")).members.users for one in VERSIONS]
    assert [len(one) for one in members] == [7, 4] and not set(members[0]) & set(members[1])


@pytest.mark.parametrize(
    ("name", "kind"), [(b"when", h5t.UNIX_D32LE), (b"\xff", h5t.NATIVE_INT32)], ids=["type", "name"]
)
def test_an_attribute_that_cannot_be_read_stops_no_command(fedprobe, simulation, shards, name, kind):
    with h5py.File(shards, "r+") as file:
        user = list(file["examples"].values())[3]
        h5a.create(user.id, name, kind, h5s.create(h5s.SCALAR))
    assert counted(fedprobe, "--where", "version == '2.0'") == 7
    assert counted(fedprobe, "--where", "version == '2.1'") == (3 if name == b"when" else 4)


def test_two_looks_at_attributes_share_no_budget_though_the_measurement_is_one(
    tmp_path, fedprobe, private, primary, shards
):
    low = ["data", "--cohort", "low-accuracy", "--primary", primary, "--where"]
    for number, version in enumerate(VERSIONS):
        assert fedprobe("select", *low, f"version == '{version}'", "-o", f"{number}.json").code == 0
    assert fedprobe("select", *low, "version == '2.0'", "-o", "again.json").code == 0
    for path in (tmp_path / "data").rglob("measurements/*.json"):
        if json.loads(path.read_text())["primary"] == "attributes":
            path.unlink()
    assert fedprobe("select", *low, "version == '2.1'", "-o", "later.json").code == 0
    cells = {name: cell_of(tmp_path / f"{name}.json") for name in ("0", "1", "again", "later")}
    assert cells["0"] == cells["again"]
    for other, total in (("1", 1.5), ("later", 3.0)):
        assert together([Entry("", "", (), 1.5, 0.0, cells[name]) for name in ("0", other)]).epsilon == total


def test_slices_of_words_cost_what_one_does(tmp_path, fedprobe, write_shard, sentences):
    path = write_shard(tmp_path / "data" / "s.h5", sentences(12))
    with h5py.File(path, "r+") as file:
        for number, group in enumerate(file["examples"].values()):
            group.attrs["version"] = VERSIONS[number % 2]
    (tmp_path / "vocabulary.txt").write_text("the\na\n")
    assert fedprobe("init", "data", "--budget-epsilon", 2).code == 0
    words = ["--cohort", "oov-words", "--vocabulary", "vocabulary.txt"]
    each = fedprobe("select", "data", *words, "--where-each", f"version in {VERSIONS}", "-o", "slices", "--json").json
    cells = [cell_of(tmp_path / one["file"]) for one in each["cohorts"]]
    assert together([Entry("", "", (), 1.5, 0.0, cell) for cell in cells]).epsilon == 1.5


def test_a_study_of_slices(tmp_path, fedprobe, private):
    plan = 'command = "train-gan"\nparticipation = "every-user"\nnoise_multiplier = 3\n'
    plans = "".join(f"[[plan]]\n{plan}where = \"version == '{version}'\"\n" for version in VERSIONS)
    (tmp_path / "study.toml").write_text(f'name = "s"\n{plans}')
    declared = fedprobe("ledger", "declare", "study.toml", "data", "--json").json
    once = (
        "--participation none --rounds 1 --noise-multiplier 3 --delta 1e-7 --users-per-round 1 --population 1".split()
    )
    assert declared["spent"]["epsilon"] == pytest.approx(fedprobe("privacy", *once, "--json").json["epsilon"], rel=1e-3)
    for version in VERSIONS:
        asked = ["--noise-multiplier", 3, "--study", "s", "-o", version, *ONCE]
        done = fedprobe("train-gan", "data", "--where", f"version == '{version}'", *asked)
        assert done.code == 0, done.err


@pytest.mark.parametrize("more", [[], ["--count", "--target-epsilon", "0.5"]], ids=["free", "paid"])
def test_an_attribute_that_no_private_user_has_selects_nobody_and_says_nothing(tmp_path, fedprobe, private, more):
    said = []
    for where in ("version == '2.1'", "nowhere == '2.1'"):
        done = fedprobe("select", "data", "--where", where, *more, "-o", "c.json", "--json")
        assert done.code == 0, done.err
        said.append(sorted(done.json))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--where", "version ="], 2, "--where cannot be read"),
        (["--where", "version = '2.1'"], 2, "equality is =="),
        (["--where", "__import__('os')"], 2, "--where cannot be read"),
        (["--where", "verson == '2.1'"], 3, "there are age, beta, version"),
        (["--where", "version == '3'"], 3, "nobody matches"),
        (["--where-each", "version"], 2, "--where-each"),
        (["--where-each", "version in ('2.1', '3')"], 3, "nobody matches version == '3'; loosen --where, or leave"),
        (["--where-each", "version in ('2.1',)", "--count"], 2, "--count"),
        (["--where-each", "version in ('2.1',)", "--dry-run"], 2, "--dry-run"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_line_and_writes_nothing(tmp_path, fedprobe, simulation, arguments, code, says):
    done = fedprobe("select", "data", *arguments, "--no-progress", "-q", "-o", "slices")
    assert (done.code, done.out if code == 2 else "") == (code, "")
    assert says in done.line
    assert not (tmp_path / "slices").exists(), "the first value's cohort, neither"


def test_a_rehearsed_bug_leaves_attributes_as_they_are(tmp_path, fedprobe, simulation):
    assert fedprobe("data", "corrupt", "data", "struck", "--bug", "invert-pixels").code == 0
    value = fedprobe("select", "struck", "--where", "version == '2.1'", "--json").json
    assert value["count"] == 4
