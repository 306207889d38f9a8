"""`fedprobe privacy`: epsilon of runs, or of a plan given as numbers."""

from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import Accountant, AsJson, Delta, Participation, Quiet, flags
from fedprobe.cli.output import Output


def privacy(
    runs: Annotated[list[Path] | None, typer.Argument(help="Runs: one, or several composed.")] = None,
    users_per_round: Annotated[int | None, typer.Option(help="Expected users a round, q x population.")] = None,
    population: Annotated[int | None, typer.Option(help="Users in the cohort: public or DP-released.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="z: the noise in units of the clip norm.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds on devices.")] = None,
    participation: Participation = "poisson",
    delta: Delta = None,
    accountant: Accountant = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """The epsilon of runs, or of a plan.

    With delta and all that must be said beside it. Participation is Poisson: each user independently in each
    round; adjacency is add or remove one user.

    Example: fedprobe privacy --users-per-round 1000 --population 250000 --noise-multiplier 1 --rounds 1000
    """
    from fedprobe.privacy.statement import state
    from fedprobe.runs import find, statement_together
    from fedprobe.server.participation import participation as drawn

    out = Output(as_json, quiet)
    plan = {
        "--users-per-round": users_per_round,
        "--population": population,
        "--noise-multiplier": noise_multiplier,
        "--rounds": rounds,
    }
    given = [name for name, value in plan.items() if value is not None]
    if runs and given:
        raise typer.BadParameter(f"give runs, or a plan as numbers, not both ({', '.join(given)})")
    if not runs and len(given) < len(plan):
        missing = ", ".join(name for name, value in plan.items() if value is None)
        raise typer.BadParameter(f"give runs, or a whole plan; missing: {missing}")
    with flags():
        if runs:
            statement = statement_together([find(path)[0] for path in runs], delta, accountant)
        else:
            statement = state(
                drawn(participation, users_per_round, population).event(noise_multiplier, rounds),
                participation=participation,
                noise_multiplier=noise_multiplier,
                users_per_round=users_per_round,
                population=population,
                delta=delta,
                accountant=accountant,
            )
    out.statement(statement)
    out.object(statement.to_json())
