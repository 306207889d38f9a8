"""`fedprobe train-classifier`: the primary model, on pooled examples or through the mechanism."""

import shlex
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli import naming, plans, training
from fedprobe.cli.dry_run import say_plan
from fedprobe.cli.options import (
    Accountant,
    AsJson,
    CheckpointEvery,
    ClientLearningRate,
    ClipNorm,
    Delta,
    Device,
    DryRun,
    Engine,
    LocalBatchSize,
    NoiseMultiplier,
    NoProgress,
    Participation,
    Population,
    Precision,
    Quiet,
    Record,
    Resume,
    Rounds,
    Seed,
    ServerLearningRate,
    ServerMomentum,
    ServerOptimizer,
    Shards,
    Study,
    TargetEpsilon,
    UsersPerRound,
    Verbose,
    Workers,
    check_device,
    check_precision,
    flags,
    on_the_same,
    shards_of,
)
from fedprobe.cli.output import Output

COMMAND = "train-classifier"
_POOLED = ("epochs", "batch_size", "learning_rate")
_FEDAVG = (
    *("preset", "users_per_round", "population", "rounds", "noise_multiplier", "target_epsilon", "clip_norm"),
    *("participation", "delta", "accountant", "study", "local_batch_size", "local_epochs", "examples_per_user"),
    *("client_learning_rate", "server_optimizer", "server_learning_rate", "server_momentum", "model_average"),
    *("checkpoint_every", "workers", "engine", "precision", "resume", "dry_run"),
)


def train_classifier(
    context: typer.Context,
    shards: Shards = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The model's folder, or the run.")] = Path(
        "runs/primary"
    ),
    method: Annotated[
        str | None,
        typer.Option(help="pooled, or fedavg: Algorithm 2 of the paper [default: pooled; on private data fedavg]."),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(help="Shards of a simulation to test on [default: a held-out tenth of a simulation's examples]."),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=2, help="Labels are 0 to K-1 [default, in a simulation: the largest label plus one]."),
    ] = None,
    merge_case: Annotated[
        bool, typer.Option("--merge-case", help="Read EMNIST's 62 labels as 36: a letter's case ignored.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="pooled: passes over all examples [default: 3].")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="pooled: examples in a step [default: 32].")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="pooled: Adam's [default: 0.001].")] = None,
    preset: Annotated[str, typer.Option(help="fedavg, as all that follow: quick (for a laptop).")] = "quick",
    users_per_round: UsersPerRound = None,
    population: Population = None,
    rounds: Rounds = None,
    noise_multiplier: NoiseMultiplier = None,
    target_epsilon: TargetEpsilon = None,
    clip_norm: ClipNorm = None,
    participation: Participation = "poisson",
    delta: Delta = None,
    accountant: Accountant = "auto",
    study: Study = None,
    local_batch_size: LocalBatchSize = None,
    local_epochs: Annotated[int | None, typer.Option(help="Passes over a user's examples in a round.")] = None,
    examples_per_user: Annotated[int | None, typer.Option(help="Examples of a user in a round, at most.")] = None,
    client_learning_rate: ClientLearningRate = None,
    server_optimizer: ServerOptimizer = None,
    server_learning_rate: ServerLearningRate = None,
    server_momentum: ServerMomentum = None,
    model_average: Annotated[float | None, typer.Option(help="Decay of the kept average; 0: none.")] = None,
    checkpoint_every: CheckpointEvery = 50,
    workers: Workers = None,
    precision: Precision = "float32",
    engine: Engine = "auto",
    resume: Resume = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    device: Device = "cpu",
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    verbose: Verbose = False,
) -> None:
    """Train the primary image classifier.

    The paper's CNN, on the pooled examples of a simulation; or by DP-FedAvg, Algorithm 2 of the paper, which is the
    only way on private data: examples stay on devices, and their updates leave as noised sums.
    The folder it writes is what --primary takes.

    Example: fedprobe train-classifier shards/ -o runs/primary
    """
    given = {name: value for name, value in locals().items() if value is not None}
    out = Output(as_json, quiet, no_progress, verbose)
    chosen = _method(context, given)
    training.require_options_of(chosen, {"pooled": _POOLED, "fedavg": _FEDAVG}, context)
    (_federated if chosen == "fedavg" else _pooled)(out, context, given)


def _method(context: typer.Context, given: dict) -> str:
    """The method asked for, or the one for shards of this kind. Raises PrivacyRefusal for pooled private examples."""
    from fedprobe.clients.data.shards import expand
    from fedprobe.privacy.population import PrivacyRefusal, lookup

    method = given.get("method")
    if method not in (None, "pooled", "fedavg"):
        raise typer.BadParameter("--method is pooled or fedavg")
    pooled = method == "pooled" or (method is None and any(name in given for name in _POOLED))
    # A dry run opens no shard and asks for an epsilon, which only one of them has.
    if method == "fedavg" or (given["dry_run"] and not pooled):
        return "fedavg"
    population = lookup(expand(shards_of(given.get("shards"), context)), given.get("record"))
    if population is None or population.kind != "private":
        if given["dry_run"]:
            raise typer.BadParameter(
                "--dry-run says what rounds cost, and pooled training has none; leave out its options, or it"
            )
        return "pooled"
    if method == "pooled":
        raise PrivacyRefusal(
            "--method pooled on a private population is refused: its classifier would tell what it learned of these "
            "users in the clear; use --method fedavg"
        )
    return "fedavg"


def _pooled(out: Output, context: typer.Context, given: dict) -> None:
    from fedprobe.clients.classifier_training import count_classes
    from fedprobe.clients.classifier_training import train_classifier as train
    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.models.primary import save_primary
    from fedprobe.runs import RunError

    output, device, seed, merge_case = (given[name] for name in ("output", "device", "seed", "merge_case"))
    check_device(device)
    if output.exists():
        raise RunError(f"{output} exists; choose another --output")
    paths, record = shards_of(given.get("shards"), context), given.get("record")
    dataset = open_dataset(paths, record, simulation_for=COMMAND)
    tested = open_dataset(given["test"], record, simulation_for=COMMAND) if given.get("test") else None
    for one in filter(None, (dataset, tested)):
        require_valid(one)
    classes = given.get("classes") or count_classes(dataset)
    for one in filter(None, (dataset, tested)):
        require_valid(one, classes)
    out.detail(f"{len(dataset)} users, {classes} classes{' merged to 36' if merge_case else ''}, on {device}")
    with_ = {
        "epochs": given.get("epochs", 3),
        "batch_size": given.get("batch_size", 32),
        "learning_rate": given.get("learning_rate", 0.001),
        "seed": seed,
    }
    steps = with_["epochs"] * -(-int(dataset.examples.sum()) // with_["batch_size"])
    started = time.monotonic()
    with out.progress("training", steps, "steps") as advance:
        trained = train(dataset, tested, classes=classes, merged=merge_case, device=device, on_step=advance, **with_)
    seconds = time.monotonic() - started
    description = {
        "trained_with": {"classes": classes, "merge_case": merge_case, **with_},
        "test_accuracy": trained.test_accuracy,
        "test_examples": trained.test_examples,
        # Trained in the clear on a simulation, which is public: for users of another population it is public, for
        # these it is not.
        "population": dataset.population.id,
        "provenance": "public",
    }
    save_primary(output, trained.model, description)
    out.row(
        "primary",
        f"{output}: test accuracy {trained.test_accuracy:.3f} on {trained.test_examples:,} examples "
        f"(exact: a simulation), {seconds:.0f} s",
    )
    same = on_the_same(given.get("shards"), given.get("record"))
    out.hint(f"next: fedprobe select{same} --cohort low-accuracy --primary {shlex.quote(str(output))}")
    out.object(
        {
            "schema": "fedprobe.train/1",
            "run": str(output),
            "rounds": 0,
            "steps": trained.steps,
            "seconds": seconds,
            "rounds_per_second": None,
            "test_accuracy": trained.test_accuracy,
            "test_accuracy_is": "exact-simulation",
            "test_examples": trained.test_examples,
            "privacy": None,
        }
    )


def _assumed(given: dict):
    """The classifier of a plan whose shards nobody has opened: of images as large as EMNIST's, and of its labels."""
    from fedprobe.models.classifier import EMNIST_CLASSES, ClassifierConfig

    with flags():
        return ClassifierConfig.of((1, 28, 28), given.get("classes", EMNIST_CLASSES), given["merge_case"])


def _federated(out: Output, context: typer.Context, given: dict) -> None:
    from fedprobe.server.classifier_presets import PRESETS

    output, device, seed, merge_case = (given[name] for name in ("output", "device", "seed", "merge_case"))
    check_precision(given["precision"])
    training.check_processes(device, given.get("workers"), given["engine"])
    planned = training.asked(PRESETS, given["preset"], given)
    if given["dry_run"]:
        say_plan(out, context, planned, given, "random", None, lambda: _assumed(given))
        return
    training.check_output(output, given["resume"])

    from fedprobe.clients.classifier_training import count_classes, exact_accuracy, hold_out, networks
    from fedprobe.clients.classifier_update import ClassifierUpdate
    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.models.classifier import EMNIST_CLASSES, classifier_of
    from fedprobe.models.primary import INSIDE_RUN, save_primary
    from fedprobe.server.classifier_presets import HELD_OUT
    from fedprobe.server.declaration import Declaration

    check_device(device)
    record = given.get("record")
    ground = plans.ground(context, given.get("shards"), record, COMMAND)
    classes = given.get("classes") or (EMNIST_CLASSES if merge_case else None)
    if classes is None and ground.private:
        raise typer.BadParameter("--classes K is needed on private data: nobody looks at labels to count them")
    planned, public = plans.plan(ground, COMMAND, planned, given, "random")
    dataset = open_dataset(ground.paths, record)
    tested = open_dataset(given["test"], record, simulation_for="--test") if given.get("test") else None
    for one in filter(None, (None if ground.private else dataset, tested)):
        require_valid(one)
    classes = classes or count_classes(dataset)
    for one in filter(None, (None if ground.private else dataset, tested)):
        require_valid(one, classes)
    config = networks(dataset, classes, merge_case)
    how = {"seed": seed, "device": device, "workers": given.get("workers")}
    decided = naming.decide(out, dataset, "random", None, None, {}, **how)
    to_test = None if tested is None else (tested, None)
    if to_test is None and not ground.private:
        planned = replace(planned, held_out=HELD_OUT)
        kept, held_out = hold_out(dataset, HELD_OUT, seed)
        decided, to_test = replace(decided, members=kept), (dataset, held_out)
    planned, counted, delta = plans.counted(ground, planned, given, public, decided)
    # Outside of flags(), which shows what a ValueError says: this looks at the data.
    described = decided.to_json(dataset)
    with flags():
        declaration = Declaration(
            command=COMMAND,
            training=planned,
            networks=config,
            cohort=described,
            population=counted,
            conditional_on=None,
            delta=delta,
            accountant=given["accountant"],
            preset=given["preset"],
            seed=seed,
            device=device,
            shards=ground.paths,
            participation_name=given["participation"],
            study=given.get("study"),
            precision=given["precision"],
        )
        declaration.statement()
    update = ClassifierUpdate(
        dataset,
        decided.members,
        config,
        declaration.mechanism,
        planned.local_batch_size,
        planned.local_epochs,
        planned.examples_per_user,
        planned.client_learning_rate,
        seed,
        device,
        given["precision"],
    )
    figures = {}

    def keep(run, state, name: str) -> Path:
        model = classifier_of(config, state.average)
        if to_test is not None:
            accuracy, examples = exact_accuracy(model, *to_test, device)
            figures.update(test_accuracy=accuracy, test_accuracy_is="exact-simulation", test_examples=examples)
        description = {
            "trained_with": {"classes": classes, "merge_case": merge_case, "seed": seed, **asdict(planned)},
            **figures,
            "rounds": run.metrics()[-1]["round"],
            "run_id": run.run_id,
            "population": ground.population.id,
            "provenance": planned.provenance,
        }
        save_primary(run.path / INSIDE_RUN, model.cpu(), description)
        return run.path / INSIDE_RUN

    training.train(
        out,
        context,
        declaration,
        output,
        given["resume"],
        ground,
        dataset,
        decided,
        update,
        workers=given.get("workers"),
        checkpoint_every=given["checkpoint_every"],
        samples_every=planned.rounds + 1,
        draw_samples=keep,
        generative=False,
    )
    said = f"{output}, provenance {planned.provenance}"
    if figures:
        said += f": test accuracy {figures['test_accuracy']:.3f} on {figures['test_examples']:,} examples"
        said += " (exact: a simulation)"
    out.row("primary", said)
    same = on_the_same(given.get("shards"), given.get("record"))
    out.hint(f"next: fedprobe select{same} --cohort low-accuracy --primary {shlex.quote(str(output))}")
