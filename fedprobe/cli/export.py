"""`fedprobe export`: synthetic images for a labelling tool."""

from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import AsJson, Quiet, Seed
from fedprobe.cli.output import Output


def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="A run of train-gan, or the folder of one of its checkpoints.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("labelling"),
    count: Annotated[
        int, typer.Option("-n", "--count", min=1, max=10_000, help="How many images, of each label where there are.")
    ] = 100,
    label: Annotated[
        list[int] | None, typer.Option(min=0, help="Images of this label; may be repeated [default: of each label].")
    ] = None,
    primary: Annotated[
        Path | None, typer.Option(help="Write this classifier's guess beside each image: a train-classifier folder.")
    ] = None,
    truncation: Annotated[
        float | None,
        typer.Option(help="Below 1 nearer to the middle of each label: more typical, less varied [default: 0.5]."),
    ] = None,
    layout: Annotated[
        str, typer.Option(help="flat: all images in one folder; folders: in one for each label that was drawn.")
    ] = "flat",
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write synthetic images to a folder that a labelling tool can take.

    Each is a PNG, of runs with --classes one of the more typical of its label, so that people can read it
    (--truncation 1 draws from all). labels.csv says which label it was drawn for and, with --primary, what the primary
    model takes it for and how sure it is. Its column `label` is for people to fill in; fedprobe data import reads it
    back. It costs no privacy.

    Example: fedprobe export runs/digits --primary runs/primary -n 100 -o labelling
    """
    from fedprobe.modeler.label_table import Rate, agreement
    from fedprobe.modeler.labelling import LAYOUTS, TABLE, require_guesses
    from fedprobe.modeler.labelling import export as write_export
    from fedprobe.modeler.sampling import TYPICAL, open_sampler
    from fedprobe.models.primary import load_primary

    if layout not in LAYOUTS:
        raise typer.BadParameter(f"--layout is {' or '.join(LAYOUTS)}")
    out = Output(as_json, quiet)
    sampler = open_sampler(run)
    for one in label or []:
        sampler.require_label(one)
    classes = getattr(sampler.generator, "classes", None)
    labels = sorted(set(label or [])) or ([None] if classes is None else list(range(classes)))
    primary = primary or context.obj.primary
    if truncation is not None and not 0 < truncation <= 1:
        raise typer.BadParameter("--truncation is above 0 and at most 1")
    if truncation not in (None, 1) and labels == [None]:
        raise typer.BadParameter("--truncation is for runs with labels: train-gan --method one-round --classes K")
    truncation = truncation or (1.0 if labels == [None] else TYPICAL)
    model = None if primary is None else load_primary(primary)[0]
    if model is not None:
        require_guesses(sampler, model)
    name = None if primary is None else str(primary)
    made = write_export(sampler, output, count, labels, seed, layout, model, name, truncation)
    out.row("export", f"{len(made.images):,} images of {sampler.run.name} after round {sampler.round}: {output}")
    agreed = agreement(made)
    value = {}
    if agreed:
        whole = Rate(sum(rate.hits for _, rate in agreed), sum(rate.count for _, rate in agreed))
        out.row("primary", f"takes {whole} of them for what they were drawn as (95% interval)")
        least, rate = min(agreed, key=lambda one: (one[1].value, one[0]))
        out.row("", f"the fewest of label {least}: {rate}")
        by_label = [{"label": one, **rate.to_json()} for one, rate in agreed]
        value = {"agreement": whole.to_json(), "agreement_by_label": by_label}
    if sampler.caution:
        out.row("", sampler.caution)
    table = output / TABLE
    out.hint(f"fill in the column `label` of {table}, then: fedprobe data import {output} --labels {table}")
    out.object(
        {
            "schema": "fedprobe.export/1",
            "folder": str(output),
            "table": str(table),
            "count": len(made.images),
            "labels": [one for one in labels if one is not None],
            "run": str(sampler.run.path),
            "round": sampler.round,
            "truncation": truncation,
            "primary": made.primary,
            **value,
        }
    )
