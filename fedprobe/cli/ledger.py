"""`fedprobe ledger`: what was spent on a population, by whom, on what, and what is left."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import AsJson, Quiet, Record, flags, unlike_public
from fedprobe.cli.output import Output
from fedprobe.cli.plans import EVERY_USER
from fedprobe.errors import instead_of

_COMMANDS = ("train-gan", "train-charlm", "train-wordlm", "train-classifier", "select")
_RULE = ("below", "above", "min_examples", "share", "vocabulary", "public", "public_share", "where")
_NUMBERS = ("rounds", "users_per_round", "population", "noise_multiplier")
# Of every user once nothing but the noise is asked for; of released words, what their threshold takes of delta.
_ONCE = {"rounds": 1, "users_per_round": 1, "population": 1}


def ledger(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SHARDS... | settle RUN | declare STUDY.toml [SHARDS...]]", show_default=False),
    ] = None,
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """What has been spent on a population.

    Every declared plan is an entry, and stays one whatever becomes of its run. `settle RUN` closes the plan of a run
    that died: nothing comes back, and it opens no more rounds. `declare STUDY.toml` reserves counts, cohorts and runs
    as one entry, from which commands with --study NAME spend.

    Example: fedprobe ledger shards/
    """
    out = Output(as_json, quiet)
    given = list(arguments or [])
    match given[:1]:
        case ["settle"]:
            found = _settle(out, context, given[1:], record)
        case ["declare"]:
            found = _declare(out, context, given[1:], record)
        case _:
            found = _found(context, given, record)
    value = found.to_json()
    _show(out, value)
    out.object(value)


def _found(context: typer.Context, shards: list[str], record: Path | None):
    from fedprobe.cli.plans import ground

    return ground(context, shards, record, "the ledger").ledger


def _settle(out: Output, context: typer.Context, given: list[str], record: Path | None):
    from fedprobe.runs import Run
    from fedprobe.server.declaration import releases_of

    if len(given) != 1:
        raise typer.BadParameter("settle takes one RUN")
    run = Run.open(Path(given[0]))
    found = _found(context, list(run.config.get("shards", [])), record)
    with run.locked():
        closed = found.settle(run.run_id)
        releases_of(found, run.run_id).forget()
    out.hint(f"{given[0]}: " + ("closed; what it spent stays spent" if closed else "was closed already"))
    return found


def _declare(out: Output, context: typer.Context, given: list[str], record: Path | None):
    if not given:
        raise typer.BadParameter("declare takes a file, STUDY.toml")
    name, parts, delta = read_study(Path(given[0]))
    found = _found(context, given[1:], record)
    with flags():
        # Thresholds may take all of its delta.
        entry = found.declare(name, parts, delta=delta)
    out.hint(f"study {name}: {len(parts)} plans as one entry, epsilon {entry.epsilon:.3g} at delta {entry.delta:.3g}")
    out.hint(f"spend from it with: --study {name}")
    return found


def read_study(path: Path) -> tuple[str, list, float | None]:
    """The name, parts and delta of a study's file. Raises a usage error for what it does not say, or says wrongly."""
    from fedprobe.models.vocabulary import read_vocabulary
    from fedprobe.privacy import rules
    from fedprobe.privacy.entries import Part
    from fedprobe.server.participation import participation

    try:
        study = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} is not a readable TOML file") from error
    unknown = set(study) - {"name", "delta", "plan"}
    plans = study.get("plan")
    if unknown or not isinstance(study.get("name"), str) or not isinstance(plans, list) or not plans:
        raise typer.BadParameter(f"{path}: a study has a name, perhaps a delta, and one [[plan]] or more")
    parts = []
    for number, plan in enumerate(plans, 1):
        where = f"{path}, plan {number}"
        known = ("name", "command", "cohort", "participation", *_RULE, *_NUMBERS, "threshold_delta")
        for key in plan:
            if key not in known:
                raise typer.BadParameter(f"{where}: unknown key {key}; {instead_of(key, known)}")
        command = plan.get("command")
        if command not in _COMMANDS:
            raise typer.BadParameter(f"{where}: command is one of {', '.join(_COMMANDS)}")
        counting = command == "select"
        numbers = {name: plan.get(name) for name in _NUMBERS}
        if counting:
            numbers |= _ONCE
        if plan.get("participation") == EVERY_USER:
            numbers = _ONCE | {name: value for name, value in numbers.items() if value is not None}
            numbers.setdefault("noise_multiplier", None)
        threshold_delta = plan.get("threshold_delta", 0.0)
        if not isinstance(threshold_delta, int | float):
            raise typer.BadParameter(f"{where}: threshold_delta must be a number")
        missing = [name for name, value in numbers.items() if not isinstance(value, int | float)]
        if missing:
            raise typer.BadParameter(f"{where}: {', '.join(missing)} must be given, as numbers")
        with flags():
            options = {name: plan[name] for name in _RULE if name in plan}
            if "vocabulary" in options:
                options["vocabulary"] = read_vocabulary(path.parent / options["vocabulary"]).digest
            cohort, public = plan.get("cohort", "random"), options.pop("public", None)
            public = None if public is None else path.parent / public
            options |= unlike_public(cohort, public, options.pop("public_share", None))
            rule = {} if counting else rules.rule(cohort, **options).to_json()
            drawn = participation(
                plan.get("participation", "poisson"), numbers["users_per_round"], numbers["population"]
            )
            event = drawn.event(numbers["noise_multiplier"], numbers["rounds"])
            event = replace(event, threshold_delta=threshold_delta)
        parts.append(Part(plan.get("name", f"{command} {number}"), command, rule, (event,)))
    return study["name"], parts, study.get("delta")


def _show(out: Output, value: dict) -> None:
    from rich.table import Table

    spent, budget, left = value["spent"], value["budget"], value["left"]
    out.row("spent", f"epsilon {_number(spent['epsilon'])} at delta {spent['delta']:.3g}")
    if budget is None:
        out.row("budget", "none is set" + ("" if value["kind"] == "private" else ": a simulation, nothing is refused"))
    else:
        delta = "" if budget["delta"] is None else f" at delta {budget['delta']:.3g}"
        out.row("budget", f"epsilon {budget['epsilon']:g}{delta}")
        delta = "" if left["delta"] is None else f" at delta {left['delta']:.3g}"
        out.row("left", f"epsilon {_number(left['epsilon'])}{delta}")
    out.row("rule", f"{value['rule']}; cohorts that exclude each other count once, at the dearer one")
    if not value["entries"]:
        out.row("entries", "none yet")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("when", "who", "what", "epsilon", "delta", "rounds"):
        table.add_column(name, justify="right" if name in ("epsilon", "delta", "rounds") else "left", no_wrap=False)
    for entry in value["entries"]:
        about = entry["about"]
        of = about.get("study") or Path(about.get("run", "")).name
        planned = sum(event["rounds"] for event in entry["events"])
        what = [entry["what"], of, "(closed)" if entry["settled_at"] else ""]
        table.add_row(
            entry["declared_at"][:16].replace("T", " "),
            entry["who"],
            " ".join(word for word in what if word),
            _number(entry["epsilon"]),
            f"{entry['delta']:.2g}",
            f"{entry['rounds_opened']}/{planned}" if entry["rounds_opened"] or "run" in about else "-",
        )
    out.print(table)


def _number(epsilon: float | None) -> str:
    from fedprobe.privacy.statement import figure

    return "infinite" if epsilon is None else figure(epsilon)
