"""The data steward's path: register, describe, make demo shards, rehearse a bug."""

import json

import pytest

from fedprobe.clients.data.image_bugs import USER_BUGS, UserBug


def test_demo_shards_are_a_simulation_ready_to_use(fedprobe, tmp_path):
    done = fedprobe("data", "demo", "shards", "--users", 20, "--json")
    assert (done.code, done.json["users"]) == (0, 20)
    described = fedprobe("data", "describe", "shards", "--check", "--classes", 10, "--json", "--quiet").json
    assert (described["kind"], described["users"], described["shape"]) == ("simulation", 20, [28, 28, 1])
    assert described["examples"] == done.json["examples"]
    assert fedprobe("select", "shards", "--json").json["count"] == 20


def test_a_rehearsed_bug_carries_the_record_along(fedprobe, copied):
    done = fedprobe("data", "corrupt", "shards", "struck", "--bug", "invert-pixels", "--users", 0.5, "--json")
    assert done.code == 0
    assert (done.json["users"], done.json["struck"], done.json["files"]) == (12, 6, ["struck/patches.h5"])
    populations = [
        json.loads((copied / name / ".fedprobe/populations.json").read_text()) for name in ("shards", "struck")
    ]
    assert populations[0] == populations[1]
    assert fedprobe("select", "struck", "--json").code == 0


def test_struck_users_are_nobody_in_the_output(fedprobe, copied):
    done = fedprobe("data", "corrupt", "shards", "struck", "--bug", "invert-pixels")
    assert done.code == 0 and "Oak Street" not in done.out + done.err


def test_init_again_changes_nothing_and_only_tightens(fedprobe, copied):
    first = fedprobe("init", "shards", "--json").json
    assert (first["new"], first["kind"]) == (False, "simulation")
    tightened = fedprobe("init", "shards", "--kind", "private", "--budget-epsilon", 4, "--delta", 1e-6, "--json").json
    assert tightened["population"] == first["population"]
    assert (tightened["kind"], tightened["budget_epsilon"], tightened["delta"]) == ("private", 4, 1e-6)
    for looser in (["--kind", "simulation"], ["--budget-epsilon", 5], ["--delta", 1e-5]):
        done = fedprobe("init", "shards", *looser)
        assert (done.code, done.out) == (2, "")
    assert fedprobe("init", "shards", "--budget-epsilon", 3, "--json").json["budget_epsilon"] == 3


def test_new_shards_are_private_unless_said_otherwise(fedprobe, tmp_path, write_shard, patches):
    write_shard(tmp_path / "s.h5", patches(2))
    done = fedprobe("init", "s.h5", "--json")
    assert (done.json["new"], done.json["kind"], done.json["budget_epsilon"]) == (True, "private", None)


@pytest.mark.parametrize("where", ["folder", "file", "glob"])
def test_with_a_record_elsewhere_nothing_is_written_beside_the_data(
    fedprobe, tmp_path, write_shard, patches, primary, tiny, where
):
    write_shard(tmp_path / "data" / "s.h5", patches(6, mislabelled=2))
    named = {"folder": "data", "file": "data/s.h5", "glob": "data/*"}[where]
    record = ["--record", "record"]
    assert fedprobe("init", named, "--kind", "simulation", *record).code == 0
    measured = [named, "--cohort", "low-accuracy", "--primary", primary, *record]
    assert fedprobe("select", *measured, "--json").json["count"] == 2
    assert fedprobe("train-gan", *measured, *tiny).code == 0
    assert fedprobe("data", "describe", named, "--check", *record, "--json").json["kind"] == "simulation"
    assert fedprobe("data", "corrupt", named, "struck.h5", "--bug", "invert-pixels", *record).code == 0
    assert fedprobe("select", "struck.h5", *record, "--json").json["rehearsal"]["struck"] == 3
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["s.h5"]


def test_without_its_record_a_shard_counts_as_private(fedprobe, tmp_path, write_shard, patches):
    write_shard(tmp_path / "data" / "s.h5", patches(2))
    fedprobe("init", "data", "--kind", "simulation", "--record", "record")
    assert fedprobe("select", "data").code == 4
    assert fedprobe("select", "data", "--record", "record").code == 0


def test_an_accident_inside_a_rehearsal_does_not_pass_for_a_usage_error(fedprobe, copied, monkeypatch):
    """A ValueError from deep inside may hold a value of the data: it has to reach the hook that withholds it."""

    def crash(pixels, stream):
        raise ValueError("secret pixel")

    monkeypatch.setitem(USER_BUGS, "invert-pixels", UserBug("", crash))
    with pytest.raises(ValueError, match="secret"):
        fedprobe("data", "corrupt", "shards", "struck", "--bug", "invert-pixels")
    assert not list((copied / "struck").glob("*.h5"))


def test_two_rehearsals_of_one_name_under_one_record_are_kept_apart(fedprobe, tmp_path, write_shard, patches):
    write_shard(tmp_path / "data" / "s.h5", patches(12))
    record = ["--record", "record"]
    fedprobe("init", "data", "--kind", "simulation", *record)
    for out, share in (("few", 0.25), ("many", 0.5)):
        done = fedprobe("data", "corrupt", "data", out, "--bug", "invert-pixels", "--users", share, *record)
        assert done.code == 0
    struck = [fedprobe("select", out, *record, "--json").json["rehearsal"]["struck"] for out in ("few", "many")]
    assert struck == [3, 6]
