"""Options that several commands share, spelled once."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

Shards = Annotated[
    list[str] | None,
    typer.Argument(help="Federated HDF5 shards: files, folders, globs. Default: those of fedprobe.toml."),
]
Record = Annotated[
    Path | None, typer.Option("--record", help="Folder of the population's record, for read-only shards.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors, and of epsilon one line.")]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Say more: all about epsilon; on stderr released figures, files written."),
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar or lines.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides everything random but noise and participation.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or cuda:N.")]
Cohort = Annotated[
    str,
    typer.Option(
        help="random, low-accuracy, high-accuracy, misclassified, correct, oov-words, unlike-public; or select's file."
    ),
]
Primary = Annotated[
    Path | None, typer.Option(help="The classifier that users are measured with: a train-classifier folder.")
]
Below = Annotated[float | None, typer.Option(help="low-accuracy: users below this accuracy [default: 0.882].")]
Above = Annotated[float | None, typer.Option(help="high-accuracy: users above this accuracy [default: 0.939].")]
MinExamples = Annotated[
    int | None,
    typer.Option(help="Cohorts of examples: leave out users with fewer [default: 5; oov-words, unlike-public: 1]."),
]
Public = Annotated[
    Path | None, typer.Option("--public", help="unlike-public: the density of public examples, a train-density folder.")
]
PublicShare = Annotated[
    float | None,
    typer.Option(help="unlike-public: select what is rarer than all but this share of public ones [default: 0.01]."),
]
Where = Annotated[
    str | None, typer.Option(help="Only users whose public attributes match, such as: app_version == '2.1'.")
]
Share = Annotated[float | None, typer.Option(help="random: a share of the users instead of all.")]
Accountant = Annotated[str, typer.Option(help="auto, pld, rdp, prv, or paper (for comparison with the paper only).")]
Delta = Annotated[
    float | None, typer.Option(help="Default: a tenth of the ledger's; without one min(1e-6, 1/(100 x population)).")
]

Preset = Annotated[str, typer.Option(help="quick (for a laptop), or paper.")]
UsersPerRound = Annotated[int | None, typer.Option(help="Expected users a round; the denominator.")]
Population = Annotated[
    int | None, typer.Option(help="Users in the cohort, for q [default: its count, in a simulation].")
]
Rounds = Annotated[int | None, typer.Option(help="Rounds on devices; each is charged.")]
NoiseMultiplier = Annotated[float | None, typer.Option(help="z: noise on the sum, in clip norms.")]
ClipNorm = Annotated[float | None, typer.Option(help="S: flat L2 norm of one user's update.")]
LocalBatchSize = Annotated[int | None, typer.Option(help="Examples in one local step.")]
ClientLearningRate = Annotated[float | None, typer.Option(help="SGD on the device.")]
ServerOptimizer = Annotated[str | None, typer.Option(help="sgd, momentum (Nesterov) or adam.")]
ServerLearningRate = Annotated[float | None, typer.Option(help="Of the server's step on the mean update.")]
ServerMomentum = Annotated[float | None, typer.Option(help="Momentum, or Adam's first beta.")]
CheckpointEvery = Annotated[int, typer.Option(min=1, help="Rounds between checkpoints.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes [default: one a core; 1 on cuda].")]
Engine = Annotated[
    str, typer.Option(help="local, or torchrun; auto: torchrun's ranks where it started this command, else local.")
]
Precision = Annotated[
    str, typer.Option(help="float32, or bf16: local training's products; what is clipped and released stays float32.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run at --output.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print epsilon and the time it takes, and stop; opens no shard.")
]
VocabularyFile = Annotated[
    Path | None, typer.Option("--vocabulary", help="One word a line, as data vocabulary writes them.")
]
Column = Annotated[str | None, typer.Option(help="Text shards: the column to read [default: tokens].")]
Tokenizer = Annotated[
    str | None,
    typer.Option(help="whitespace, or words (lower case, punctuation apart), for raw text [default: whitespace]."),
]
Participation = Annotated[
    str,
    typer.Option(
        help="poisson: each user independently; fixed: exactly so many, at more cost; none: the draw is no secret."
    ),
]
TargetEpsilon = Annotated[float | None, typer.Option(help="Find the noise multiplier for this epsilon of the plan.")]
Study = Annotated[str | None, typer.Option(help="A declared study that this is a part of: fedprobe ledger declare.")]
ServerWeightDecay = Annotated[
    float | None, typer.Option(help="Share of every parameter, times the server's rate, that a round takes off.")
]
ServerSchedule = Annotated[str | None, typer.Option(help="constant, or linear (down to zero over the rounds).")]


@contextmanager
def flags() -> Iterator[None]:
    """Turn a ValueError about what was asked for into a usage error (exit code 2)."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def shards_of(given: list[str] | None, context: typer.Context) -> list[str]:
    """The shards given, or fedprobe.toml's. Raises a usage error where there are neither."""
    shards = list(given or context.obj.shards)
    if not shards:
        raise typer.BadParameter("no shards: name them, or put them into fedprobe.toml (fedprobe init writes one)")
    return shards


def on_the_same(shards: list[str] | None, record: Path | None) -> str:
    """SHARDS and --record of a next command, behind its name: as they were given, nothing where they were not."""
    words = [*(shards or []), *([] if record is None else ["--record", str(record)])]
    return "".join(f" {shlex.quote(word)}" for word in words)


def text_format(context: typer.Context, column: str | None, tokenizer: str | None):
    """How text shards are read: options first, then fedprobe.toml."""
    from fedprobe.clients.text import TextFormat

    given = {"column": column or context.obj.column, "tokenizer": tokenizer or context.obj.tokenizer}
    with flags():
        return TextFormat(**{name: value for name, value in given.items() if value is not None})


def check_device(device: str) -> str:
    """`device`, made ready. Raises a usage error if torch cannot use it."""
    from fedprobe.models.devices import prepare

    with flags():
        return prepare(device)


def check_precision(precision: str) -> None:
    """Raise a usage error for a precision that nothing is computed in."""
    if precision not in ("float32", "bf16"):
        raise typer.BadParameter("--precision is float32 or bf16")


def unlike_public(cohort: str, public: Path | None, share: float | None) -> dict:
    """The public model's digest and the threshold that `share` names. Raises a usage error where they do not fit."""
    from fedprobe.privacy.rules import PUBLIC_SHARE

    if cohort != "unlike-public":
        if public is not None or share is not None:
            raise typer.BadParameter("--public and --public-share go with the cohort unlike-public, and only with it")
        return {}
    if public is None:
        raise typer.BadParameter("the cohort unlike-public needs --public MODEL; make one with: fedprobe train-density")
    from fedprobe.models.public import LEAST_SHARE, load_public

    share = PUBLIC_SHARE if share is None else share
    if not LEAST_SHARE <= share < 1:
        raise typer.BadParameter(f"--public-share is at least {LEAST_SHARE:g} and below 1")
    model = load_public(public)
    return {"public": model.digest, "at_most": model.threshold(share)}
