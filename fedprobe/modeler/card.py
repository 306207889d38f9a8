"""A run's card: what was done, with whom, and what the guarantee covers, for a person."""

from fedprobe.models.gan import ARCHITECTURES
from fedprobe.privacy.statement import PrivacyStatement
from fedprobe.runs import Run


def write_card(run: Run, statement: PrivacyStatement, rounds_done: int) -> None:
    """Write `card.md` of a train-gan run from what the run itself holds."""
    config = run.config
    cohort = config["cohort"]
    training = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in config["training"].items())
    architecture = config["training"]["architecture"]
    epsilon = "\n".join(f"- {line}" for line in statement.lines())
    text = f"""# {run.name}

DP-FedAvg-GAN (Augenstein et al. 2020, Algorithm 1), preset `{config["preset"]}`, {rounds_done} rounds done.

- Cohort `{cohort["rule"]["criterion"]}`: {run.rule.says()}.
- Networks `{architecture}`: {ARCHITECTURES[architecture]}.
- Fake images for a round's local steps are drawn once at the server and shared by its users; the authors draw them
  on each device.
- {_participation(config["preset"])}

## What it may reveal about a user

Epsilon {epsilon.removeprefix("- ")}
- Unit: a user, all of her examples together. Adjacency: add or remove one user.
- The generator, its samples and every comparison are post-processing of the noised sums.
- Trust: clipping happens beside the data, noise is added once a round to the sum. Un-noised sums exist only in the
  process that reads the shards; a copy of the shards without their record cannot be detected.

## Hyperparameters

| name | value |
|---|---|
{training}
"""
    (run.path / "card.md").write_text(text)


def _participation(preset: str) -> str:
    said = "Poisson participation: each user of the cohort independently in each round; fixed denominator."
    if preset == "paper":
        return said + " The paper draws rounds of a fixed size, which do not earn the epsilons that it prints."
    return said
