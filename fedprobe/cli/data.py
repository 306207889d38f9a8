"""`fedprobe data`: the data steward's commands, which may speak of counts and faults, never of contents or ids."""

from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import AsJson, Quiet, Record, Seed, Shards, shards_of
from fedprobe.cli.output import Output

app = typer.Typer(no_args_is_help=True, help="The data steward's commands: make, describe and corrupt shards.")


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder to write the demo shard to.")],
    kind: Annotated[str, typer.Option(help="images.")] = "images",
    users: Annotated[int, typer.Option(help="Simulated writers.")] = 240,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make demo shards of real digits.

    Genuine MNIST digits, dealt to simulated writers in each one's slant and thickness; registered as a simulation.
    Needs the extra fedprobe[demo].

    Example: fedprobe data demo shards/
    """
    from fedprobe.clients.data.demo import LEAST_USERS, write_demo_images
    from fedprobe.clients.data.writing import require_new
    from fedprobe.privacy.population import register

    if kind != "images":
        raise typer.BadParameter("--kind is images; demo text comes with the language path")
    if users < LEAST_USERS:
        raise typer.BadParameter(f"--users is at least {LEAST_USERS}, to have cohorts worth comparing")
    output = Output(as_json, quiet)
    path = out / "digits.h5"
    require_new(path)
    examples = write_demo_images(path, users, seed)
    register([path], "simulation")
    output.row("demo", f"{path}: {examples:,} digits of {users} simulated writers, registered as a simulation")
    output.object({"schema": "fedprobe.demo/1", "file": str(path), "users": users, "examples": examples})


@app.command()
def describe(
    context: typer.Context,
    shards: Shards = None,
    check: Annotated[bool, typer.Option("--check", help="Read every example and report all faults.")] = False,
    classes: Annotated[int | None, typer.Option(help="With --check: labels must be below this.")] = None,
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Schema, counts and faults of shards.

    Never contents.
    With --check, which user has which fault is written to a file beside the data, and faults exit with 3.

    Example: fedprobe data describe shards/ --check
    """
    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.describe import describe as describe_dataset
    from fedprobe.clients.data.shards import open_dataset

    out = Output(as_json, quiet)
    dataset = open_dataset(shards_of(shards, context), record)
    described = describe_dataset(dataset)
    least, median, most = described.examples_per_user
    channels = "" if described.channels == 1 else f" x {described.channels} channels"
    out.row("shards", f"{len(described.shards)}, {described.kind}")
    out.row("users", f"{described.users:,}")
    out.row("examples", f"{described.examples:,} (per user: least {least}, median {median}, most {most})")
    out.row(
        "images",
        f"{described.height} x {described.width}{channels}, {described.dtype}, "
        f"{'labelled' if described.labelled else 'no labels'}",
    )
    if check:
        with out.progress("checking", len(dataset), "users") as advance:
            require_valid(dataset, classes, on_users=advance, again=True)
        out.row("faults", "none")
    out.object(
        {
            "schema": "fedprobe.describe/1",
            "kind": described.kind,
            "shards": [str(path) for path in described.shards],
            "users": described.users,
            "examples": described.examples,
            "examples_per_user": {"least": least, "median": median, "most": most},
            "shape": [described.height, described.width, described.channels],
            "dtype": described.dtype,
            "labelled": described.labelled,
            "checked": check,
        }
    )


@app.command()
def corrupt(
    source: Annotated[str, typer.Argument(metavar="IN", help="A shard, a folder of shards, or a glob.")],
    out: Annotated[Path, typer.Argument(help="The file or folder to write the struck copies to.")],
    bug: Annotated[str, typer.Option(help="invert-pixels.")],
    users: Annotated[float, typer.Option(help="The share of users that the bug strikes.")] = 0.5,
    seed: Seed = 0,
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rehearse a bug on copies of shards.

    Some users' data are broken in a known way. Who was struck is kept beside the copies, never in them. The
    population's record is carried over.

    Example: fedprobe data corrupt shards/ broken/ --bug invert-pixels --users 0.5
    """
    from fedprobe.clients.data.corrupt import BUGS
    from fedprobe.clients.data.corrupt import corrupt as corrupt_shards
    from fedprobe.clients.data.shards import open_dataset

    if bug not in BUGS:
        raise typer.BadParameter(f"unknown bug; choose one of {', '.join(BUGS)}")
    output = Output(as_json, quiet)
    dataset = open_dataset([source], record)
    files, struck = corrupt_shards(dataset, out, bug, users, seed, record)
    written = ", ".join(map(str, files)) if len(files) < 3 else f"{len(files)} shards in {out}"
    output.row("corrupt", f"{bug} in {struck} of {len(dataset)} users: {written}")
    output.object(
        {
            "schema": "fedprobe.corrupt/1",
            "bug": bug,
            "users": len(dataset),
            "struck": struck,
            "files": [str(file) for file in files],
        }
    )
