"""`fedprobe select --where-each`: one cohort for each value of an attribute, which share nobody."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import typer

from fedprobe.cli.naming import measuring
from fedprobe.cli.options import flags
from fedprobe.cli.output import Output
from fedprobe.cli.plans import Ground


def rules_of_each(each: str, where: str | None, rule_where: Callable) -> list[tuple[str, object]]:
    """A name for a file and the rule of each value that `each` lists; `rule_where(text)` makes a rule.

    Raises a usage error for what lists no values.
    """
    from fedprobe.privacy.predicates import values_of_each

    with flags():
        attribute, values = values_of_each(each)
    named, taken = [], set()
    for value in values:
        one = f"{attribute} == {value!r}"
        rule = rule_where(one if where is None else f"({where}) and {one}")
        stem = f"{rule.criterion}-{attribute}-{re.sub(r'[^A-Za-z0-9._-]+', '_', str(value))[:60]}"
        # Values that are written alike, as 1 and "1".
        name = next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, 999))) if name not in taken)
        taken.add(name)
        named.append((f"{name}.json", rule))
    return named


def select_each(
    out: Output, ground: Ground, dataset, named: list, folder: Path, on_the_same: str, decide: Callable
) -> None:
    """Decide and write each of the `named` rules' cohorts into `folder`; `decide(rule, on_users)` makes one.

    `on_the_same` are the shards of the command that goes on with them, as they were given.
    """
    from fedprobe.clients.cohort_files import write_cohort

    # All of them before any is written: one that is empty ends the command.
    values = []
    for _, rule in named:
        with measuring(out, dataset) as advance:
            values.append(decide(rule, advance).to_json(dataset))
    cohorts = []
    for (name, rule), value in zip(named, values, strict=True):
        write_cohort(folder / name, value)
        count = "count not released"
        if not ground.private:
            count = f"{value['count']} of {value['users']} users (exact: a simulation)"
        out.row("cohort", f"{rule.says()}: {count}")
        cohorts.append(
            {
                "criterion": rule.criterion,
                "where": rule.where,
                "count": value["count"],
                "count_is": value["count_is"],
                "file": str(folder / name),
            }
        )
    out.row("epsilon", "0: of these users nothing is shown" if ground.private else "a simulation is charged nothing")
    out.row("together", "no user is in two of them: runs on all of them cost together what the dearest costs")
    first = Path(cohorts[0]["file"])
    train = "train-gan" if dataset.kind == "images" else "train-charlm"
    run = f"--method one-round --target-epsilon 1 -o runs/{shlex.quote(first.stem)}"
    out.hint(f"next, for each: fedprobe {train}{on_the_same} --cohort {shlex.quote(str(first))} {run}")
    cost = {"epsilon": None, "epsilon_is": "not-charged-simulation"}
    if ground.private:
        cost = {"epsilon": 0.0, "delta": 0.0}
    out.object({"schema": "fedprobe.select/1", "cohorts": cohorts, **cost})


def require_free(asked: dict[str, object]) -> None:
    """Raise a usage error for an option that is for one cohort at a time."""
    for option, given in asked.items():
        if given:
            raise typer.BadParameter(f"--{option} is for one cohort: select the one value with --where instead")
