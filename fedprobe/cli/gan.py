"""`fedprobe train-gan`: Algorithm 1 on a cohort, or a generator from one release."""

from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli import naming, plans, training
from fedprobe.cli.dry_run import say_plan
from fedprobe.cli.options import (
    Above,
    Accountant,
    AsJson,
    Below,
    CheckpointEvery,
    ClientLearningRate,
    ClipNorm,
    Cohort,
    Delta,
    Device,
    DryRun,
    Engine,
    LocalBatchSize,
    MinExamples,
    NoiseMultiplier,
    NoProgress,
    Participation,
    Population,
    Preset,
    Primary,
    Public,
    PublicShare,
    Quiet,
    Record,
    Resume,
    Rounds,
    Seed,
    ServerLearningRate,
    ServerMomentum,
    ServerOptimizer,
    Shards,
    Share,
    Study,
    TargetEpsilon,
    UsersPerRound,
    Verbose,
    Where,
    Workers,
    check_device,
    flags,
)
from fedprobe.cli.output import Output
from fedprobe.cli.plans import EVERY_USER
from fedprobe.cli.training import check_output, check_processes

_FEDAVG = (
    *("architecture", "users_per_round", "rounds", "clip_norm", "participation", "local_batch_size", "local_steps"),
    *("client_learning_rate", "gradient_penalty", "server_optimizer", "server_learning_rate", "server_momentum"),
    *("critic_rounds_per_generator_phase", "generator_steps", "generator_batch_size", "generator_optimizer"),
    *("generator_learning_rate", "generator_momentum", "generator_average", "samples_every", "checkpoint_every"),
)
_ONE_ROUND = ("classes", "coefficients")


def train_gan(
    context: typer.Context,
    shards: Shards = None,
    cohort: Cohort = "random",
    primary: Primary = None,
    below: Below = None,
    above: Above = None,
    min_examples: MinExamples = None,
    share: Share = None,
    public: Public = None,
    public_share: PublicShare = None,
    where: Where = None,
    method: Annotated[
        str, typer.Option(help="fedavg: Algorithm 1 of the paper; one-round: every user once, one release.")
    ] = "fedavg",
    preset: Preset = "quick",
    classes: Annotated[
        int | None, typer.Option(min=1, help="one-round: labels are 0 to K-1, to sample by label [default: no labels].")
    ] = None,
    coefficients: Annotated[
        int | None, typer.Option(min=1, help="one-round: how fine an image is summed up [default: 144].")
    ] = None,
    architecture: Annotated[str | None, typer.Option(help="small, paper, or paper-group-norm.")] = None,
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
    local_steps: Annotated[int | None, typer.Option(help="Batches a user trains on in a round, at most.")] = None,
    client_learning_rate: ClientLearningRate = None,
    gradient_penalty: Annotated[float | None, typer.Option(help="WGAN-GP's coefficient.")] = None,
    server_optimizer: ServerOptimizer = None,
    server_learning_rate: ServerLearningRate = None,
    server_momentum: ServerMomentum = None,
    critic_rounds_per_generator_phase: Annotated[int | None, typer.Option()] = None,
    generator_steps: Annotated[int | None, typer.Option(help="Generator steps in a phase.")] = None,
    generator_batch_size: Annotated[int | None, typer.Option()] = None,
    generator_optimizer: Annotated[str | None, typer.Option(help="sgd, momentum or adam.")] = None,
    generator_learning_rate: Annotated[float | None, typer.Option()] = None,
    generator_momentum: Annotated[float | None, typer.Option(help="Momentum, or Adam's first beta.")] = None,
    generator_average: Annotated[float | None, typer.Option(help="Decay of the sampled average; 0: none.")] = None,
    samples_every: Annotated[int, typer.Option(min=1, help="Rounds between sample grids.")] = 100,
    checkpoint_every: CheckpointEvery = 50,
    workers: Workers = None,
    engine: Engine = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run [default: runs/train-gan-COHORT-N].")
    ] = None,
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
    """Train a private generator of images on a cohort.

    DP-FedAvg-GAN, Algorithm 1 of the paper: the critic is trained on users' devices and leaves them as noised sums;
    the generator never meets data. Ctrl-C ends after the round with a checkpoint; --resume goes on.
    With --method one-round every user sends one vector, the noised sum is released once, and a generator is fitted to
    it: for some hundred users, at an epsilon that protects.

    Example: fedprobe train-gan shards/ --cohort low-accuracy --primary runs/primary -o runs/low
    """
    given = {name: value for name, value in locals().items() if value is not None}

    from fedprobe.server import gan_presets, one_round_presets

    out = Output(as_json, quiet, no_progress, verbose)
    training.require_options_of(method, {"fedavg": _FEDAVG, "one-round": _ONE_ROUND}, context)
    one_round = method == "one-round"
    if one_round:
        participation = given["participation"] = EVERY_USER
    check_processes(device, workers, engine)
    planned = training.asked((one_round_presets if one_round else gan_presets).PRESETS, preset, given)
    if dry_run:
        # A cohort that measures users does so with a model, which no shard is opened to ask about.
        free = not naming.needs_primary(cohort) or context.obj.provenance == "public"
        known = None if free else "primary model"
        # What the examples look like is not asked: as large as EMNIST's.
        networks = None if one_round else lambda: planned.networks((1, 28, 28))
        say_plan(out, context, planned, given, cohort, known, networks)
        return
    check_output(output, resume)

    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.clients.embedding import MeanEmbeddingUpdate
    from fedprobe.clients.updates import CriticUpdate
    from fedprobe.modeler.pictures import grid, save_png
    from fedprobe.modeler.sampling import generator_of, sample_images
    from fedprobe.models.gan import LEAST_SIDE
    from fedprobe.server.declaration import Declaration

    check_device(device)
    ground = plans.ground(context, shards, record, "train-gan")
    planned, n_hat = plans.plan(ground, "train-gan", planned, given, cohort)
    dataset = open_dataset(ground.paths, record)
    dataset.require_trainable(LEAST_SIDE)
    if not ground.private:
        require_valid(dataset, classes)
    options = {"below": below, "above": above, "min_examples": min_examples, "share": share}
    options |= {"public_share": public_share, "where": where}
    how = {"seed": seed, "device": device, "workers": workers}
    decided = naming.decide(out, dataset, cohort, primary or context.obj.primary, None, options, public, **how)
    planned, counted, delta = plans.counted(ground, planned, given, n_hat, decided)
    # Outside of flags(), which shows what a ValueError says: these look at the data.
    described = decided.to_json(dataset)
    conditional_on = decided.conditional_on(dataset, context.obj.provenance, ground.ledger)
    with flags():
        declaration = Declaration(
            command="train-gan",
            training=planned,
            networks=planned.networks(dataset.shape),
            cohort=described,
            population=population if one_round else counted,
            conditional_on=conditional_on,
            delta=delta,
            accountant=accountant,
            method=method,
            preset=preset,
            seed=seed,
            device=device,
            shards=ground.paths,
            participation_name=participation,
            study=study,
        )
        declaration.statement()
    beside_the_data = (dataset, decided.members, declaration.networks, declaration.mechanism)
    if one_round:
        update = MeanEmbeddingUpdate(*beside_the_data, device)
    else:
        update = CriticUpdate(
            *beside_the_data,
            planned.local_batch_size,
            planned.local_steps,
            planned.client_learning_rate,
            planned.gradient_penalty,
            seed,
            device,
        )

    def draw_samples(run, state, name: str) -> Path:
        generator = generator_of(declaration.networks, state.tensors())
        return save_png(run.samples / f"{name}.png", [grid(sample_images(generator, 64, seed), 8)])

    training.train(
        out,
        context,
        declaration,
        output,
        resume,
        ground,
        dataset,
        decided,
        update,
        workers=workers,
        checkpoint_every=checkpoint_every,
        samples_every=samples_every,
        draw_samples=draw_samples,
    )
