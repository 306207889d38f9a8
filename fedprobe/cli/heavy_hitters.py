"""`fedprobe train-charlm --method one-round`: words as heavy hitters, in one release."""

from dataclasses import asdict
from pathlib import Path

import typer

from fedprobe.cli import naming, plans, training
from fedprobe.cli.options import flags, text_format
from fedprobe.cli.output import Output

METHOD = "one-round"
# Options of train-charlm that mean something to one of its methods only.
_OF_ONE_ROUND = ("words_per_user", "threshold_delta")
OPTIONS_OF = {
    "fedavg": (
        *("preset", "embedding", "hidden", "projection", "layers", "dropout", "users_per_round", "rounds"),
        *(
            "clip_norm",
            "distinct",
            "participation",
            "local_batch_size",
            "local_epochs",
            "sequences_per_user",
            "symbols_per_user",
        ),
        *("sequence_length", "client_learning_rate", "server_optimizer", "server_learning_rate", "server_momentum"),
        *(
            "server_schedule",
            "server_weight_decay",
            "model_average",
            "samples_every",
            "checkpoint_every",
            "precision",
            "device",
        ),
    ),
    METHOD: _OF_ONE_ROUND,
}


def release_words(out: Output, context: typer.Context, command: str, file: Path | None, given: dict) -> None:
    """Decide the cohort, release its heavy hitters once and show where they are. `file` is the vocabulary, if any."""
    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.clients.heavy_hitters import NamedWords
    from fedprobe.modeler.word_table import write_words
    from fedprobe.server.declaration import Declaration

    text = text_format(context, given.get("column"), given.get("tokenizer"))
    ground = plans.ground(context, given.get("shards"), given.get("record"), command)
    planned, n_hat = plans.plan(ground, command, planned_of(given), given, given["cohort"])
    dataset = open_dataset(ground.paths, given.get("record"), text=text)
    dataset.require_text()
    if not ground.private:
        require_valid(dataset)
    options = {name: given.get(name) for name in ("min_examples", "share", "public_share", "where")}
    how = {"seed": given["seed"], "device": "cpu", "workers": given.get("workers")}
    decided = naming.decide(out, dataset, given["cohort"], None, file, options, given.get("public"), **how)
    planned, _, delta = plans.counted(ground, planned, given, n_hat, decided)
    # Outside of flags(), which shows what a ValueError says: these look at the data.
    described = decided.to_json(dataset)
    provenance = context.obj.provenance_of(decided.vocabulary)
    conditional_on = decided.conditional_on(dataset, provenance, ground.ledger)
    with flags():
        declaration = Declaration(
            command=command,
            training=planned,
            networks=planned.networks(),
            cohort=described,
            population=given.get("population"),
            conditional_on=conditional_on,
            delta=delta,
            accountant=given["accountant"],
            method=METHOD,
            preset="default",
            seed=given["seed"],
            shards=ground.paths,
            vocabulary=decided.members.outside,
            text=asdict(text),
            participation_name=given["participation"],
            study=given.get("study"),
        )
        declaration.statement()
    training.train(
        out,
        context,
        declaration,
        given.get("output"),
        given["resume"],
        ground,
        dataset,
        decided,
        NamedWords(dataset, decided.members, declaration.mechanism, given["seed"]),
        workers=given.get("workers"),
        checkpoint_every=1,
        samples_every=planned.rounds + 1,
        draw_samples=lambda run, state, name: write_words(run.samples / f"{name}.txt", state.released),
    )


def planned_of(given: dict):
    """The release that the options in `given` ask for. Raises a usage error for numbers that it cannot have."""
    from fedprobe.server.heavy_hitter_training import HeavyHitterTraining

    names = ("noise_multiplier", *_OF_ONE_ROUND)
    with flags():
        return HeavyHitterTraining(**{name: given[name] for name in names if name in given})
