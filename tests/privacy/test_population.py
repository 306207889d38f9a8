"""The record of a population: private unless said otherwise, and only ever tightened."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.privacy.population import (
    DEFAULT_DELTA,
    PROVENANCES,
    Population,
    PopulationError,
    PrivacyRefusal,
    carry,
    folder_of,
    lookup,
    register,
    require_registered,
    require_simulation,
    tighter,
)


@pytest.fixture
def shard(tmp_path):
    file = tmp_path / "a.h5"
    file.touch()
    return file


def test_no_record_means_private(shard):
    assert lookup([shard]) is None
    with pytest.raises(PrivacyRefusal, match="fedprobe init"):
        require_simulation(None, "training")


def test_a_population_is_private_unless_said_otherwise(shard):
    population, new = register([shard])
    assert new and population.kind == "private"
    with pytest.raises(PrivacyRefusal):
        require_simulation(population, "training")


def test_registering_again_changes_nothing(shard):
    first, _ = register([shard], "simulation", 4.0, 1e-6)
    second, new = register([shard])
    assert not new and second == first == lookup([shard])


def test_a_record_can_only_be_tightened(shard):
    register([shard], "simulation", 4.0, 1e-6)
    assert register([shard], budget_epsilon=2.0, delta=1e-7)[0].budget_epsilon == 2.0
    for loosened in ({"budget_epsilon": 3.0}, {"delta": 1e-6}):
        with pytest.raises(PopulationError, match="tightened"):
            register([shard], **loosened)
    assert register([shard], "private")[0].kind == "private"
    with pytest.raises(PopulationError, match="never becomes a simulation"):
        register([shard], "simulation")
    assert lookup([shard]).kind == "private"


def test_shards_of_two_populations_do_not_mix(shard, tmp_path):
    other = tmp_path / "b.h5"
    register([shard], "simulation")
    register([other], "simulation")
    for call in (lookup, register):
        with pytest.raises(PopulationError, match="two populations"):
            call([shard, other])


def test_a_new_shard_joins_its_population_only_by_init(shard, tmp_path):
    population, _ = register([shard], "simulation")
    other = tmp_path / "b.h5"
    for order in ([shard, other], [other, shard]):
        with pytest.raises(PopulationError, match="register them together"):
            lookup(order)
    assert register([other, shard])[0] == population
    assert lookup([other, shard]) == population


def test_the_record_travels_to_copies_and_to_a_folder_of_its_own(shard, tmp_path):
    population, _ = register([shard], "simulation")
    copy = tmp_path / "elsewhere" / "copy.h5"
    carry(population, [copy])
    assert lookup([copy]) == population
    record = tmp_path / "record"
    kept, _ = register([copy], "private", record=record)
    assert lookup([copy], record) == kept != population
    assert folder_of(kept, copy, record) == record / kept.id


def test_a_damaged_record_is_not_taken_for_none(shard):
    population, _ = register([shard], "simulation")
    record = folder_of(population, shard) / "record.json"
    for damage in ("", "[]", '{"id": "x"}', '{"id": "x", "kind": "public"}'):
        record.write_text(damage)
        with pytest.raises(PopulationError):
            lookup([shard])
    names = shard.parent / ".fedprobe" / "populations.json"
    for damage in ("", "[]", "{"):
        names.write_text(damage)
        with pytest.raises(PopulationError):
            lookup([shard])


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "public"},
        {"provenance": "hearsay"},
        {"budget_epsilon": 0.0},
        {"budget_epsilon": -1.0},
        {"budget_epsilon": float("inf")},
        {"budget_epsilon": float("nan")},
        {"delta": 0.0},
        {"delta": 1.0},
        {"delta": float("nan")},
    ],
)
def test_an_impossible_record_is_refused(fields):
    with pytest.raises(PopulationError):
        Population(**{"id": "x", "kind": "simulation", **fields})


def test_no_other_record_makes_private_data_a_simulation(shard, tmp_path):
    register([shard], "private")
    with pytest.raises(PopulationError, match="never becomes a simulation"):
        register([shard], "simulation", record=tmp_path / "another record")
    assert lookup([shard], tmp_path / "another record").kind == "private"


def test_a_link_to_private_data_is_private_data(shard, tmp_path):
    register([shard], "private")
    link = tmp_path / "elsewhere" / "innocent.h5"
    link.parent.mkdir()
    link.symlink_to(shard)
    assert lookup([link]).kind == "private"
    with pytest.raises(PopulationError, match="never becomes a simulation"):
        register([link], "simulation")


def test_of_several_records_the_tightest_counts(shard, tmp_path):
    other = tmp_path / "b" / "b.h5"
    other.parent.mkdir()
    register([shard, other], "simulation", 4.0, 1e-6)
    register([other], "private", 2.0)
    for order in ([shard, other], [other, shard]):
        together = lookup(order)
        assert (together.kind, together.budget_epsilon, together.delta) == ("private", 2.0, 1e-6)


def test_a_delta_may_be_asked_for_up_to_the_records():
    fixed = Population("x", "simulation", delta=1e-6)
    assert fixed.delta_at_most(None) == 1e-6 and fixed.delta_at_most(1e-7) == 1e-7
    with pytest.raises(PrivacyRefusal):
        fixed.delta_at_most(1e-5)
    assert Population("x", "simulation").delta_at_most(0.5) == 0.5


def test_without_a_record_nothing_is_done_in_either_kind(shard):
    with pytest.raises(PrivacyRefusal, match="--budget-epsilon") as caught:
        require_registered(lookup([shard]), "training")
    assert caught.value.exit_code == 4
    for kind in ("simulation", "private"):
        population, _ = register([shard], kind)
        assert require_registered(population, "training") == population


def test_a_private_population_always_has_a_delta(shard, tmp_path):
    assert register([shard])[0].delta == lookup([shard]).delta == DEFAULT_DELTA
    assert register([tmp_path / "b.h5"], "private", 4.0, 1e-9)[0].delta == 1e-9
    simulation = [tmp_path / "c.h5"]
    assert register(simulation, "simulation", 4.0)[0].delta is None
    assert register(simulation, "private")[0].delta == DEFAULT_DELTA
    assert register(simulation, delta=1e-8)[0].delta == lookup(simulation).delta == 1e-8


def test_what_private_data_never_had_may_still_be_fixed(shard):
    register([shard])
    assert register([shard], budget_epsilon=4.0)[0].budget_epsilon == lookup([shard]).budget_epsilon == 4.0


def test_a_refused_change_changes_nothing(shard):
    before, _ = register([shard], "private", 4.0, 1e-6, provenance="dp")
    for looser in (
        {"kind": "simulation", "budget_epsilon": 1.0},
        {"budget_epsilon": 5.0, "delta": 1e-9},
        {"budget_epsilon": 1.0, "delta": 1e-5},
        {"budget_epsilon": 1.0, "provenance": "public"},
        {"budget_epsilon": float("nan")},
        {"delta": float("nan")},
    ):
        with pytest.raises(PopulationError):
            register([shard], **looser)
        assert lookup([shard]) == before


@given(st.lists(st.sampled_from([None, *PROVENANCES])))
def test_of_several_provenances_the_tightest_is_said(said):
    order = [None, "public", "dp", "conditional"]
    assert tighter(*said) == max(said, key=order.index, default=None)


@pytest.mark.parametrize("first", [None, *PROVENANCES])
@pytest.mark.parametrize("second", [None, *PROVENANCES])
def test_a_provenance_can_only_be_tightened(shard, first, second):
    register([shard], provenance=first)
    order = [None, "public", "dp", "conditional"]
    if second is None or order.index(second) >= order.index(first):
        expected = second or first
        assert register([shard], provenance=second)[0].provenance == lookup([shard]).provenance == expected
        return
    with pytest.raises(PopulationError, match=f"fixed at {first}"):
        register([shard], provenance=second)
    assert lookup([shard]).provenance == first


def test_the_ledger_stays_where_the_population_was_registered_first(shard, tmp_path):
    population, _ = register([shard], "private", 4.0)
    home = str(folder_of(population, shard).resolve())
    assert population.ledger == home
    copy, later = tmp_path / "copy" / "c.h5", tmp_path / "later" / "l.h5"
    carry(population, [copy])
    assert register([copy])[0].ledger == register([later, shard])[0].ledger == home
    assert lookup([later]).ledger == lookup([copy]).ledger == home
    shutil.copytree(shard.parent, tmp_path.parent / f"{tmp_path.name} copied")
    assert lookup([tmp_path.parent / f"{tmp_path.name} copied" / "a.h5"]).ledger == home


def test_a_record_from_before_there_were_ledgers_gets_one(shard):
    population, _ = register([shard], "private", 4.0, 1e-6)
    path = folder_of(population, shard) / "record.json"
    old = {name: value for name, value in json.loads(path.read_text()).items() if name not in ("ledger", "provenance")}
    path.write_text(json.dumps(old))
    assert lookup([shard]) == Population(**old)
    assert register([shard])[0] == population


def test_of_several_records_the_tightest_provenance_and_any_ledger_count(shard, tmp_path):
    other = tmp_path / "b" / "b.h5"
    population, _ = register([shard, other], "simulation", provenance="public")
    path = folder_of(population, other) / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"provenance": "conditional", "ledger": None}))
    for order in ([shard, other], [other, shard]):
        assert (lookup(order).provenance, lookup(order).ledger) == ("conditional", population.ledger)


def test_what_is_carried_to_several_folders_is_in_each_of_them(tmp_path):
    files = [tmp_path / name / "s.h5" for name in ("one", "other")]
    register(files, "simulation", 4.0, 1e-6)
    tightened, _ = register(files, "private", 1.0, 1e-9, provenance="dp")
    assert lookup(files[:1]) == lookup(files[1:]) == lookup(files) == tightened
