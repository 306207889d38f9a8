"""What every `train-*` command does around its algorithm: plan, cohort, progress, Ctrl-C, what is left behind."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import typer

from fedprobe.cli.options import flags, shards_of, unlike_public
from fedprobe.cli.output import Output
from fedprobe.cli.ranks import restarted_by_torchrun, started_by_torchrun

# privacy/events.py's word for the methods with one release, here so that no command waits for an import.
EVERY_USER = "every-user"
# Options of cohorts that need neither a vocabulary nor a public model.
_RULE = ("below", "above", "min_examples", "share", "where")


def asked(presets: dict, preset: str, given: dict) -> object:
    """The preset's training, changed by the options in `given`. Raises a usage error for what cannot be trained."""
    if preset not in presets:
        raise typer.BadParameter(f"unknown preset; choose one of {', '.join(presets)}")
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


@dataclass(frozen=True)
class Ground:
    """What a training stands on before any shard is opened: paths, population, ledger, and where the record lies.

    `primary` is fedprobe.toml's.
    """

    paths: list[str]
    population: object
    ledger: object
    record: Path | None = None
    primary: Path | None = None

    @property
    def private(self) -> bool:
        return self.population.kind == "private"


def ground(context: typer.Context, shards: list[str] | None, record: Path | None, what: str) -> Ground:
    """The population and the ledger of the shards. Raises PrivacyRefusal where they are not registered."""
    from fedprobe.clients.data.shards import expand
    from fedprobe.privacy.ledger import ledger_of
    from fedprobe.privacy.population import lookup, require_registered

    paths = shards_of(shards, context)
    files = expand(paths)
    population = require_registered(lookup(files, record), what)
    ledger = ledger_of(population, files, record, context.obj.budget)
    return Ground(paths, population, ledger, record, context.obj.primary)


def public_population(ground: Ground, cohort: str, given: dict) -> int | None:
    """N_hat where it is public before the shards are opened: as given, or a cohort file's DP count.

    Where every user takes part it decides nothing but the default of delta where the ledger has none, and 1 will do.
    Raises PrivacyRefusal where a private population has neither, or rounds of a fixed size, which count on a lower
    bound, have only an estimate.
    """
    from fedprobe.clients.cohort_files import released_count
    from fedprobe.privacy.population import PrivacyRefusal

    population = given.get("population")
    if population is not None and population < 1:
        raise typer.BadParameter("--population must be at least 1")
    if given["participation"] == EVERY_USER:
        return population or (1 if ground.private else None)
    if population is None and ground.private and given["participation"] == "fixed":
        raise PrivacyRefusal(
            "--participation fixed counts on a lower bound of how many users the cohort has, which a noised count is "
            "not; give --population, or take poisson"
        )
    if population is None and ground.private and is_file(cohort):
        population = released_count(Path(cohort))
    if population is None and ground.private:
        raise PrivacyRefusal(
            "how many users a private cohort has is not public; give --population, or a cohort file with a DP count: "
            "fedprobe select --count"
        )
    return population


def with_noise(planned, given: dict, private: bool, population: int, participation: str, delta: float, accountant: str):
    """`planned` with the noise multiplier that `--target-epsilon` asks for, if it does.

    Raises PrivacyRefusal where a private population is to be trained on with a preset's noise.
    """
    from fedprobe.privacy.population import PrivacyRefusal

    target = given.get("target_epsilon")
    if target is not None and "noise_multiplier" in given:
        raise typer.BadParameter("give --noise-multiplier or --target-epsilon, not both")
    if target is not None and accountant == "paper":
        raise typer.BadParameter("--accountant paper proves no bound, so that no noise is planned by it; use auto")
    if target is None:
        if private and "noise_multiplier" not in given:
            raise PrivacyRefusal("on private data the noise is asked for; give --target-epsilon or --noise-multiplier")
        return planned
    from fedprobe.privacy.planning import solve

    with flags():
        found = solve(
            "noise-multiplier",
            target_epsilon=target,
            users_per_round=planned.users_per_round or 1,
            population=population,
            rounds=planned.rounds,
            delta=delta - _threshold_delta(planned),
            participation=participation,
            accountant=accountant,
        )
        return replace(planned, noise_multiplier=found.noise_multiplier)


def with_threshold(planned, delta: float):
    """`planned` with what its threshold takes of the plan's `delta`, of methods that have one.

    Raises a usage error where that is all of it.
    """
    from fedprobe.server.heavy_hitter_training import HeavyHitterTraining

    with flags():
        return planned.at_delta(delta) if isinstance(planned, HeavyHitterTraining) else planned


def event_of(planned, participation_name: str, population: int):
    """What the plan releases."""
    from fedprobe.server.participation import participation

    drawn = participation(participation_name, planned.users_per_round, population)
    event = drawn.event(planned.noise_multiplier, planned.rounds)
    return replace(event, threshold_delta=_threshold_delta(planned))


def _threshold_delta(planned) -> float:
    return getattr(planned, "threshold_delta", 0.0)


def plan(ground: Ground, command: str, planned, given: dict, cohort: str) -> tuple[object, int | None]:
    """On private data: the plan with its noise, refused if the ledger has no room for it, before anything is read.

    Returns the plan and N_hat, None where it is the cohort's exact count (a simulation). A resumed run has its rounds
    reserved, and what else it takes is reserved when it goes on; a study has its parts.
    """
    from fedprobe.privacy.statement import default_delta

    population = public_population(ground, cohort, given)
    if population is None:
        return planned, None
    delta = ground.ledger.plan_delta(given.get("delta"), default_delta(population))
    name, accountant = given["participation"], given["accountant"]
    planned = with_threshold(planned, delta)
    planned = with_noise(planned, given, ground.private, population, name, delta, accountant)
    if given.get("study") is None and not given["resume"]:
        with flags():
            event = event_of(planned, name, population)
        ground.ledger.require_room(command, [event], delta=delta, cell=cell_ahead(ground, given, cohort))
    return planned, population


def cell_ahead(ground: Ground, given: dict, cohort: str):
    """The users that `cohort` can hold, as far as it is known before anything is read; None for anybody."""
    from fedprobe.clients.cohort_files import cell_of
    from fedprobe.clients.cohorts import frozen_cell
    from fedprobe.clients.data.shards import expand

    if is_file(cohort):
        return cell_of(Path(cohort))
    if cohort in ("oov-words", "unlike-public"):
        return None
    rule = rule_of(cohort, None, {name: given.get(name) for name in _RULE}, given["seed"])
    primary = given.get("primary") or ground.primary
    return frozen_cell(rule, expand(ground.paths), ground.population, ground.record, primary)


def counted(ground: Ground, planned, given: dict, public: int | None, decided) -> tuple[object, int, float]:
    """The plan with its noise, N_hat and delta, once the cohort is decided: in a simulation its exact count will do."""
    from fedprobe.privacy.statement import default_delta

    population = len(decided.members) if public is None else public
    delta = ground.ledger.plan_delta(given.get("delta"), default_delta(population))
    if public is None:
        name, accountant = given["participation"], given["accountant"]
        planned = with_threshold(planned, delta)
        planned = with_noise(planned, given, False, population, name, delta, accountant)
    return planned, population, delta


def is_file(cohort: str) -> bool:
    return cohort.endswith(".json") or "/" in cohort


def needs_primary(cohort: str) -> bool:
    """Whether a primary model decides the cohort, as its name or its file says; no shard is opened."""
    from fedprobe.clients.cohort_files import read_rule

    if is_file(cohort):
        return read_rule(Path(cohort)).needs_primary
    return cohort not in ("random", "oov-words", "unlike-public")


def decide(
    out: Output,
    dataset,
    cohort: str,
    primary: Path | None,
    vocabulary: Path | None,
    options: dict,
    public: Path | None = None,
    **how,
):
    """The cohort that `--cohort` names: a file, or a criterion with its options (`how`: seed, device, workers)."""
    from fedprobe.clients.cohort_files import read_cohort
    from fedprobe.clients.cohorts import decide_cohort

    if is_file(cohort):
        if any(value is not None for value in (public, *options.values())):
            raise typer.BadParameter("a cohort file holds its own thresholds and models; give them to select instead")
        with measuring(out, dataset) as advance:
            return read_cohort(Path(cohort), dataset, how["device"], advance, how["workers"])
    rule = rule_of(cohort, vocabulary, options, how["seed"], public)
    with measuring(out, dataset) as advance:
        models = (primary, how["device"], advance, vocabulary, public)
        return decide_cohort(dataset, rule, *models, workers=how["workers"])


@contextmanager
def measuring(out: Output, dataset) -> Iterator[Callable[[int], None]]:
    """Progress over a data set's users where their number is public.

    Where it is not, not even a percentage: users are measured so many at once, and it would tell of how many.
    """
    if dataset.population is not None and dataset.population.kind == "simulation":
        with out.progress("measuring", len(dataset), "users") as advance:
            yield advance
        return
    with out.waiting("measuring"):
        yield lambda users: None


def rule_of(cohort: str, vocabulary: Path | None, options: dict, seed: int, public: Path | None = None):
    """The rule of a named cohort. Raises a usage error where an option does not go with it."""
    from fedprobe.models.vocabulary import read_vocabulary
    from fedprobe.privacy import rules

    options = dict(options)
    options |= unlike_public(cohort, public, options.pop("public_share", None))

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
    ground: Ground,
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
    out.row(
        "done" if finished else "stopped",
        f"{run.path} after {done} of {training.rounds} rounds{speed}; samples in {samples}",
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
