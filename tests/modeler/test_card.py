"""The card of a run: everything that must be said beside an epsilon."""

import pytest

from fedprobe.modeler.card import write_card
from fedprobe.models.gan import ARCHITECTURES
from fedprobe.models.language import LanguageConfig
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.statement import PrivacyStatement, state
from fedprobe.runs import Run

PLANNED = 40


def statement(
    conditional_on: str | None = None, opened: int = PLANNED, noise_multiplier: float = 1.5
) -> PrivacyStatement:
    return state(
        SampledGaussian(noise_multiplier, 0.01, PLANNED),
        users_per_round=10,
        population=1000,
        delta=3e-6,
        accountant="rdp",
        rounds_opened=opened,
        conditional_on=conditional_on,
        simulation=True,
    )


PRIVACY = {
    "study": None,
    "ledger": {
        "spent": {"epsilon": 0.75, "delta": 1e-7},
        "budget": {"epsilon": 4.0, "delta": 1e-6},
        "left": {"epsilon": 3.25, "delta": 9e-7},
        "rule": "added up",
    },
}


def card(tmp_path, said: PrivacyStatement, architecture: str = "small", preset: str = "quick") -> str:
    config = {
        "command": "train-gan",
        "preset": preset,
        "training": {"architecture": architecture, "clip_norm": 0.03125, "critic_rounds_per_generator_phase": 7},
        "cohort": {"rule": {"criterion": "low-accuracy", "below": 0.875}},
        "participation": "poisson",
    }
    run = Run.create(tmp_path / "runs" / "low", config, PRIVACY)
    write_card(run, said, rounds_done=38)
    return (run.path / "card.md").read_text()


def test_it_names_unit_adjacency_delta_trust_accountant_and_participation(tmp_path):
    said = statement()
    text = card(tmp_path, said)
    assert text.startswith("# low\n")
    for line in said.lines():
        assert line in text
    assert f"Epsilon {said.bound.value:.2f}" in text
    for words in (
        "delta 3e-06",
        "Unit: a user, all of her examples together",
        "Adjacency: add or remove one user",
        "Trust: clipping happens beside the data",
        "Un-noised sums exist only in the",
        "Poisson participation",
        "Renyi DP",
        "noise multiplier 1.5",
        "post-processing",
        "simulation",
        "Not covered: timing",
    ):
        assert words in text


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_it_says_what_stands_in_place_of_the_critics_batch_normalisation(tmp_path, architecture):
    text = card(tmp_path, statement(), architecture)
    said = {
        "paper": "biases in place of their batch normalisation",
        "paper-group-norm": "group normalisation in place of their batch normalisation",
        "small": "no normalisation and no buffers",
    }
    assert f"Networks `{architecture}`: " in text
    assert said[architecture] in text


@pytest.mark.parametrize("made_of_them", [None, "primary model", "vocabulary", "primary model and the vocabulary"])
def test_it_says_conditional_exactly_where_epsilon_is_and_on_what(tmp_path, made_of_them):
    text = card(tmp_path, statement(made_of_them))
    assert text.count("onditional") == (made_of_them is not None)
    if made_of_them:
        assert f"Conditional on the {made_of_them}: covers only what is learned beyond it." in text


def test_it_says_planned_opened_and_done_rounds_apart(tmp_path):
    text = card(tmp_path, statement(opened=43))
    assert "40 rounds planned, 43 opened" in text
    assert "38 rounds done" in text


def test_it_names_the_cohort_and_every_hyperparameter(tmp_path):
    text = card(tmp_path, statement())
    assert "Cohort `low-accuracy`: users whose accuracy under the primary model is below 0.875." in text
    for row in ("| architecture | small |", "| clip norm | 0.03125 |", "| critic rounds per generator phase | 7 |"):
        assert row in text


@pytest.mark.parametrize("preset, compared", [("paper", True), ("quick", False)])
def test_a_run_of_the_papers_preset_says_how_its_rounds_differ_from_the_papers(tmp_path, preset, compared):
    assert ("do not earn the epsilons that it prints" in card(tmp_path, statement(), preset=preset)) == compared


def test_without_noise_it_promises_nothing(tmp_path):
    text = card(tmp_path, statement(noise_multiplier=0.0))
    assert "Epsilon infinite" in text
    assert "no guarantee" in text


def test_it_is_a_list_in_markdown_without_loose_lines(tmp_path):
    inside = card(tmp_path, statement()).split("## What it may reveal about a user\n\n")[1].split("\n\n")[0]
    first, *rest = inside.splitlines()
    assert first.startswith("Epsilon ")
    # A list item, or the second line of one.
    assert all(line.startswith(("- ", "  ")) for line in rest)


TRAINED_ON = {
    "train-wordlm": {"criterion": "random"},
    "train-charlm": {"criterion": "oov-words", "min_examples": 1, "vocabulary": "0" * 64},
}


def language_card(tmp_path, command: str, preset: str = "quick") -> str:
    config = {
        "command": command,
        "participation": "poisson",
        "preset": preset,
        "training": {"embedding": 12, "clip_norm": 0.03125, "sequences_per_user": 77},
        "architecture": LanguageConfig(99, 12, 34, 56, 2, peepholes=True, tied=False).to_json(),
        "cohort": {"rule": TRAINED_ON[command]},
    }
    run = Run.create(tmp_path / "runs" / "words", config, PRIVACY)
    write_card(run, statement("vocabulary"), rounds_done=38)
    return (run.path / "card.md").read_text()


@pytest.mark.parametrize("command", TRAINED_ON)
def test_the_card_of_a_language_model_speaks_of_its_own_algorithm_networks_and_samples(tmp_path, command):
    text = language_card(tmp_path, command)
    for words in (
        "DP-FedAvg (Augenstein et al. 2020, Algorithm 2), preset `quick`, 38 rounds done.",
        "CIFG-LSTM with projection: 2 x 34, projection 56, embedding 12, 99 symbols; no buffers",
        "Server-side momentum is post-processing",
        "Sampled words and sentences, their probabilities and every comparison are post-processing",
        "Conditional on the vocabulary: covers only what is learned beyond it.",
        "| sequences per user | 77 |",
    ):
        assert words in text
    for word in ("GAN", "generator", "Fake", "images", "0" * 64):
        assert word not in text


def test_the_card_of_an_image_model_speaks_of_no_words(tmp_path):
    text = card(tmp_path, statement())
    assert "DP-FedAvg-GAN (Augenstein et al. 2020, Algorithm 1)" in text
    for word in ("LSTM", "vocabulary", "sentences"):
        assert word not in text


def test_the_card_names_the_words_that_were_selected(tmp_path):
    text = language_card(tmp_path, "train-charlm")
    assert "Cohort `oov-words`: the words outside the vocabulary, of users with at least 1 of them." in text
