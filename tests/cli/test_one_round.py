"""`train-gan --method one-round`: one release, whatever is asked for afterwards."""

import json
import math
import re
import shutil
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.stats import norm

from fedprobe.runs import Run
from fedprobe.server.one_round_presets import OneRoundTraining

ONE = ["--method", "one-round", "--workers", "1", "--no-progress"]


@pytest.fixture
def private(tmp_path, fedprobe, write_shard, patches, primary):
    """A population in `data`, with a budget of 4; cohorts that exclude each other, `low.json` and `high.json`."""
    write_shard(tmp_path / "data" / "s.h5", patches(12, mislabelled=5))
    assert fedprobe("init", "data", "--budget-epsilon", 4).code == 0
    for name, side in (("low", ["--below", "0.8"]), ("high", ["--above", "0.9"])):
        cohort = ["--cohort", f"{name}-accuracy", *side, "--primary", primary, "-o", f"{name}.json"]
        assert fedprobe("select", "data", *cohort).code == 0


def one_round(fedprobe, cohort: str, run: str, *more: str):
    return fedprobe("train-gan", "data", "--cohort", cohort, *ONE, "-o", run, *more)


def gaussian_delta(noise_multiplier: float, epsilon: float = 1.0) -> float:
    """The delta of one Gaussian release of sensitivity 1 (Balle and Wang 2018, Theorem 8)."""
    half, shift = 1 / (2 * noise_multiplier), epsilon * noise_multiplier
    return norm.cdf(half - shift) - math.exp(epsilon) * norm.cdf(-half - shift)


def entries(fedprobe) -> list[dict]:
    return fedprobe("ledger", "data", "--json").json["entries"]


def test_a_private_cohort_needs_no_count_and_is_charged_for_one_release(fedprobe, private, tmp_path):
    done = one_round(fedprobe, "low.json", "run", "--target-epsilon", "1", "--json")
    assert done.code == 0, done.err
    said = done.json["privacy"]
    assert (said["participation"], said["rounds"], said["rounds_opened"]) == ("every-user", 1, 1)
    assert said["users_per_round"] is None and said["population"] is None
    assert 0.99 < said["epsilon"] <= 1
    # As much noise as it takes, and hardly more.
    assert gaussian_delta(said["noise_multiplier"]) <= said["delta"] * (1 + 1e-6)
    assert gaussian_delta(said["noise_multiplier"] * 0.998) > said["delta"]
    (entry,) = entries(fedprobe)
    assert entry["events"][0]["sampling_probability"] == 1 and entry["rounds_opened"] == 1
    text = (tmp_path / "run/card.md").read_text()
    assert "Every user of the cohort takes part, once" in text and "public prior" not in text
    assert "prior's, not the data's" in text.replace("\n  ", " ")


def test_cohorts_that_exclude_each_other_share_one_budget(fedprobe, private):
    for name in ("low", "high"):
        assert one_round(fedprobe, f"{name}.json", name, "--target-epsilon", "3").code == 0
    assert fedprobe("ledger", "data", "--json").json["spent"]["epsilon"] <= 3
    refused = one_round(fedprobe, "low.json", "another", "--target-epsilon", "3")
    assert refused.code == 4 and "left of 4" in refused.line


def test_a_finished_run_is_not_released_again(fedprobe, private, tmp_path):
    assert one_round(fedprobe, "low.json", "run", "--target-epsilon", "1").code == 0
    before, (entry,) = Run(tmp_path / "run").load()[0], entries(fedprobe)
    assert one_round(fedprobe, "low.json", "run", "--target-epsilon", "1", "--resume").code == 0
    after, (same,) = Run(tmp_path / "run").load()[0], entries(fedprobe)
    assert same["rounds_opened"] == entry["rounds_opened"] == 1
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {"released", "dark_share", "shares", "means", "covariance"} == set(before)


def test_a_release_that_was_written_before_a_crash_is_used_and_not_drawn_again(
    fedprobe, private, tmp_path, monkeypatch
):
    from fedprobe.server.algorithms.mean_embedding import MeanEmbedding

    with monkeypatch.context() as patch:

        def crash(*arguments):
            raise KeyboardInterrupt

        patch.setattr(MeanEmbedding, "apply", crash)
        assert one_round(fedprobe, "low.json", "run", "--target-epsilon", "1").code == 130
    (written,) = tmp_path.glob("data/.fedprobe/*/releases/*/000001.npy")
    released = np.load(written)
    done = one_round(fedprobe, "low.json", "run", "--target-epsilon", "1", "--resume")
    assert done.code == 0, done.err
    (entry,) = entries(fedprobe)
    assert entry["rounds_opened"] == 1
    assert np.array_equal(Run(tmp_path / "run").load()[0]["released"].numpy(), released)


@pytest.mark.parametrize(
    "asked, code, says",
    [
        (["--target-epsilon", "1", "--rounds", "2"], 2, "--rounds is for --method fedavg"),
        (["--target-epsilon", "1", "--participation", "poisson"], 2, "--participation is for --method fedavg"),
        (["--target-epsilon", "1", "--clip-norm", "2"], 2, "--clip-norm is for --method fedavg"),
        (["--target-epsilon", "1", "--preset", "paper"], 2, "choose one of quick"),
        (["--target-epsilon", "1", "--coefficients", "0"], 2, "--coefficients"),
        ([], 4, "--target-epsilon"),
        (["--noise-multiplier", "0"], 4, "protects nobody"),
        (["--target-epsilon", "5"], 4, "left of 4"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(fedprobe, private, asked, code, says):
    done = one_round(fedprobe, "low.json", "run", *asked)
    assert done.code == code and says in done.line
    assert entries(fedprobe) == []


def test_options_of_one_round_are_refused_elsewhere(fedprobe, private):
    done = fedprobe("train-gan", "data", "--cohort", "low.json", "--classes", "2", "--target-epsilon", "1")
    assert done.code == 2 and "--classes is for --method one-round" in done.line
    assert fedprobe("train-gan", "data", "--method", "two-rounds").code == 2


def test_a_dry_run_says_what_it_would_cost_and_opens_no_shard(fedprobe, private, tmp_path):
    shutil.rmtree(tmp_path / "data", ignore_errors=False)
    done = fedprobe("train-gan", "--cohort", "random", *ONE, "--target-epsilon", "1", "--dry-run", "--json")
    assert done.code == 0, done.err
    assert done.json["epsilon"] <= 1 and done.json["population"] is None


def test_defaults_of_the_other_method_in_fedprobe_toml_change_nothing(fedprobe, private, tmp_path):
    (tmp_path / "fedprobe.toml").write_text("[train-gan]\nrounds = 20\nusers-per-round = 2\nclip-norm = 0.3\n")
    done = one_round(fedprobe, "low.json", "run", "--target-epsilon", "1")
    assert done.code == 0, done.err
    (entry,) = entries(fedprobe)
    assert entry["rounds_opened"] == 1 and entry["events"][0]["rounds"] == 1
    said = json.loads((tmp_path / "run/config.json").read_text())["training"]
    assert (said["rounds"], said["users_per_round"], said["clip_norm"]) == (1, None, 1.0)
    assert said.keys() == {field.name for field in fields(OneRoundTraining)}


@pytest.mark.parametrize("multiplier", ["1e9", "1e300"])
def test_noise_that_cannot_be_drawn_is_refused_before_it_is_charged(fedprobe, private, multiplier):
    done = one_round(fedprobe, "low.json", "run", "--noise-multiplier", multiplier)
    assert done.code == 2 and ("overflow" in done.line or "finite" in done.line)
    assert entries(fedprobe) == []


def test_how_long_private_data_took_is_not_said(fedprobe, private):
    done = one_round(fedprobe, "low.json", "run", "--target-epsilon", "1", "--json")
    assert done.json["seconds"] is None and done.json["rounds_per_second"] is None
    spoken = fedprobe("train-gan", "data", "--cohort", "low.json", "--method", "one-round", "--target-epsilon", "1")
    assert spoken.code == 0 and "training 1/1 rounds" in spoken.err
    assert not re.search(r"\d s\b|rounds/s|releasing|users/s", spoken.out + spoken.err)


def test_a_release_that_is_applied_again_was_opened_once(fedprobe, private, tmp_path):
    assert one_round(fedprobe, "low.json", "run", "--target-epsilon", "1").code == 0
    shutil.rmtree(tmp_path / "run/checkpoints/round_000001")
    (run,) = entries(fedprobe)
    released = tmp_path / "data/.fedprobe" / json.loads((tmp_path / "low.json").read_text())["population"]
    assert not list((released / "releases").glob("*/*.npy"))
    lost = one_round(fedprobe, "low.json", "run", "--target-epsilon", "1", "--resume", "--json")
    # Nothing of it was written, so that it is charged anew.
    assert lost.json["privacy"]["rounds_opened"] == 2


def test_generators_with_classes_are_asked_by_label(fedprobe, copied):
    options = ["--cohort", "random", *ONE, "--noise-multiplier", "0", "--json"]
    done = fedprobe("train-gan", "shards", *options, "--classes", "2", "-o", "runs/classes")
    assert done.code == 0, done.err
    assert done.json["privacy"]["epsilon_is"] == "infinite"
    pictures = []
    for label in (0, 1):
        said = fedprobe("sample", "runs/classes", "--label", label, "-n", 16, "--json").json
        assert (said["count"], said["label"]) == (16, label) and said["file"].endswith(f"label-{label}.png")
        pictures.append((copied / said["file"]).read_bytes())
    assert pictures[0] != pictures[1]
    assert fedprobe("sample", "runs/classes", "-n", 16).code == 0
    beyond = fedprobe("sample", "runs/classes", "--label", 2)
    assert beyond.code == 2 and "labels from 0 to 1" in beyond.line
    without = fedprobe("sample", "runs/low", "--label", 0)
    assert without.code == 2 and "--classes" in without.line


def test_a_release_of_many_users_says_how_far_it_is_in_a_simulation_alone(fedprobe, copied):
    release = ["--method", "one-round", "--noise-multiplier", "0", "--workers", "1"]
    done = fedprobe("train-gan", "shards", *release, "-o", "runs/all")
    (line,) = [line for line in done.err.splitlines() if "releasing" in line]
    assert "releasing 12/12 users, " in line and "users/s" in line
    assert "training" not in done.err


def test_labels_beyond_the_classes_are_a_fault_in_a_simulation(fedprobe, copied):
    done = fedprobe("train-gan", "shards", *ONE, "--noise-multiplier", "0", "--classes", "1")
    assert done.code == 3 and "label" in done.line


def test_one_round_runs_are_compared_and_say_whose_the_shapes_are(fedprobe, copied):
    for name, side in (("low", ["--below", "0.8"]), ("high", ["--above", "0.9"])):
        cohort = ["--cohort", f"{name}-accuracy", *side, "--primary", "primary"]
        assert (
            fedprobe("train-gan", "shards", *cohort, *ONE, "--noise-multiplier", "0", "-o", f"runs/{name}-1").code == 0
        )
    done = fedprobe("compare", "runs/high-1", "runs/low-1")
    assert done.code == 0, done.err
    assert "public prior's" in " ".join(done.out.split())
    said = json.loads(fedprobe("compare", "runs/high-1", "runs/low-1", "--json").out)
    assert said["schema"] == "fedprobe.compare/1" and len(said["runs"]) == 2
    mixed = fedprobe("compare", "runs/high-1", "runs/low")
    assert mixed.code == 2 and "latents" in mixed.line
