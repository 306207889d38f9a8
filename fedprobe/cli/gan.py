"""`fedprobe train-gan`: Algorithm 1 on a cohort."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import (
    Above,
    Accountant,
    AsJson,
    Below,
    Cohort,
    Delta,
    Device,
    MinExamples,
    NoProgress,
    Participation,
    Primary,
    Quiet,
    Record,
    Seed,
    Shards,
    Share,
    Verbose,
    check_device,
    check_participation,
    flags,
    shards_of,
)
from fedprobe.cli.output import Output


def train_gan(
    context: typer.Context,
    shards: Shards = None,
    cohort: Cohort = "random",
    primary: Primary = None,
    below: Below = None,
    above: Above = None,
    min_examples: MinExamples = None,
    share: Share = None,
    method: Annotated[str, typer.Option(help="fedavg: Algorithm 1 of the paper.")] = "fedavg",
    preset: Annotated[str, typer.Option(help="quick (for a laptop), or paper.")] = "quick",
    architecture: Annotated[str | None, typer.Option(help="small, paper, or paper-group-norm.")] = None,
    users_per_round: Annotated[int | None, typer.Option(help="Expected users a round; the denominator.")] = None,
    population: Annotated[
        int | None, typer.Option(help="Users in the cohort, for q [default: its count, in a simulation].")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds on devices; each is charged.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="z: noise on the sum, in clip norms.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="S: flat L2 norm of one user's update.")] = None,
    participation: Participation = "poisson",
    delta: Delta = None,
    accountant: Accountant = "auto",
    local_batch_size: Annotated[int | None, typer.Option()] = None,
    local_steps: Annotated[int | None, typer.Option(help="Batches a user trains on in a round, at most.")] = None,
    client_learning_rate: Annotated[float | None, typer.Option(help="SGD on the device.")] = None,
    gradient_penalty: Annotated[float | None, typer.Option(help="WGAN-GP's coefficient.")] = None,
    server_optimizer: Annotated[str | None, typer.Option(help="sgd, momentum (Nesterov) or adam.")] = None,
    server_learning_rate: Annotated[float | None, typer.Option()] = None,
    server_momentum: Annotated[float | None, typer.Option(help="Momentum, or Adam's first beta.")] = None,
    critic_rounds_per_generator_phase: Annotated[int | None, typer.Option()] = None,
    generator_steps: Annotated[int | None, typer.Option(help="Generator steps in a phase.")] = None,
    generator_batch_size: Annotated[int | None, typer.Option()] = None,
    generator_optimizer: Annotated[str | None, typer.Option(help="sgd, momentum or adam.")] = None,
    generator_learning_rate: Annotated[float | None, typer.Option()] = None,
    generator_momentum: Annotated[float | None, typer.Option(help="Momentum, or Adam's first beta.")] = None,
    generator_average: Annotated[float | None, typer.Option(help="Decay of the sampled average; 0: none.")] = None,
    samples_every: Annotated[int, typer.Option(min=1, help="Rounds between sample grids.")] = 100,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Rounds between checkpoints.")] = 50,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes [default: one a core; 1 on cuda].")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run [default: runs/train-gan-COHORT-N].")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run at --output.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print epsilon and stop; opens no shard.")] = False,
    seed: Seed = 0,
    device: Device = "cpu",
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    verbose: Verbose = False,
) -> None:
    """Train a private federated GAN on a cohort.

    DP-FedAvg-GAN, Algorithm 1 of the paper: the critic is trained on users' devices and leaves them as noised sums;
    the generator never meets data. Ctrl-C ends after the round with a checkpoint; --resume goes on.

    Example: fedprobe train-gan shards/ --cohort low-accuracy --primary runs/primary -o runs/low
    """
    given = {name: value for name, value in locals().items() if value is not None}

    from fedprobe.runs import RunError, free_name
    from fedprobe.server.presets import PRESETS, GanTraining

    out = Output(as_json, quiet, no_progress, verbose)
    check_participation(participation)
    if method != "fedavg":
        raise typer.BadParameter("--method is fedavg; other methods come later")
    if preset not in PRESETS:
        raise typer.BadParameter(f"unknown preset; choose one of {', '.join(PRESETS)}")
    if device != "cpu" and (workers or 1) > 1:
        raise typer.BadParameter("--workers above 1 is for --device cpu: an accelerator is not shared by forking")
    if resume and output is None:
        raise typer.BadParameter("--resume needs --output RUN, the run to go on with")
    with flags():
        changed = {field.name: given[field.name] for field in fields(GanTraining) if field.name in given}
        training = replace(PRESETS[preset], **changed)
    if dry_run:
        _dry_run(out, training, cohort, population, delta, accountant)
        return
    if output is not None and output.exists() != resume:
        raise RunError(
            f"there is no run at {output} to go on with"
            if resume
            else f"{output} exists; choose another --output, or go on with --resume"
        )

    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.clients.updates import CriticUpdate
    from fedprobe.modeler.card import write_card
    from fedprobe.modeler.pictures import grid, save_png
    from fedprobe.modeler.sampling import generator_of, sample_images
    from fedprobe.models.gan import LEAST_SIDE
    from fedprobe.privacy.statement import figure
    from fedprobe.server import gan_training

    check_device(device)
    paths = shards_of(shards, context)
    dataset = open_dataset(paths, record, simulation_for="train-gan")
    dataset.require_trainable(LEAST_SIDE)
    require_valid(dataset)
    options = {"below": below, "above": above, "min_examples": min_examples, "share": share}
    decided = _decide(out, dataset, cohort, primary or context.obj.primary, options, seed, device)
    with flags():
        declaration = gan_training.Declaration(
            training=training,
            shape=dataset.shape,
            cohort=decided.to_json(dataset),
            population=len(decided.members) if population is None else population,
            conditional=decided.conditional(dataset, context.obj.provenance),
            delta=dataset.population.delta_at_most(delta),
            accountant=accountant,
            method=method,
            preset=preset,
            seed=seed,
            device=device,
            shards=paths,
        )
        statement = declaration.statement()
    path = output or free_name(Path("runs"), f"train-gan-{decided.rule.criterion}")
    run, state, first_round = (gan_training.resume if resume else gan_training.start)(declaration, path)

    out.row("cohort", f"{decided.rule.criterion}: {decided.rule.says()}; count {len(decided.members)} (simulation)")
    out.row(
        "plan",
        f"{training.rounds} rounds of {training.users_per_round} users on average, "
        f"noise multiplier {training.noise_multiplier:g}, preset {preset}",
    )
    out.statement(statement)
    if first_round > 1:
        out.hint(f"going on after round {first_round - 1}")
    if training.users_per_round > declaration.population:
        out.hint("the cohort has fewer users than --users-per-round, so everyone takes part in every round")
    if dataset.population.budget_epsilon is not None or context.obj.budget is not None:
        out.hint("the budget is kept, not enforced: this version has no ledger")
    update = CriticUpdate(
        dataset,
        decided.members,
        declaration.networks,
        declaration.mechanism,
        training.local_batch_size,
        training.local_steps,
        training.client_learning_rate,
        training.gradient_penalty,
        seed,
        device,
    )

    def draw_samples(state, name: str) -> Path:
        generator = generator_of(declaration.networks, state.average, state.average_buffers)
        return save_png(run.samples / f"{name}.png", [grid(sample_images(generator, 64, seed), 8)])

    started = time.monotonic()
    note = f"epsilon {figure(statement.bound.value)}" if statement.valid else ""
    with (
        _interruptible(out) as interrupted,
        out.progress("training", training.rounds, "rounds", note, start=first_round - 1) as advance,
    ):

        def on_round(round: int, state) -> None:
            if round % samples_every == 0:
                draw_samples(state, f"round_{round:06d}")
            advance(round)
            if out.verbose:
                out.detail(f"round {round}: {run.metrics()[-1]}")

        state, done = gan_training.train_gan(
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
    picture = draw_samples(state, "final")
    statement = run.statement(accountant=accountant)
    write_card(run, statement, done)
    trained = done - first_round + 1
    rate = trained / seconds if trained else None
    finished = done == training.rounds
    speed = f"{seconds:.0f} s" + (f" ({rate:.3g} rounds/s)" if rate else "")
    out.row(
        "done" if finished else "stopped",
        f"{run.path} after {done} of {training.rounds} rounds, {speed}; samples in {picture}",
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


def _dry_run(out: Output, training, cohort: str, population: int | None, delta, accountant: str) -> None:
    """The epsilon of the plan, from public numbers alone."""
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
        )
    out.row("plan", f"{training.rounds} rounds on {cohort}; nothing is trained")
    out.statement(statement)
    out.object(statement.to_json())


def _decide(out: Output, dataset, cohort: str, primary: Path | None, options: dict, seed: int, device: str):
    """The cohort that `--cohort` names: a file, or a criterion with its options."""
    from fedprobe.clients.cohorts import decide_cohort, read_cohort
    from fedprobe.privacy import rules

    if cohort.endswith(".json") or "/" in cohort:
        if any(value is not None for value in options.values()):
            raise typer.BadParameter("a cohort file holds its own thresholds; give them to select instead")
        with out.progress("measuring", len(dataset), "users") as advance:
            return read_cohort(Path(cohort), dataset, device, advance)
    with flags():
        rule = rules.rule(cohort, **options, seed=seed)
    with out.progress("measuring", len(dataset), "users") as advance:
        return decide_cohort(dataset, rule, primary, device, advance)


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
