"""`fedprobe init`: register a population."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli import config
from fedprobe.cli.options import AsJson, Quiet, Record, on_the_same
from fedprobe.cli.output import Output


def init(
    shards: Annotated[list[str], typer.Argument(help="Federated HDF5 shards: files, folders, globs.")],
    kind: Annotated[
        str | None,
        typer.Option(help="private, or simulation (public proxy data) [default: private].", allow_from_autoenv=False),
    ] = None,
    budget_epsilon: Annotated[float | None, typer.Option(help="What all releases together may cost.")] = None,
    delta: Annotated[
        float | None, typer.Option(help="The delta of that budget [default on private data: 1e-6].")
    ] = None,
    provenance: Annotated[
        str | None, typer.Option(help="The best to be said of primary models here: public, dp or conditional.")
    ] = None,
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Register shards as a population.

    What may be done with it is fixed beside the data; again on the same shards, it only tightens. Writes a commented
    fedprobe.toml here if there is none.

    Example: fedprobe init shards/ --budget-epsilon 4
    """
    from fedprobe.clients.data.index import open_file
    from fedprobe.clients.data.shards import expand
    from fedprobe.privacy.ledger import create, ledger_of
    from fedprobe.privacy.population import PopulationError, lookup, register

    out = Output(as_json, quiet)
    files = expand(shards)
    try:
        before = lookup(files, record)
    except PopulationError:
        # Some are registered and some are not, which registering mends; or they are two, which it refuses.
        before = None
    if before is None:
        # A copy that was cut short is not registered; a record that is there can be tightened all the same.
        for file in files:
            open_file(file).close()
    elif before.kind == "private" and before.ledger is not None:
        # A private population's ledger that is gone is not made anew.
        ledger_of(before, files, record)
    population, new = register(files, kind, budget_epsilon, delta, record, provenance)
    create(population, files, record)
    written = _write_toml(shards)
    plural = "s" if len(files) > 1 else ""
    out.row(
        "record",
        f"{len(files)} shard{plural}, a {population.kind} population"
        + ("" if before != population else " (as before)"),
    )
    if population.budget_epsilon is not None:
        at = "" if population.delta is None else f" at delta {population.delta:g}"
        out.row("budget", f"epsilon {population.budget_epsilon:g}{at}, for all releases together")
    if before is not None and before.kind != population.kind:
        out.hint("it was a simulation and is private now; this cannot be undone")
    if population.kind == "private" and population.budget_epsilon is None:
        out.hint("it has no budget, so nothing can be trained or counted on it: set one with --budget-epsilon")
    if population.kind == "private" and new:
        out.hint("a copy of the shards made without fedprobe cannot be told from other data: keep none")
    if written:
        out.hint(f"{config.FILE} written; next: fedprobe data describe{on_the_same(None, record)}")
    out.object(
        {
            "schema": "fedprobe.init/1",
            "population": population.id,
            "kind": population.kind,
            "budget_epsilon": population.budget_epsilon,
            "delta": population.delta,
            "provenance": population.provenance,
            "shards": [str(file) for file in files],
            "new": new,
        }
    )


def _write_toml(shards: list[str]) -> bool:
    path = Path(config.FILE)
    if path.exists():
        return False
    path.write_text(config.TEMPLATE.format(shards=json.dumps(shards[0] if len(shards) == 1 else shards)))
    return True
