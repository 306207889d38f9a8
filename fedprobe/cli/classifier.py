"""`fedprobe train-classifier`: the primary model."""

import time
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import (
    AsJson,
    Device,
    NoProgress,
    Quiet,
    Record,
    Seed,
    Shards,
    Verbose,
    check_device,
    shards_of,
)
from fedprobe.cli.output import Output


def train_classifier(
    context: typer.Context,
    shards: Shards = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The model's folder.")] = Path("runs/primary"),
    test: Annotated[
        list[str] | None, typer.Option(help="Shards to test on [default: a held-out tenth of the examples].")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Labels are 0 to K-1 [default: the largest label plus one].")
    ] = None,
    merge_case: Annotated[
        bool, typer.Option("--merge-case", help="Read EMNIST's 62 labels as 36: a letter's case ignored.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1)] = 3,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    learning_rate: Annotated[float, typer.Option(help="Adam's.")] = 0.001,
    seed: Seed = 0,
    device: Device = "cpu",
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    verbose: Verbose = False,
) -> None:
    """Train the primary image classifier.

    The paper's CNN, on the pooled examples of a simulation.
    The folder it writes is what --primary takes.

    Example: fedprobe train-classifier shards/ -o runs/primary
    """
    from fedprobe.clients.classifier_training import count_classes
    from fedprobe.clients.classifier_training import train_classifier as train
    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.models.primary import save_primary
    from fedprobe.runs import RunError

    out = Output(as_json, quiet, no_progress, verbose)
    check_device(device)
    if output.exists():
        raise RunError(f"{output} exists; choose another --output")
    dataset = open_dataset(shards_of(shards, context), record, simulation_for="train-classifier")
    tested = open_dataset(test, record, simulation_for="train-classifier") if test else None
    for one in filter(None, (dataset, tested)):
        require_valid(one)
    classes = count_classes(dataset) if classes is None else classes
    for one in filter(None, (dataset, tested)):
        require_valid(one, classes)
    out.detail(f"{len(dataset)} users, {classes} classes{' merged to 36' if merge_case else ''}, on {device}")
    steps = epochs * -(-int(dataset.examples.sum()) // batch_size)
    started = time.monotonic()
    with out.progress("training", steps, "steps") as advance:
        trained = train(
            dataset,
            tested,
            classes=classes,
            merged=merge_case,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            device=device,
            on_step=advance,
        )
    seconds = time.monotonic() - started
    description = {
        "trained_with": {
            "classes": classes,
            "merge_case": merge_case,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seed": seed,
        },
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
    out.hint(f"next: fedprobe select --cohort low-accuracy --primary {output}")
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
