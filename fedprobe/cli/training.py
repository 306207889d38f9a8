"""What every `train-*` command does around its algorithm: options, progress, Ctrl-C, what is left behind."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import typer

from fedprobe.cli.options import flags
from fedprobe.cli.output import Output
from fedprobe.cli.plans import EVERY_USER, Ground
from fedprobe.cli.ranks import restarted_by_torchrun, started_by_torchrun
from fedprobe.errors import instead_of


def asked(presets: dict, preset: str, given: dict) -> object:
    """The preset's training, changed by the options in `given`. Raises a usage error for what cannot be trained."""
    if preset not in presets:
        raise typer.BadParameter(f"unknown preset; {instead_of(preset, presets)}")
    with flags():
        # Fields that no option sets are constants of the method.
        known = [field.name for field in fields(presets[preset]) if field.init]
        return replace(presets[preset], **{name: given[name] for name in known if name in given})


def rounds_of(training, participation: str) -> str:
    """How often who takes part, as a plan says it."""
    if participation == EVERY_USER:
        return "1 release, every user of the cohort once"
    how = "exactly" if participation == "fixed" else "on average"
    return f"{training.rounds} rounds of {training.users_per_round} users {how}"


def require_options_of(method: str, only: Mapping[str, Sequence[str]], context: typer.Context) -> None:
    """Raise a usage error for an option of another method: who asks for noise must not go without it.

    `only` names, for each method, the options that are its alone. Raises a usage error for a method that it lacks.
    """
    if method not in only:
        raise typer.BadParameter(f"--method is {' or '.join(only)}")

    def source(name: str) -> str:
        return context.get_parameter_source(name).name

    # A fedprobe.toml may hold defaults for all of them, where the method is said beside it.
    said = ("COMMANDLINE", "ENVIRONMENT")
    counted = said if source("method") in said else (*said, "DEFAULT_MAP")
    for other in only.keys() - {method}:
        for name in only[other]:
            if source(name) in counted:
                raise typer.BadParameter(f"--{name.replace('_', '-')} is for --method {other}, and this is {method}")


def check_processes(device: str, workers: int | None, engine: str = "auto") -> None:
    """Raise a usage error for several processes on an accelerator, or an engine that this process is not part of."""
    ranks = started_by_torchrun()
    if engine not in ("auto", "local", "torchrun"):
        raise typer.BadParameter("--engine is auto, local or torchrun")
    if engine == "torchrun" and not ranks:
        raise typer.BadParameter(
            "--engine torchrun is for a command that torchrun starts: torchrun --nproc_per_node 2 -m fedprobe train-gan"
        )
    if engine == "local" and ranks:
        raise typer.BadParameter("torchrun started this command, whose ranks --engine local would leave idle")
    if ranks and workers is not None:
        raise typer.BadParameter(
            "--workers is for one process; under torchrun --nproc_per_node says how many there are"
        )
    if device != "cpu" and (workers or 1) > 1:
        raise typer.BadParameter("--workers above 1 is for --device cpu: an accelerator is not shared by forking")


def say_precision(out: Output, precision: str, device: str) -> None:
    """Say where bfloat16 has to be made of float32, which takes several times as long as float32 itself."""
    import torch

    has = torch.cpu.get_capabilities()
    # Elsewhere nothing is known of what is fast.
    if precision == "bf16" and device == "cpu" and has.get("architecture") == "x86_64":
        if not (has.get("avx512_bf16") or has.get("amx_bf16")):
            out.hint("this processor has no bfloat16: --precision float32 is faster here")


def check_output(output: Path | None, resume: bool) -> None:
    """Raise unless `output` is free, or a run to go on with if `resume`."""
    from fedprobe.runs import RunError

    if resume and output is None:
        raise typer.BadParameter("--resume needs --output RUN, the run to go on with")
    if output is None and restarted_by_torchrun():
        raise typer.BadParameter(
            "torchrun started this again; go on with --output RUN --resume, or the plan is spent twice"
        )
    if output is not None and output.exists() != resume:
        raise RunError(
            f"there is no run at {output} to go on with"
            if resume
            else f"{output} exists; choose another --output, or go on with --resume"
        )


def train(
    out: Output,
    context: typer.Context,
    declaration,
    output: Path | None,
    resume: bool,
    ground: Ground,
    dataset,
    decided,
    update,
    *,
    workers: int | None,
    checkpoint_every: int,
    samples_every: int,
    draw_samples: Callable[[object, object, str], Path],
    generative: bool = True,
) -> None:
    """Start or go on with the declared run, say what it is, train it, and leave samples and a card behind.

    `draw_samples(run, state, name)` writes synthetic samples and returns where; the model, unless it is `generative`.
    """
    from fedprobe.modeler.card import write_card
    from fedprobe.privacy.statement import figure
    from fedprobe.runs import free_name
    from fedprobe.server.declaration import releases_of, start, train_declared
    from fedprobe.server.declaration import resume as resume_run

    training, rule = declaration.training, decided.rule
    path = output or free_name(Path("runs"), f"{declaration.command}-{rule.criterion}")
    run, state, first_round = (resume_run if resume else start)(declaration, path, ground.ledger)
    # Rounds that were opened and lost stay spent, so that going on may cost more than was planned.
    waiting = releases_of(ground.ledger, run.run_id).waiting_after(first_round - 1)
    ahead = max(0, training.rounds - first_round + 1 - waiting) if run.rounds_opened else 0
    statement = run.statement(accountant=declaration.accountant, rounds_ahead=ahead)

    count = "" if ground.private else f"; count {len(decided.members)} (simulation)"
    out.row("cohort", f"{rule.criterion}: {rule.says()}{count}")
    words = declaration.vocabulary or decided.members.outside
    if words is not None:
        out.row("vocabulary", f"{len(words):,} words")
    if decided.counts is not None and not ground.private:
        out.row("oov rate", f"{decided.counts.rate:.2%} of all words in the shards (exact: a simulation)")
    out.row(
        "plan",
        f"{rounds_of(training, declaration.participation_name)}, noise multiplier {training.noise_multiplier:.4g}, "
        f"preset {declaration.preset}",
    )
    out.statement(statement)
    if first_round > 1:
        out.hint(f"going on after round {first_round - 1}")
    if training.users_per_round is not None and training.users_per_round > declaration.population:
        out.hint("the cohort has fewer users than --users-per-round, so everyone takes part in every round")

    say_precision(out, declaration.precision, declaration.device)
    started = time.monotonic()
    note = f"epsilon {figure(statement.bound.value)}" if statement.valid else ""
    # One release of many users is long, too. How far it is tells of how many: of a simulation alone.
    by_user = declaration.participation_name == EVERY_USER and not (ground.private or waiting or started_by_torchrun())
    counted = ("training", training.rounds, "rounds", note, first_round - 1, not ground.private)
    if by_user:
        counted = ("releasing", len(decided.members), "users", note)
    with _interruptible(out) as interrupted, out.progress(*counted) as advance:

        def on_round(round: int, state) -> None:
            if round % samples_every == 0:
                draw_samples(run, state, f"round_{round:06d}")
            if not by_user:
                advance(round)
            if out.verbose:
                out.detail(f"round {round}: {run.metrics()[-1]}")

        state, done = train_declared(
            declaration,
            run,
            state,
            first_round,
            update,
            len(decided.members),
            lambda: decided.member_keys(dataset),
            ground.ledger,
            workers=workers,
            checkpoint_every=checkpoint_every,
            on_round=on_round,
            on_users=advance if by_user else None,
            stop=interrupted,
        )
    seconds = time.monotonic() - started
    statement = run.statement(accountant=declaration.accountant)
    write_card(run, statement, done)
    samples = draw_samples(run, state, "final")
    trained = done - first_round + 1
    rate = trained / seconds if trained else None
    finished = done == training.rounds
    speed = f", {seconds:.0f} s" + (f" ({rate:.3g} rounds/s)" if rate else "")
    if ground.private:
        # How long it took tells how much users have: on private data it is a figure like any other.
        seconds, rate, speed = None, None, ""
    left = f"{'samples' if generative else 'model'} in {samples}"
    out.row("done" if finished else "stopped", f"{run.path} after {done} of {training.rounds} rounds{speed}; {left}")
    if not finished:
        out.hint(f"next: the same command with --output {run.path} --resume")
    elif generative:
        out.hint(f"next: fedprobe sample {run.path}")
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
