"""`--dry-run` of every `train-*` command: what a plan costs, in epsilon and in time, from public numbers alone."""

from collections.abc import Callable
from pathlib import Path

import typer

from fedprobe.cli.naming import is_file, rule_of
from fedprobe.cli.options import flags
from fedprobe.cli.output import Output
from fedprobe.cli.plans import (
    EVERY_USER,
    RULE_OPTIONS,
    Ground,
    cell_ahead,
    event_of,
    ground,
    with_noise,
    with_threshold,
)
from fedprobe.cli.training import rounds_of


def say_plan(
    out: Output,
    context: typer.Context,
    planned,
    given: dict,
    cohort: str,
    conditional_on: str | None,
    networks: Callable[[], object] | None = None,
) -> None:
    """The epsilon of the plan, from public numbers alone, before and after it where there is a ledger; and its time.

    Conditional on what is not said to be public. Opens no shard: the time is that of made-up examples, where
    `networks` makes what is trained in rounds.
    """
    from fedprobe.privacy.accountants import epsilon
    from fedprobe.privacy.ledger import RULE
    from fedprobe.privacy.statement import default_delta, state

    population, delta, ledger = given.get("population"), given.get("delta"), None
    if population is None and is_file(cohort):
        from fedprobe.clients.cohort_files import released_count

        population = released_count(Path(cohort))
    if given["participation"] == EVERY_USER:
        population = population or 1
    if population is None:
        raise typer.BadParameter(
            "--dry-run opens no shard, so it needs --population: the cohort's users, which select calls count"
        )
    found = _ground_at_hand(context, given.get("shards"), given.get("record"))
    if found is not None and is_file(cohort):
        from fedprobe.clients.cohort_files import require_made_for

        require_made_for(Path(cohort), found.population)
    if found is not None:
        delta = found.ledger.plan_delta(delta, default_delta(population))
    delta = default_delta(population) if delta is None else delta
    name, accountant = given["participation"], given["accountant"]
    planned = with_threshold(planned, delta)
    planned = with_noise(planned, given, False, population, name, delta, accountant)
    refused, study = None, given.get("study")
    if study is not None and found is None:
        raise typer.BadParameter("--study is one of a ledger; give --dry-run the SHARDS, too, which are registered")
    if found is not None:
        with flags():
            event = event_of(planned, name, population)
            cost = epsilon([event], delta).value
        ledger = found.ledger.totals() | {"rule": RULE}
        # A part of a study is charged with it.
        after = ledger["spent"]
        if study is not None and given["resume"]:
            # The run itself has taken it.
            found.ledger.require_study(study)
        elif study is not None:
            found.ledger.require_part(study, context.info_name, [event], _rule(cohort, given))
        else:
            # As it would be charged, whatever accountant is asked to speak.
            cell = cell_ahead(found, given, cohort)
            after = found.ledger.spent_with(cost, delta, cell).to_json()
            refused = None if given["resume"] else _refusal(found, context.info_name, event, delta, cell)
    with flags():
        statement = state(
            event_of(planned, name, population),
            participation=name,
            noise_multiplier=planned.noise_multiplier,
            users_per_round=planned.users_per_round,
            population=given.get("population") if name == EVERY_USER else population,
            delta=delta,
            accountant=accountant,
            conditional_on=conditional_on,
            ledger=None if ledger is None else {**ledger, "before": ledger["spent"], "spent": after},
        )
    noise = f"noise multiplier {planned.noise_multiplier:.4g}"
    out.row("plan", f"{rounds_of(planned, name)}, cohort {cohort}, {noise}; nothing is reserved or trained")
    out.statement(statement)
    if study is not None:
        out.row("study", f"a part of {study}, whose entry in the ledger covers it: nothing more is charged")
    if refused is not None:
        out.row("refused", f"it would be: {refused}")
    value = statement.to_json() | {"refused": refused}
    if ledger is not None:
        value["ledger"] = {**ledger, "after": after}
    if networks is not None:
        value |= _predicted(out, planned, networks(), given)
    out.object(value)


def _rule(cohort: str, given: dict) -> dict:
    """The rule of a cohort that is named, or in a file, as a study declares it."""
    if is_file(cohort):
        from fedprobe.clients.cohort_files import read_rule

        return read_rule(Path(cohort)).to_json()
    if cohort in ("oov-words", "unlike-public"):
        raise typer.BadParameter(
            f"--dry-run --study takes {cohort} from a file of select: what it is outside of is there"
        )
    return rule_of(cohort, None, {name: given.get(name) for name in RULE_OPTIONS}, given["seed"]).to_json()


def _refusal(found: Ground, command: str, event, delta: float, cell) -> str | None:
    """Why the ledger would not take the plan; None where it would."""
    from fedprobe.privacy.ledger import BudgetRefusal

    try:
        found.ledger.require_room(command, [event], delta=delta, cell=cell)
    except BudgetRefusal as error:
        return str(error)
    return None


def _predicted(out: Output, planned, networks, given: dict) -> dict[str, float | None]:
    """Say how long the plan takes, and return it."""
    from fedprobe.server.cost import predict
    from fedprobe.server.engines.distributed import joined
    from fedprobe.server.engines.local import EngineError

    cost, why = None, "the model is too large to be tried"
    if given["device"] != "cpu":
        why = "only a CPU is measured"
    elif joined():
        why = "only one process and its workers are measured, not a job of several ranks"
    else:
        try:
            cost = predict(planned, networks, given.get("workers"), given.get("precision") or "float32")
        except EngineError:
            why = "a worker process died of one made-up user, as they do where memory is short"
    if cost is None:
        out.row("time", f"not predicted: {why}")
        return {"predicted_seconds": None, "predicted_seconds_per_round": None}
    each = cost.seconds_per_round
    out.row(
        "time",
        f"about {_duration(cost.seconds)} ({cost.rounds:,} rounds of {each:.2g} s, measured on made-up examples here, "
        "of users who have as many as the plan takes; reading, ledger and checkpoints come on top)",
    )
    return {"predicted_seconds": cost.seconds, "predicted_seconds_per_round": each}


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"


def _ground_at_hand(context: typer.Context, shards: list[str] | None, record: Path | None) -> Ground | None:
    """The ground of a plan, or None where the shards are not here or not registered: numbers alone will do."""
    from fedprobe.clients.data.shards import DataError, expand
    from fedprobe.privacy.population import lookup

    try:
        files = expand(shards or context.obj.shards)
    except DataError:
        return None
    if not files or lookup(files, record) is None:
        return None
    return ground(context, shards, record, "--dry-run")
