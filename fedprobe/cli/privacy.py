"""`fedprobe privacy`: epsilon of runs, or of a plan given as numbers; plans for an epsilon; a simulation scaled up."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import Accountant, AsJson, Delta, Participation, Quiet, flags
from fedprobe.cli.output import Output

# Below this noise multiplier the figures to compare with are large and say nothing.
_COMPARED_FROM = 0.3


def privacy(
    runs: Annotated[list[Path] | None, typer.Argument(help="Runs: one, or several composed.")] = None,
    users_per_round: Annotated[int | None, typer.Option(help="Expected users a round, q x population.")] = None,
    population: Annotated[int | None, typer.Option(help="Users in the cohort: public or DP-released.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="z: the noise in units of the clip norm.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds on devices.")] = None,
    participation: Participation = "poisson",
    delta: Delta = None,
    accountant: Accountant = "auto",
    solve_for: Annotated[
        str | None,
        typer.Option(help="noise-multiplier, users-per-round, rounds or population: find it for --target-epsilon."),
    ] = None,
    target_epsilon: Annotated[float | None, typer.Option(help="With --solve-for: the epsilon to keep to.")] = None,
    scale_to_population: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The run or plan with so many users and the same noise on the mean, at noise multiplier 1 (of a run: "
            "or --noise-multiplier).",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw epsilon against rounds as PNG, for several noise multipliers.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """The epsilon of runs, or of a plan.

    With delta and all that must be said beside it; adjacency is add or remove one user. Of a plan, one number may be
    left for --solve-for to find. --scale-to-population says how many users a round a deployment takes for the noise
    that a simulation stood, and what epsilon that has.

    Example: fedprobe privacy --users-per-round 1000 --population 250000 --noise-multiplier 1 --rounds 1000
    """
    from fedprobe.privacy.planning import PlannedRounds, solve
    from fedprobe.runs import find, statement_together

    out = Output(as_json, quiet)
    plan = {
        "users_per_round": users_per_round,
        "population": population,
        "noise_multiplier": noise_multiplier,
        "rounds": rounds,
    }
    options = {"delta": delta, "participation": participation}
    _check_usage(runs or [], plan, participation, solve_for, target_epsilon, scale_to_population, plot)
    more, planned = {}, None
    with flags():
        if solve_for is not None:
            planned = solve(solve_for, target_epsilon=target_epsilon, accountant=accountant, **plan, **options)
            field = solve_for.replace("-", "_")
            more["solved"] = {field: getattr(planned, field)}
            words = f"{solve_for.replace('-', ' ')} {getattr(planned, field):.10g} keeps to epsilon {target_epsilon:g}"
        elif scale_to_population is not None:
            # The simulation's own population does not matter.
            simulated = _numbers(runs[0], delta) if runs else PlannedRounds(**plan | {"population": 1}, **options)
            planned, more["scaled"], words = _scaled(simulated, scale_to_population, noise_multiplier if runs else None)
        elif not runs:
            planned = PlannedRounds(**plan, **options)
        if planned is None:
            statement = statement_together([find(path)[0] for path in runs], delta, accountant)
        else:
            statement = planned.statement(accountant)
        curves = [] if plot is None else _drawn(plot, statement, accountant)
    if more:
        out.row("plan", words)
    out.statement(statement, whole=True)
    if planned is not None and accountant in ("auto", "pld") and not as_json:
        _compare(out, planned)
    if curves:
        from fedprobe.modeler.epsilon_plot import epsilon_chart

        out.row("", "")
        out.row("rounds", "epsilon (logarithmic) against rounds, for this and other noise multipliers z")
        out.print(epsilon_chart(curves, out.stdout.width))
        out.row("picture", str(plot))
        more["plot"] = {"file": str(plot), "curves": [curve.to_json() for curve in curves]}
    out.object(statement.to_json() | more)


def _check_usage(
    runs: list[Path], plan: dict, participation: str, solve_for: str | None, target: float | None, scale_to, plot
) -> None:
    """Raise a usage error for options that do not go together."""
    given = {f"--{name.replace('_', '-')}" for name, value in plan.items() if value is not None}
    asked = {f"--{name.replace('_', '-')}" for name in plan}
    if (solve_for is None) != (target is None):
        raise typer.BadParameter("--solve-for and --target-epsilon go together")
    if solve_for is not None and scale_to is not None:
        raise typer.BadParameter("give --solve-for or --scale-to-population, not both")
    if not runs:
        # The library says what is missing for --solve-for.
        needed = asked - {"--population"} if scale_to is not None else asked
        missing = [name for name in sorted(needed - given) if solve_for is None]
        if missing:
            raise typer.BadParameter(f"give runs, or a whole plan; missing: {', '.join(missing)}")
        return
    if scale_to is not None:
        given -= {"--noise-multiplier"}
    if given:
        raise typer.BadParameter(f"give runs, or a plan as numbers, not both ({', '.join(sorted(given))})")
    if solve_for is not None:
        raise typer.BadParameter("--solve-for is for a plan as numbers, not for runs")
    if participation != "poisson":
        raise typer.BadParameter("--participation is for a plan as numbers; a run has its own")
    if len(runs) > 1 and (scale_to is not None or plot is not None):
        raise typer.BadParameter("--scale-to-population and --plot take one run")


def _numbers(path: Path, delta: float | None):
    """The plan of a run, as numbers."""
    from fedprobe.privacy.planning import PlannedRounds
    from fedprobe.runs import find

    # Whatever it costs: Renyi DP is quick, and can do every noise there is.
    run = find(path)[0].statement(accountant="rdp")
    if run.users_per_round is None:
        raise typer.BadParameter("every user takes part in that run: its sum is not scaled by --scale-to-population")
    numbers = (run.noise_multiplier, run.users_per_round, run.population, run.rounds_planned)
    return PlannedRounds(*numbers, delta, run.participation)


def _scaled(simulated, population: int, noise_multiplier: float | None) -> tuple[object, dict, str]:
    """The plan with the same noise on the mean update: as numbers, as JSON and in words."""
    from fedprobe.privacy.planning import scale

    planned = scale(simulated, population, 1.0 if noise_multiplier is None else noise_multiplier)
    words = (
        f"{planned.users_per_round} users a round of {population}, noise multiplier {planned.noise_multiplier:g}: on "
        f"the mean update noise of {planned.noise_on_the_mean:.3g} clip norms, as with {simulated.users_per_round} "
        f"users and {simulated.noise_multiplier:g}"
    )
    keys = ("users_per_round", "noise_multiplier", "population", "noise_on_the_mean")
    return planned, {key: getattr(planned, key) for key in keys}, words


def _compare(out: Output, planned) -> None:
    """Beside a plan of Poisson rounds: what the paper would print, and what rounds of a fixed size cost."""
    from fedprobe.privacy.wording import figure

    if planned.participation != "poisson" or planned.noise_multiplier < _COMPARED_FROM:
        return
    paper, fixed = planned.epsilon("paper"), replace(planned, participation="fixed").epsilon()
    out.row(
        "",
        f"The paper would print {figure(paper)} for this plan (--accountant paper); rounds of exactly "
        f"{planned.users_per_round} users cost {figure(fixed)} (--participation fixed).",
    )


def _drawn(path: Path, statement, accountant: str) -> list:
    """The curves of a plan or run, drawn at `path`."""
    from fedprobe.modeler.epsilon_plot import epsilon_curves, save_epsilon_plot

    (event,) = statement.events
    numbers = (statement.noise_multiplier, statement.delta, statement.participation, accountant)
    curves = epsilon_curves(event, *numbers)
    save_epsilon_plot(path, curves, statement.delta)
    return curves
