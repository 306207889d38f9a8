"""`fedprobe train-wordlm` and `fedprobe train-charlm`: Algorithm 2 on sentences, and on words; words in one release."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli import heavy_hitters, naming, plans, training
from fedprobe.cli.dry_run import say_plan
from fedprobe.cli.options import (
    Accountant,
    AsJson,
    CheckpointEvery,
    ClientLearningRate,
    ClipNorm,
    Column,
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
    Precision,
    Preset,
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
    ServerSchedule,
    ServerWeightDecay,
    Shards,
    Share,
    Study,
    TargetEpsilon,
    Tokenizer,
    UsersPerRound,
    Verbose,
    VocabularyFile,
    Where,
    Workers,
    check_device,
    check_precision,
    flags,
    text_format,
)
from fedprobe.cli.output import Output
from fedprobe.cli.training import check_output, check_processes

WORDS, SENTENCES = "train-charlm", "train-wordlm"
_COHORTS = ("random", "oov-words", "unlike-public")


def _command(name: str, usual_cohort: str, does: str) -> Callable[..., None]:
    """The command `name`; both have the same options."""

    def command(
        context: typer.Context,
        shards: Shards = None,
        cohort: Annotated[
            str, typer.Option(help="random, unlike-public, or (of words) oov-words; or a file that select wrote.")
        ] = usual_cohort,
        vocabulary: VocabularyFile = None,
        column: Column = None,
        tokenizer: Tokenizer = None,
        min_examples: MinExamples = None,
        share: Share = None,
        public: Public = None,
        public_share: PublicShare = None,
        where: Where = None,
        method: Annotated[
            str, typer.Option(help="fedavg: Algorithm 2 of the paper; of words, one-round: those that many users have.")
        ] = "fedavg",
        preset: Preset = "quick",
        embedding: Annotated[int | None, typer.Option(help="Size of a symbol's embedding.")] = None,
        hidden: Annotated[int | None, typer.Option(help="LSTM cells in a layer.")] = None,
        projection: Annotated[int | None, typer.Option(help="Size of the recurrent projection.")] = None,
        layers: Annotated[int | None, typer.Option(help="LSTM layers.")] = None,
        dropout: Annotated[
            float | None, typer.Option(help="Share of what the embedding and a layer give that training leaves out.")
        ] = None,
        users_per_round: UsersPerRound = None,
        words_per_user: Annotated[
            int | None, typer.Option(min=1, help="one-round: words that a user names, at most [default: 100].")
        ] = None,
        threshold_delta: Annotated[
            float | None, typer.Option(help="one-round: what the threshold takes of delta [default: half of it].")
        ] = None,
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
        local_epochs: Annotated[int | None, typer.Option(help="Passes over a user's text in a round.")] = None,
        sequences_per_user: Annotated[int | None, typer.Option(help="Sentences (words) a user, at most.")] = None,
        symbols_per_user: Annotated[int | None, typer.Option(help="Words (bytes) a user in all, at most.")] = None,
        distinct: Annotated[
            bool | None,
            typer.Option(
                "--distinct/--no-distinct",
                help="A sentence (word) that a user has many times counts once, or each time.",
            ),
        ] = None,
        sequence_length: Annotated[int | None, typer.Option(help="Cut a sentence (word) after so many.")] = None,
        client_learning_rate: ClientLearningRate = None,
        server_optimizer: ServerOptimizer = None,
        server_learning_rate: ServerLearningRate = None,
        server_momentum: ServerMomentum = None,
        server_schedule: ServerSchedule = None,
        server_weight_decay: ServerWeightDecay = None,
        model_average: Annotated[float | None, typer.Option(help="Decay of the sampled average; 0: none.")] = None,
        samples_every: Annotated[int, typer.Option(min=1, help="Rounds between files of samples.")] = 100,
        checkpoint_every: CheckpointEvery = 50,
        workers: Workers = None,
        precision: Precision = "float32",
        engine: Engine = "auto",
        output: Annotated[
            Path | None, typer.Option("--output", "-o", help=f"The run [default: runs/{name}-COHORT-N].")
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
        given = {name: value for name, value in locals().items() if value is not None}
        _train(name, context, given)

    command.__doc__ = does
    return command


train_wordlm = _command(
    SENTENCES,
    "random",
    """Train a private federated language model of sentences.

    DP-FedAvg, Algorithm 2 of the paper, on words of a vocabulary; words outside it are UNK. Its samples tell how often
    and where words are out of vocabulary. Ctrl-C ends after the round with a checkpoint; --resume goes on.

    Example: fedprobe train-wordlm shards/ --vocabulary vocabulary.txt -o runs/sentences
    """,
)
train_charlm = _command(
    WORDS,
    "oov-words",
    """Train a private federated language model of words.

    DP-FedAvg, Algorithm 2 of the paper, on the bytes of words; by default each device selects its own words outside
    the vocabulary (T3). Ctrl-C ends after the round with a checkpoint; --resume goes on.

    --method one-round trains nothing: it releases, once, the words that many users have, with noised counts. That
    takes far fewer users or far less epsilon, and shows no word that few have.

    Example: fedprobe train-charlm shards/ --vocabulary vocabulary.txt -o runs/words
    """,
)


def _train(command: str, context: typer.Context, given: dict) -> None:
    from fedprobe.privacy.rules import CRITERIA
    from fedprobe.server.language_presets import CHAR_PRESETS, WORD_PRESETS

    out = Output(*(given[name] for name in ("as_json", "quiet", "no_progress", "verbose")))
    training.require_options_of(given["method"], heavy_hitters.OPTIONS_OF, context)
    one_round = given["method"] == heavy_hitters.METHOD
    if one_round and command == SENTENCES:
        raise typer.BadParameter("--method one-round is for words: train-charlm; sentences take fedavg")
    check_precision(given["precision"])
    check_processes(given["device"], given.get("workers"), given["engine"])
    if one_round:
        given |= {"participation": plans.EVERY_USER}
        planned = heavy_hitters.planned_of(given)
    else:
        planned = training.asked(WORD_PRESETS if command == SENTENCES else CHAR_PRESETS, given["preset"], given)
    cohort = given["cohort"]
    if given["dry_run"]:
        file = given.get("vocabulary") or context.obj.vocabulary
        public = context.obj.provenance_of(file) == "public"
        known = None if public or (command == WORDS and cohort in ("random", "unlike-public")) else "vocabulary"

        def networks():
            from fedprobe.models.vocabulary import Bytes
            from fedprobe.server.cost import symbols_of

            return planned.networks(symbols_of(file) if command == SENTENCES else Bytes.symbols)

        say_plan(out, context, planned, given, cohort, known, None if one_round else networks)
        return
    check_output(given.get("output"), given["resume"])
    if cohort in CRITERIA and cohort not in _COHORTS:
        raise typer.BadParameter(f"the cohort {cohort} is one of images; text has {', '.join(_COHORTS)}")
    if command == SENTENCES and cohort == "oov-words":
        raise typer.BadParameter("the cohort oov-words selects words, and train-wordlm takes sentences: use random")
    file = given.get("vocabulary") or context.obj.vocabulary
    if command == WORDS and cohort == "random" and given.get("vocabulary") is not None:
        raise typer.BadParameter("the cohort random takes every word, so it needs no --vocabulary")
    if file is None and (command == SENTENCES or cohort == "oov-words"):
        raise typer.BadParameter("--vocabulary FILE is needed; make one with: fedprobe data vocabulary")
    if one_round:
        heavy_hitters.release_words(out, context, command, file, given)
        return

    from fedprobe.clients.cohorts import vocabulary_known
    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.clients.language_update import LanguageModelUpdate
    from fedprobe.modeler.text_sampling import model_of, write_samples
    from fedprobe.models.vocabulary import Bytes, read_vocabulary
    from fedprobe.server.declaration import Declaration

    device, seed = check_device(given["device"]), given["seed"]
    words = read_vocabulary(file) if command == SENTENCES else None
    text = text_format(context, given.get("column"), given.get("tokenizer"))
    ground = plans.ground(context, given.get("shards"), given.get("record"), command)
    planned, n_hat = plans.plan(ground, command, planned, given, cohort)
    dataset = open_dataset(ground.paths, given.get("record"), text=text)
    dataset.require_text()
    if not ground.private:
        require_valid(dataset)
    options = {name: given.get(name) for name in ("min_examples", "share", "public_share", "where")}
    how = {"seed": seed, "device": device, "workers": given.get("workers")}
    decided = naming.decide(out, dataset, cohort, None, file, options, given.get("public"), **how)
    if decided.members.outside is not None and words is not None:
        raise typer.BadParameter("this cohort selects words, and train-wordlm takes sentences: use the cohort random")
    provenance = context.obj.provenance_of(file if words is not None else decided.vocabulary)
    codec = Bytes() if words is None else words
    planned, counted, delta = plans.counted(ground, planned, given, n_hat, decided)
    # Outside of flags(), which shows what a ValueError says: these look at the data.
    described = decided.to_json(dataset)
    known = decided.conditional_on(dataset, provenance, ground.ledger)
    if words is not None:
        known = " and the ".join(filter(None, (known, vocabulary_known(dataset, words, provenance)))) or None
    with flags():
        declaration = Declaration(
            command=command,
            training=planned,
            networks=planned.networks(codec.symbols),
            cohort=described,
            population=counted,
            conditional_on=known,
            delta=delta,
            accountant=given["accountant"],
            method=given["method"],
            preset=given["preset"],
            seed=seed,
            device=device,
            shards=ground.paths,
            vocabulary=words or decided.members.outside,
            text=asdict(text),
            participation_name=given["participation"],
            study=given.get("study"),
            precision=given["precision"],
        )
        declaration.statement()
    update = LanguageModelUpdate(
        dataset,
        decided.members,
        codec,
        declaration.networks,
        declaration.mechanism,
        planned.local_batch_size,
        planned.local_epochs,
        planned.sequences_per_user,
        planned.symbols_per_user,
        planned.sequence_length,
        planned.client_learning_rate,
        seed,
        device,
        given["precision"],
        planned.distinct,
    )

    def draw_samples(run, state, name: str) -> Path:
        model = model_of(declaration.networks, state.average)
        return write_samples(run.samples / f"{name}.txt", model, codec, planned.sequence_length, seed)

    training.train(
        out,
        context,
        declaration,
        given.get("output"),
        given["resume"],
        ground,
        dataset,
        decided,
        update,
        workers=given.get("workers"),
        checkpoint_every=given["checkpoint_every"],
        samples_every=given["samples_every"],
        draw_samples=draw_samples,
    )
