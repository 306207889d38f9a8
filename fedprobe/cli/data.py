"""`fedprobe data`: the data steward's commands, which may speak of counts and faults, never of contents or ids."""

from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import (
    AsJson,
    Column,
    NoProgress,
    Quiet,
    Record,
    Seed,
    Shards,
    Tokenizer,
    shards_of,
    text_format,
)
from fedprobe.cli.output import Output

app = typer.Typer(no_args_is_help=True, help="The data steward's commands: make, describe, count and corrupt shards.")

# Of each kind: the file, how many users, what they are, what they have.
_DEMOS = {
    "images": ("digits.h5", 240, "simulated writers", "digits"),
    "text": ("docstrings.h5", 300, "modules", "sentences"),
}
_SENTENCES_A_MODULE = 67


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder to write the demo shard to.")],
    kind: Annotated[str, typer.Option(help="images, or text.")] = "images",
    users: Annotated[int | None, typer.Option(help="Writers [240]; for text modules, at least [300].")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make demo shards of real data.

    Images: genuine MNIST digits, dealt to simulated writers in each one's slant and thickness; needs the extra
    fedprobe[demo]. Text: English sentences from the docstrings of the Python packages installed here, one user a
    module; they differ between versions of what is installed. Registered as a simulation.

    Example: fedprobe data demo shards/ --kind text
    """
    from fedprobe.clients.data.demo import LEAST_USERS, write_demo_images
    from fedprobe.clients.data.demo_text import write_demo_text
    from fedprobe.clients.data.writing import require_new
    from fedprobe.privacy.population import register

    if kind not in _DEMOS:
        raise typer.BadParameter(f"--kind is one of {', '.join(_DEMOS)}")
    name, usual_users, noun, unit = _DEMOS[kind]
    users = usual_users if users is None else users
    if users < LEAST_USERS:
        raise typer.BadParameter(f"--users is at least {LEAST_USERS}, to have cohorts worth comparing")
    output = Output(as_json, quiet)
    path = out / name
    require_new(path)
    if kind == "images":
        examples = write_demo_images(path, users, seed)
    else:
        with output.progress("reading docstrings", users, "modules") as advance:
            users, examples = write_demo_text(path, users, _SENTENCES_A_MODULE * users, advance)
    register([path], "simulation")
    output.row("demo", f"{path}: {examples:,} {unit} of {users} {noun}, registered as a simulation")
    if kind == "text":
        output.hint("the text is that of the packages installed here, your own too; it differs between their versions")
    output.object({"schema": "fedprobe.demo/1", "kind": kind, "file": str(path), "users": users, "examples": examples})


@app.command()
def describe(
    context: typer.Context,
    shards: Shards = None,
    check: Annotated[bool, typer.Option("--check", help="Read every example and report all faults.")] = False,
    classes: Annotated[int | None, typer.Option(help="With --check: labels must be below this.")] = None,
    column: Column = None,
    tokenizer: Tokenizer = None,
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
    dataset = open_dataset(shards_of(shards, context), record, text=text_format(context, column, tokenizer))
    described = describe_dataset(dataset)
    least, median, most = described.examples_per_user
    if described.columns:
        schema = {"columns": list(described.columns)}
    else:
        schema = {
            "shape": [described.height, described.width, described.channels],
            "dtype": described.dtype,
            "labelled": described.labelled,
        }
    channels = "" if described.channels == 1 else f" x {described.channels} channels"
    out.row("shards", f"{len(described.shards)}, {described.kind}")
    out.row("users", f"{described.users:,}")
    out.row("examples", f"{described.examples:,} (per user: least {least}, median {median}, most {most})")
    if described.columns:
        out.row("text", f"columns: {', '.join(described.columns)}")
    else:
        images = f"{described.height} x {described.width}{channels}, {described.dtype}"
        out.row("images", f"{images}, {'labelled' if described.labelled else 'no labels'}")
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
            **schema,
            "checked": check,
        }
    )


@app.command()
def corrupt(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="IN", help="A shard, a folder of shards, or a glob.")],
    out: Annotated[Path, typer.Argument(help="The file or folder to write the struck copies to.")],
    bug: Annotated[
        str, typer.Option(help="What to rehearse, as join-first-tokens; an unknown name lists those for these shards.")
    ],
    users: Annotated[
        float | None,
        typer.Option(help="Images: the share of users that it strikes [default: 0.5 of invert-pixels, 1 of others]."),
    ] = None,
    sentences: Annotated[
        float | None, typer.Option(help="Bugs of text: the share of all sentences that it strikes [default: 0.1].")
    ] = None,
    column: Column = None,
    tokenizer: Tokenizer = None,
    seed: Seed = 0,
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rehearse a bug on copies of shards.

    Some users' images, or some sentences, are broken in a known way. What was struck is kept beside the copies, never
    in them. The population's record is carried over.

    Example: fedprobe data corrupt shards/ broken/ --bug invert-pixels --users 0.5
    """
    from fedprobe.clients.data.corrupt import corrupt_sentences, corrupt_users, require_kind
    from fedprobe.clients.data.image_bugs import USER_BUGS
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.clients.data.text_bugs import SENTENCE_BUGS

    if (sentences if bug in USER_BUGS else users if bug in SENTENCE_BUGS else None) is not None:
        option = "--sentences" if bug in USER_BUGS else "--users"
        raise typer.BadParameter(f"{option} does not go with {bug}")
    output = Output(as_json, quiet)
    dataset = open_dataset([source], record, text=text_format(context, column, tokenizer))
    require_kind(dataset, bug)
    if bug in USER_BUGS:
        of, noun = len(dataset), "users"
        files, struck = corrupt_users(dataset, out, bug, users, seed, record)
    else:
        noun = "sentences"
        share = 0.1 if sentences is None else sentences
        files, struck, of = corrupt_sentences(dataset, out, bug, share, seed, record)
    written = ", ".join(map(str, files)) if len(files) < 3 else f"{len(files)} shards in {out}"
    output.row("corrupt", f"{bug} in {struck:,} of {of:,} {noun}: {written}")
    output.object(
        {
            "schema": "fedprobe.corrupt/1",
            "bug": bug,
            noun: of,
            "struck": struck,
            "files": [str(file) for file in files],
        }
    )


@app.command()
def pack(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="IN", help="A shard, a folder of shards, or a glob.")],
    out: Annotated[Path, typer.Argument(help="The file or folder to write the packed shards to.")],
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Pack shards into flat, compressed data sets: small files that open fast and are read fast.

    What is read from them is the same bit for bit: pixels become uint8 only if all are k / 255. The population's
    record is carried over. Other commands take packed shards as they take others; corrupt shards before packing them.

    Example: fedprobe data pack shards/ packed/
    """
    from fedprobe.clients.data.packing import pack as pack_dataset
    from fedprobe.clients.data.shards import open_dataset

    output = Output(as_json, quiet, no_progress)
    dataset = open_dataset([source], record)
    with output.progress("packing", len(dataset), "users") as advance:
        files, dtype = pack_dataset(dataset, out, record, advance)
    written = ", ".join(map(str, files)) if len(files) < 3 else f"{len(files)} shards in {out}"
    output.row("pack", f"{len(dataset):,} users, {dtype}: {written}")
    if dtype == "float32":
        output.hint("the pixels stay float32: as uint8 they would not be the same")
    output.hint(f"next: give {out} wherever you gave {source}")
    output.object(
        {"schema": "fedprobe.pack/1", "users": len(dataset), "dtype": dtype, "files": [str(file) for file in files]}
    )


@app.command("import")
def import_(
    export: Annotated[Path, typer.Argument(help="The folder that fedprobe export wrote.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="People's labels: a table (CSV), or a folder with a sub-folder for each label."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the whole table to this JSON file.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """People's labels of synthetic images, as a table of the primary model's errors.

    The table is labels.csv of the export with its column `label` filled in, or what a labelling tool made of it: what
    counts are the columns `file` and `label`. A blank label is an image that nobody looked at, ? one that cannot be
    read. It reads no data, and costs no privacy.

    Example: fedprobe data import labelling/ --labels labelling/labels.csv
    """
    from fedprobe.modeler.label_table import label_table
    from fedprobe.modeler.labelling import read_export, read_labels
    from fedprobe.privacy.population import write_json

    if labels is None:
        raise typer.BadParameter("--labels is needed: this version imports labels of synthetic images")
    out = Output(as_json, quiet)
    exported = read_export(export)
    table = label_table(exported, read_labels(labels, exported))
    value = {"schema": "fedprobe.labels/1", "run": exported.run, "primary": exported.primary, **table.to_json()}
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, value)
    out.row("labels", f"{table.labelled:,} of {table.images:,} images, {table.unreadable:,} of them unreadable")
    if table.agreed.count:
        out.row("drawn as", f"{table.agreed} are what they were drawn as")
    if exported.primary is None:
        out.row("primary", "no guesses; fedprobe export --primary MODEL writes them")
    elif table.pairs:
        out.row("primary", f"{table.right} right by these labels (95% intervals), on images of {exported.run}")
        if table.errors():
            out.print(table.shown())
    if exported.caution is not None:
        out.row("samples", exported.caution)
    if output is not None:
        out.row("file", str(output))
    if not table.labelled:
        out.hint("nobody has labelled anything yet: fill in the column `label`, ? where an image cannot be read")
    out.object(value | ({"file": str(output)} if output else {}))


@app.command()
def vocabulary(
    context: typer.Context,
    shards: Shards = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write: one word a line.")] = Path(
        "vocabulary.txt"
    ),
    size: Annotated[int, typer.Option(min=1, help="How many words, at most.")] = 10_000,
    public: Annotated[
        Path | None,
        typer.Option(help="Count this public text file, by --tokenizer words unless given; opens no shard."),
    ] = None,
    column: Column = None,
    tokenizer: Tokenizer = None,
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """The most frequent words.

    Of a public text file, or exactly of a simulation's shards. The file holds words only; pad, out of vocabulary,
    begin and end are implicit ids 0 to 3.

    Example: fedprobe data vocabulary shards/ -o vocabulary.txt --size 10000
    """
    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.clients.data.vocabulary import count_public_file, count_shards
    from fedprobe.clients.data.writing import require_new
    from fedprobe.models.vocabulary import write_vocabulary

    out = Output(as_json, quiet, no_progress)
    require_new(output)
    text = text_format(context, column, tokenizer)
    if public is not None:
        if shards:
            raise typer.BadParameter("--public counts a file, so name no shards")
        # A public file is raw text, whatever the shards are.
        raw = tokenizer is None and context.obj.tokenizer is None
        counted = count_public_file(public, size, "words" if raw else text.tokenizer)
    else:
        paths = shards_of(shards, context)
        dataset = open_dataset(paths, record, simulation_for="counting a vocabulary", text=text)
        dataset.require_text()
        require_valid(dataset)
        with out.progress("counting", len(dataset), "users") as advance:
            counted = count_shards(dataset, size, advance)
    write_vocabulary(output, counted.vocabulary)
    exact = "a public file" if public else "exact: a simulation"
    out.row("vocabulary", f"{output}: {len(counted.vocabulary):,} of {counted.distinct:,} distinct words ({exact})")
    out.row("covers", f"{counted.covered / counted.tokens:.2%} of {counted.tokens:,} words")
    if public:
        out.hint('say so in fedprobe.toml: [vocabulary] file = "..." and provenance = "public"')
    out.object(
        {
            "schema": "fedprobe.vocabulary/1",
            "file": str(output),
            "size": len(counted.vocabulary),
            "distinct": counted.distinct,
            "tokens": counted.tokens,
            "covered": counted.covered / counted.tokens,
            "counts_are": "public" if public else "exact-simulation",
        }
    )
