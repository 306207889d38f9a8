"""A run's card: what was done, with whom, and what the guarantee covers, for a person."""

from fedprobe.modeler.word_table import is_word_table
from fedprobe.models.gan import ARCHITECTURES
from fedprobe.privacy.events import EVERY_USER
from fedprobe.privacy.statement import PrivacyStatement, figure
from fedprobe.runs import Run


def write_card(run: Run, statement: PrivacyStatement, rounds_done: int) -> None:
    """Write `card.md` of a run from what the run itself holds."""
    config = run.config
    cohort = config["cohort"]
    with_ = config["training"] | {"precision": config.get("precision", "float32")}
    training = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in with_.items())
    epsilon = "\n".join(f"- {line}" for line in statement.lines())
    about = _ABOUT.get(config["command"], _LANGUAGE)
    if config.get("method") == "one-round":
        about = _WORDS if is_word_table(run) else _MEAN_EMBEDDING
    architecture = config["training"].get("architecture")
    text = f"""# {run.name}

{about["algorithm"]}, preset `{config["preset"]}`, {rounds_done} rounds done.

- Cohort `{cohort["rule"]["criterion"]}`: {run.rule.says()}.
- {_networks(config) if architecture is None else f"Networks `{architecture}`: {ARCHITECTURES[architecture]}."}
- {about["note"]}
- {_participation(config)}

## What it may reveal about a user

Epsilon {epsilon.removeprefix("- ")}
- Unit: a user, all of her examples together. Adjacency: add or remove one user.
- {about["free"]} are post-processing of the noised sums.
- Trust: clipping happens beside the data, noise is added once a round to the sum. Un-noised sums exist only in the
  process that reads the shards, a trusted aggregator; towards a party that sees those there is no epsilon.
- Ledger: {_ledger(run)}
- Not covered: timing, traffic, file sizes and drop-out; a copy of the shards made without fedprobe, which has no
  ledger; releases by other tools. Assumed: ChaCha20, keyed by the operating system, cannot be told from uniform bits.

## Hyperparameters

| name | value |
|---|---|
{training}
"""
    (run.path / "card.md").write_text(text)


_GAN = {
    "algorithm": "DP-FedAvg-GAN (Augenstein et al. 2020, Algorithm 1)",
    "note": "Fake images for a round's local steps are drawn once at the server and shared by its users; the authors "
    "draw them\n  on each device.",
    "free": "The generator, its samples and every comparison",
}
_LANGUAGE = {
    "algorithm": "DP-FedAvg (Augenstein et al. 2020, Algorithm 2)",
    "note": "Server-side momentum is post-processing. Local epochs, batch size and the caps on a user's text are not "
    "in the paper;\n  they come from the same line of work.",
    "free": "Sampled words and sentences, their probabilities and every comparison",
}
_CLASSIFIER = {
    "algorithm": "DP-FedAvg (Augenstein et al. 2020, Algorithm 2) of the primary image classifier",
    "note": "The paper trains this network on pooled examples; federated training of it, with its cap on a user's "
    "examples,\n  is not in the paper.",
    "free": "The classifier and what it says of other images (not figures of these users measured with it)",
}
_MEAN_EMBEDDING = {
    "algorithm": "One release of every user's mean embedding (Harder et al. 2021, lifted from examples to users)",
    "note": "What the release does not resolve is filled in from pen strokes drawn by formula, the same for every "
    "cohort: trust the\n  shares of dark and light images, sizes, slants, amounts of ink and, of runs with classes, "
    "their shapes; take the shapes of\n  single glyphs of runs without classes for the prior's, not the data's.",
    "free": "The moments fitted to the noised sum, samples, every comparison, and fitting again",
}
_WORDS = {
    "algorithm": "Heavy hitters in one release (Gopi et al. 2020, weighted Gaussian)",
    "note": "A user names at most so many distinct words, each weighted by one over the root of how many she names, "
    "which\n  makes her L2 norm at most 1. Only words whose noised sum exceeds a threshold are released, none that few "
    "users have.",
    "free": "The table of released words, its counts and intervals and every comparison",
}
_ABOUT = {"train-gan": _GAN, "train-classifier": _CLASSIFIER}


def _networks(config: dict) -> str:
    size = config["architecture"]
    if "domain" in size:
        return "No model: words that nobody listed beforehand, with their noised counts."
    if config["command"] == "train-classifier":
        merged = ", the case of EMNIST's letters ignored" if size["merge_case"] else ""
        return (
            f"The paper's CNN for {size['height']} x {size['width']} x {size['channels']} images and {size['classes']} "
            f"classes{merged}; no buffers."
        )
    if config.get("method") == "one-round":
        classes = "no classes" if size["classes"] is None else f"{size['classes']} classes"
        return (
            f"Moments of {size['coefficients']} cosine coefficients and 6 numbers of background and pose, of "
            f"{size['height']} x {size['width']} images, {classes}; nothing is trained on devices."
        )
    return (
        f"CIFG-LSTM with projection: {size['layers']} x {size['hidden']}, projection {size['projection']}, embedding "
        f"{size['embedding']}, {size['symbols']} symbols; no buffers."
    )


def _participation(config: dict) -> str:
    said = _DRAWN[config["participation"]]
    if config["participation"] == EVERY_USER:
        return said + "."
    said += "; fixed denominator."
    if config["preset"] == "paper":
        return said + " The paper draws rounds of a fixed size, which do not earn the epsilons that it prints."
    return said


_DRAWN = {
    "poisson": "Poisson participation: each user of the cohort independently in each round",
    "fixed": "Rounds of exactly so many users, accounted as a user who comes displacing another: half the noise",
    "none": "Each user of the cohort independently in each round, with no secrecy of the draw claimed",
    EVERY_USER: "Every user of the cohort takes part, once; what is released is a sum",
}


def _ledger(run: Run) -> str:
    """What the run's ledger held when its plan was declared."""
    ledger = run.privacy["ledger"]
    spent, budget = ledger["spent"], ledger["budget"]
    total = "infinite" if spent["epsilon"] is None else figure(spent["epsilon"])
    of = "no budget is set" if budget is None else f"the budget is {budget['epsilon']:g}"
    study = run.privacy["study"]
    part = "" if study is None else f" This run is a part of the study {study}, which is one entry."
    return (
        f"when this plan was declared, it and all others on the population had spent epsilon {total} "
        f"({of}). Rule: {ledger['rule']}.{part} Opened rounds stay spent whatever becomes of the run."
    )
