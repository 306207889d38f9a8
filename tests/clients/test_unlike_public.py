"""The cohort `unlike-public`: what is rare among public examples is selected, and each user's choice is hers alone."""

import json

import numpy as np
import pytest

from fedprobe.clients.cohort_files import read_cohort, write_cohort
from fedprobe.clients.cohorts import decide_cohort, require_decidable
from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.clients.density import fit_images, log_densities
from fedprobe.clients.measuring import measure_density
from fedprobe.clients.selection import Members, decide
from fedprobe.errors import RequestError
from fedprobe.models.public import load_public, save_public
from fedprobe.privacy.population import register
from fedprobe.privacy.randomness import key
from fedprobe.privacy.rules import rule

RINGS = 3


@pytest.fixture
def unlike(patches):
    """Users of patches, every other one of whom also has RINGS images as no public user has."""
    users = patches(12)
    for number, user in enumerate(users.values()):
        if number % 2:
            ring = np.full((RINGS, *user["pixels"].shape[1:]), 0.1, np.float32)
            ring[:, 4:16, 4:16], ring[:, 7:13, 7:13] = 0.9, 0.1
            user["pixels"] = np.concatenate([user["pixels"], ring])
            user["label"] = np.concatenate([user["label"], np.full(RINGS, 1, np.int32)])
    return users


@pytest.fixture
def shard(tmp_path, write_shard, unlike):
    path = write_shard(tmp_path / "data" / "s.h5", unlike)
    register([path], "simulation")
    return path


def unlike_public(folder, share: float = 0.01, **options):
    model = load_public(folder)
    return rule("unlike-public", public=model.digest, at_most=model.threshold(share), **options)


def test_the_rings_are_selected_and_hardly_a_patch(shard, density):
    dataset = open_dataset([shard])
    chosen = decide_cohort(dataset, unlike_public(density), public=density)
    rows = dict(zip(chosen.members.users.tolist(), chosen.members.rows, strict=True))
    for user, name in enumerate(dataset.users):
        count = int(dataset.examples[user])
        has_rings = dataset.read([user]).pixels[-1].mean() < 0.5
        picked = set(rows.get(user, np.zeros(0, int)).tolist())
        rings = set(range(count - RINGS, count)) if has_rings else set()
        assert rings <= picked, key(name)
        assert len(picked - rings) <= 1
    batch = chosen.members.read(dataset, [0])
    assert len(batch.pixels) == len(chosen.members.rows[0])


def test_a_larger_share_selects_more_and_min_examples_leaves_users_out(shard, density):
    dataset = open_dataset([shard])
    few, more = (decide_cohort(dataset, unlike_public(density, share), public=density) for share in (0.01, 0.5))
    assert sum(map(len, few.members.rows)) < sum(map(len, more.members.rows))
    assert few.measurement.id == more.measurement.id
    sure = decide_cohort(dataset, unlike_public(density, min_examples=RINGS), public=density)
    assert len(sure.members) == 6 and all(len(rows) >= RINGS for rows in sure.members.rows)


def test_a_users_choice_depends_on_her_alone(tmp_path, write_shard, unlike, density):
    """Whoever else is in the shard, and in whatever order."""
    together = open_dataset([write_shard(tmp_path / "all.h5", unlike)])
    fitted = load_public(density).density
    values, offsets = log_densities(together, fitted, np.ones(len(together), bool))
    scores = dict(zip(together.users, np.split(values, offsets[1:-1]), strict=True))
    for number, (name, user) in enumerate(list(unlike.items())[:3]):
        alone = open_dataset([write_shard(tmp_path / f"{number}.h5", {name: user})])
        assert log_densities(alone, fitted, np.ones(1, bool))[0].tolist() == scores[name].tolist()


def test_the_file_leads_back_to_the_cohort_and_names_nobody(tmp_path, shard, density):
    dataset = open_dataset([shard])
    decided = decide_cohort(dataset, unlike_public(density), public=density)
    value = decided.to_json(dataset)
    assert value["examples_are"] == "exact-simulation"
    assert value["examples"] == sum(map(len, decided.members.rows)) and value["of_examples"] == dataset.examples.sum()
    write_cohort(tmp_path / "c.json", value)
    text = (tmp_path / "c.json").read_text()
    assert not [id for id in dataset.users if id in text or json.dumps(id)[1:-1] in text or str(key(id)) in text]
    again = read_cohort(tmp_path / "c.json", open_dataset([shard]))
    assert again.rule == decided.rule and again.public == str(density)
    assert [rows.tolist() for rows in again.members.rows] == [rows.tolist() for rows in decided.members.rows]


def test_another_model_or_none_or_other_images_are_refused(tmp_path, shard, density, write_shard, patches):
    dataset, one = open_dataset([shard]), unlike_public(density)
    for look in (require_decidable, decide_cohort):
        with pytest.raises(RequestError, match="train-density"):
            look(dataset, one)
    other = load_public(density)
    save_public(tmp_path / "other", other.density, [value + 1 for value in other.quantiles], {})
    with pytest.raises(DataError, match="select it again"):
        decide_cohort(dataset, one, public=tmp_path / "other")
    small = open_dataset([write_shard(tmp_path / "small.h5", patches(4, side=18))])
    with pytest.raises(DataError, match="size"):
        require_decidable(small, one, public=density)


def test_a_cohort_of_shards_that_changed_since_is_refused(tmp_path, shard, density, write_shard, unlike):
    def written():
        dataset = open_dataset([shard])
        write_cohort(
            tmp_path / "c.json", decide_cohort(dataset, unlike_public(density), public=density).to_json(dataset)
        )

    written()
    write_shard(shard, dict(list(unlike.items())[1:]))
    with pytest.raises(DataError, match="select the cohort again"):
        read_cohort(tmp_path / "c.json", open_dataset([shard]))


def test_a_model_of_these_very_users_makes_the_statement_conditional(tmp_path, shard, density):
    dataset = open_dataset([shard])
    decided = decide_cohort(dataset, unlike_public(density), public=density)
    assert decided.conditional_on(dataset) is None
    model = load_public(density)
    save_public(tmp_path / "own", model.density, model.quantiles, {"populations": [dataset.population.id]})
    own = decide_cohort(dataset, unlike_public(tmp_path / "own"), public=tmp_path / "own")
    assert own.conditional_on(dataset) == "public model"
    save_public(tmp_path / "whose", model.density, model.quantiles, {})
    whose = decide_cohort(dataset, unlike_public(tmp_path / "whose"), public=tmp_path / "whose")
    assert whose.conditional_on(dataset) == "public model", "of what it does not say it may be made"


def test_bad_content_of_a_private_user_leaves_her_out_silently(tmp_path, write_shard, unlike, density):
    spoiled = list(unlike)[1]
    unlike[spoiled]["pixels"][0, 0, 0] = np.nan
    path = write_shard(tmp_path / "private" / "s.h5", unlike)
    register([path], "private")
    dataset = open_dataset([path])
    decided = decide_cohort(dataset, unlike_public(density, min_examples=RINGS), public=density)
    assert len(decided.members) == 5
    assert spoiled not in {dataset.users[user] for user in decided.members.users}
    assert decided.to_json(dataset)["count"] is None


def test_too_few_public_users_or_images_are_refused(tmp_path, write_shard, patches):
    one = open_dataset([write_shard(tmp_path / "one.h5", patches(1))])
    with pytest.raises(DataError, match="too few public users"):
        fit_images(one, 1, 0)
    with pytest.raises(DataError, match="--components"):
        fit_images(open_dataset([write_shard(tmp_path / "few.h5", patches(8))]), 10_000, 0)


def test_members_with_rows_read_those_sentences_and_their_words_only(tmp_path, write_shard, sentences):
    dataset = open_dataset([write_shard(tmp_path / "s.h5", sentences(3))])
    members = Members(np.array([2, 0]), [np.array([1, 3]), np.array([0])])
    assert members.sentences(dataset, 0) == [dataset.sentences(2)[1], dataset.sentences(2)[3]]
    assert members.words(dataset, 1) == dataset.sentences(0)[0]


def test_nobody_is_an_error_in_a_simulation(shard, density):
    dataset = open_dataset([shard])
    densities = measure_density(dataset, load_public(density))
    with pytest.raises(DataError, match="empty"):
        decide(rule("unlike-public", public="x", at_most=-1e9), dataset, densities=densities)
