"""A run's card: what was done, with whom, and what the guarantee covers, for a person."""

from fedprobe.models.gan import ARCHITECTURES
from fedprobe.privacy.statement import PrivacyStatement
from fedprobe.runs import Run


def write_card(run: Run, statement: PrivacyStatement, rounds_done: int) -> None:
    """Write `card.md` of a run from what the run itself holds."""
    config = run.config
    cohort = config["cohort"]
    training = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in config["training"].items())
    epsilon = "\n".join(f"- {line}" for line in statement.lines())
    about = _GAN if config["command"] == "train-gan" else _LANGUAGE
    architecture = config["training"].get("architecture")
    text = f"""# {run.name}

{about["algorithm"]}, preset `{config["preset"]}`, {rounds_done} rounds done.

- Cohort `{cohort["rule"]["criterion"]}`: {run.rule.says()}.
- {_networks(config) if architecture is None else f"Networks `{architecture}`: {ARCHITECTURES[architecture]}."}
- {about["note"]}
- {_participation(config["preset"])}

## What it may reveal about a user

Epsilon {epsilon.removeprefix("- ")}
- Unit: a user, all of her examples together. Adjacency: add or remove one user.
- {about["free"]} are post-processing of the noised sums.
- Trust: clipping happens beside the data, noise is added once a round to the sum. Un-noised sums exist only in the
  process that reads the shards; a copy of the shards without their record cannot be detected.

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


def _networks(config: dict) -> str:
    size = config["architecture"]
    return (
        f"CIFG-LSTM with projection: {size['layers']} x {size['hidden']}, projection {size['projection']}, embedding "
        f"{size['embedding']}, {size['symbols']} symbols; no buffers."
    )


def _participation(preset: str) -> str:
    said = "Poisson participation: each user of the cohort independently in each round; fixed denominator."
    if preset == "paper":
        return said + " The paper draws rounds of a fixed size, which do not earn the epsilons that it prints."
    return said
