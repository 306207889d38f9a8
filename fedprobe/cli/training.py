"""What every `train-*` command does around its algorithm: plan, cohort, progress, Ctrl-C, what is left behind."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import typer

from fedprobe.cli.options import flags
from fedprobe.cli.output import Output


def asked(presets: dict, preset: str, given: dict) -> object:
    """The preset's training, changed by the options in `given`. Raises a usage error for what cannot be trained."""
    if preset not in presets:
        raise typer.BadParameter(f"unknown preset; choose one of {', '.join(presets)}")
    with flags():
        known = fields(presets[preset])
        return replace(presets[preset], **{field.name: given[field.name] for field in known if field.name in given})


def check_processes(device: str, workers: int | None) -> None:
    """Raise a usage error for several processes on an accelerator."""
    if device != "cpu" and (workers or 1) > 1:
        raise typer.BadParameter("--workers above 1 is for --device cpu: an accelerator is not shared by forking")


def check_output(output: Path | None, resume: bool) -> None:
    """Raise unless `output` is free, or a run to go on with if `resume`."""
    from fedprobe.runs import RunError

    if resume and output is None:
        raise typer.BadParameter("--resume needs --output RUN, the run to go on with")
    if output is not None and output.exists() != resume:
        raise RunError(
            f"there is no run at {output} to go on with"
            if resume
            else f"{output} exists; choose another --output, or go on with --resume"
        )


def dry_run(
    out: Output, training, cohort: str, population: int | None, delta, accountant: str, conditional_on: str | None
) -> None:
    """The epsilon of the plan, from public numbers alone; conditional on what is not said to be public."""
    from fedprobe.privacy.statement import state
    from fedprobe.server.participation import PoissonParticipation

    if population is None:
        raise typer.BadParameter("--dry-run opens no shard, so it needs --population (select prints it)")
    with flags():
        participation = PoissonParticipation(training.users_per_round, population)
        statement = state(
            participation.event(training.noise_multiplier, training.rounds),
            users_per_round=training.users_per_round,
            population=population,
            delta=delta,
            accountant=accountant,
            conditional_on=conditional_on,
        )
    out.row("plan", f"{training.rounds} rounds on {cohort}; nothing is trained")
    out.statement(statement)
    out.object(statement.to_json())


def decide(out: Output, dataset, cohort: str, primary: Path | None, vocabulary: Path | None, options: dict, **how):
    """The cohort that `--cohort` names: a file, or a criterion with its options (`how`: seed, device)."""
    from fedprobe.clients.cohorts import decide_cohort, read_cohort

    if cohort.endswith(".json") or "/" in cohort:
        if any(value is not None for value in options.values()):
            raise typer.BadParameter("a cohort file holds its own thresholds; give them to select instead")
        with out.progress("measuring", len(dataset), "users") as advance:
            return read_cohort(Path(cohort), dataset, how["device"], advance)
    rule = rule_of(cohort, vocabulary, options, how["seed"])
    with out.progress("measuring", len(dataset), "users") as advance:
        return decide_cohort(dataset, rule, primary, how["device"], advance, vocabulary)


def rule_of(cohort: str, vocabulary: Path | None, options: dict, seed: int):
    """The rule of a named cohort. Raises a usage error where an option does not go with it."""
    from fedprobe.models.vocabulary import read_vocabulary
    from fedprobe.privacy import rules

    named = cohort == "oov-words" and vocabulary is not None
    digest = read_vocabulary(vocabulary).digest if named else None
    with flags():
        return rules.rule(cohort, **options, seed=seed, vocabulary=digest)


def train(
    out: Output,
    context: typer.Context,
    declaration,
    output: Path | None,
    resume: bool,
    dataset,
    decided,
    update,
    *,
    workers: int | None,
    checkpoint_every: int,
    samples_every: int,
    draw_samples: Callable[[object, object, str], Path],
) -> None:
    """Start or go on with the declared run, say what it is, train it, and leave samples and a card behind.

    `draw_samples(run, state, name)` writes synthetic samples and returns where.
    """
    from fedprobe.modeler.card import write_card
    from fedprobe.privacy.statement import figure
    from fedprobe.runs import free_name
    from fedprobe.server.declaration import resume as resume_run
    from fedprobe.server.declaration import start, train_declared

    training, rule = declaration.training, decided.rule
    path = output or free_name(Path("runs"), f"{declaration.command}-{rule.criterion}")
    run, state, first_round = (resume_run if resume else start)(declaration, path)
    # Rounds that were opened and lost stay spent, so that going on may cost more than was planned.
    statement = declaration.statement()
    if run.rounds_opened:
        statement = run.statement(accountant=declaration.accountant, rounds_ahead=training.rounds - first_round + 1)

    out.row("cohort", f"{rule.criterion}: {rule.says()}; count {len(decided.members)} (simulation)")
    words = declaration.vocabulary or decided.members.outside
    if words is not None:
        out.row("vocabulary", f"{len(words):,} words")
    if decided.counts is not None:
        out.row("oov rate", f"{decided.counts.rate:.2%} of all words in the shards (exact: a simulation)")
    out.row(
        "plan",
        f"{training.rounds} rounds of {training.users_per_round} users on average, "
        f"noise multiplier {training.noise_multiplier:g}, preset {declaration.preset}",
    )
    out.statement(statement)
    if first_round > 1:
        out.hint(f"going on after round {first_round - 1}")
    if training.users_per_round > declaration.population:
        out.hint("the cohort has fewer users than --users-per-round, so everyone takes part in every round")
    if dataset.population.budget_epsilon is not None or context.obj.budget is not None:
        out.hint("the budget is kept, not enforced: this version has no ledger")

    started = time.monotonic()
    note = f"epsilon {figure(statement.bound.value)}" if statement.valid else ""
    with (
        _interruptible(out) as interrupted,
        out.progress("training", training.rounds, "rounds", note, start=first_round - 1) as advance,
    ):

        def on_round(round: int, state) -> None:
            if round % samples_every == 0:
                draw_samples(run, state, f"round_{round:06d}")
            advance(round)
            if out.verbose:
                out.detail(f"round {round}: {run.metrics()[-1]}")

        state, done = train_declared(
            declaration,
            run,
            state,
            first_round,
            update,
            decided.member_keys(dataset),
            workers=workers,
            checkpoint_every=checkpoint_every,
            on_round=on_round,
            stop=interrupted,
        )
    seconds = time.monotonic() - started
    statement = run.statement(accountant=declaration.accountant)
    write_card(run, statement, done)
    samples = draw_samples(run, state, "final")
    trained = done - first_round + 1
    rate = trained / seconds if trained else None
    finished = done == training.rounds
    speed = f"{seconds:.0f} s" + (f" ({rate:.3g} rounds/s)" if rate else "")
    out.row(
        "done" if finished else "stopped",
        f"{run.path} after {done} of {training.rounds} rounds, {speed}; samples in {samples}",
    )
    resumed = f"the same command with --output {run.path} --resume"
    out.hint(f"next: {f'fedprobe sample {run.path}' if finished else resumed}")
    out.object(
        {
            "schema": "fedprobe.train/1",
            "run": str(run.path),
            "rounds": done,
            "seconds": seconds,
            "rounds_per_second": rate,
            "privacy": statement.to_json(),
        }
    )
    if not finished:
        raise typer.Exit(130)


@contextmanager
def _interruptible(out: Output) -> Iterator:
    """Answer the first Ctrl-C by ending after the round; yield a function that tells whether it came."""
    asked = False

    def ask(signum, frame) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, previous)
        # Straight to the descriptor: the handler may have come in the middle of another print.
        if not out.quiet:
            os.write(2, b"\n  stopping after this round; a second Ctrl-C stops at once\n")

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)
