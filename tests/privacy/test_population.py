"""The record of a population: private unless said otherwise, and only ever tightened."""

import pytest

from fedprobe.privacy.population import (
    Population,
    PopulationError,
    PrivacyRefusal,
    carry,
    folder_of,
    lookup,
    register,
    require_simulation,
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
    "fields", [{"kind": "public"}, {"budget_epsilon": 0.0}, {"budget_epsilon": float("inf")}, {"delta": 1.0}]
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
