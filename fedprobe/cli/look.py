"""`fedprobe sample` and `fedprobe compare`: looking at what was released."""

import re
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import AsJson, Primary, Quiet, Seed
from fedprobe.cli.output import Output


def sample(
    run: Annotated[Path, typer.Argument(help="A run, or the folder of one of its checkpoints.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many.")] = 64,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The PNG [default: RUN/samples/sample-SEED.png].")
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draw synthetic examples from a run.

    In the terminal and as PNG. It costs no privacy.

    Example: fedprobe sample runs/low -n 64
    """
    from fedprobe.modeler.pictures import grid, in_terminal, save_png
    from fedprobe.modeler.sampling import open_sampler, sample_images

    out = Output(as_json, quiet)
    sampler = open_sampler(run)
    images = sample_images(sampler.generator, count, seed)
    columns = max(1, round(count**0.5))
    file = save_png(output or sampler.run.samples / f"sample-{seed}.png", [grid(images, columns)])
    out.print(in_terminal(out.stdout, [images]))
    out.row("samples", f"{count} of {sampler.run.name} after round {sampler.round}: {file}")
    out.object(
        {
            "schema": "fedprobe.sample/1",
            "kind": "images",
            "count": count,
            "shape": list(images.shape[1:]),
            "file": str(file),
            "run": str(sampler.run.path),
            "round": sampler.round,
        }
    )


def compare(
    a: Annotated[Path, typer.Argument(help="A run, or the folder of one of its checkpoints.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    primary: Primary = None,
    count: Annotated[int, typer.Option("-n", "--count", min=40, help="Samples a side.")] = 500,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The PNG [default: compare-A-B.png beside A].")
    ] = None,
    fail_on: Annotated[
        list[str] | None, typer.Option(help="Exit with 5 if a finding is this strong, e.g. 'inversion>0.5'.")
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show two runs side by side.

    The same latents through both generators, figures, a two-sample test, findings. Everything is made of synthetic
    samples: it costs no privacy. With a primary model (by default the one that the cohorts were measured with) class
    mix and confidence are compared, too.

    Example: fedprobe compare runs/high runs/low
    """
    from rich.table import Table

    from fedprobe.modeler import comparison
    from fedprobe.modeler.pictures import grid, in_terminal, save_png
    from fedprobe.modeler.sampling import open_sampler
    from fedprobe.models.primary import load_primary
    from fedprobe.runs import statement_together

    out = Output(as_json, quiet)
    conditions = [_condition(text) for text in fail_on or []]
    samplers = [open_sampler(path) for path in (a, b)]
    folder = primary or _primary_of(samplers[0].run.config)
    model = load_primary(folder)[0] if folder is not None else None
    result = comparison.compare(*samplers, model, count, seed)
    sides = (result.a, result.b)
    name = f"compare-{samplers[0].run.name}-{samplers[1].run.name}.png"
    file = output or samplers[0].run.path.parent / name
    save_png(file, [grid(side.shown, 8) for side in sides])
    runs = list({sampler.run.path: sampler.run for sampler in samplers}.values())
    statement = statement_together(runs)

    out.print(in_terminal(out.stdout, [side.shown for side in sides]))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for side, sampler in zip(sides, samplers, strict=True):
        table.add_column(f"{side.name}\n({sampler.run.rule.criterion})")
    for key, words in (("mean_ink", "mean ink"), ("contrast", "contrast"), ("confidence", "confidence")):
        if key in result.a.figures:
            table.add_row(words, *(_figure(side.figures[key]) for side in sides))
    if result.a.class_mix:
        table.add_row("likeliest classes", *(_classes(side.class_mix) for side in sides))
    out.print(table)
    test = result.two_sample
    verdict = "the sets differ" if test.differ else "no difference shown"
    chance = "p < 0.001" if test.p_value < 0.001 else f"p = {test.p_value:.3f}"
    out.row("", "")
    out.row("two-sample", f"{verdict} (accuracy {test.accuracy:.2f} on {test.held_out} held out, {chance})")
    for number, finding in enumerate(result.findings, 1):
        out.row("", "")
        margin = (finding.high - finding.low) / 2
        out.row(f"finding {number}", f"{finding.name}  {finding.strength:.2f} ± {margin:.2f}: {finding.says}")
        out.row("", finding.evidence)
    out.row("", "")
    out.row(
        "",
        "Nothing else stands out after that." if result.findings else "No finding: inversion was looked for.",
    )
    out.row("", "")
    out.statement(statement)
    out.row("picture", str(file))
    out.object(
        {
            "schema": "fedprobe.compare/1",
            "runs": [
                {
                    "run": str(sampler.run.path),
                    "round": side.round,
                    "cohort": sampler.run.rule.to_json(),
                    **{key: figure.to_json() for key, figure in side.figures.items()},
                    "class_mix": side.class_mix and [figure.to_json() for figure in side.class_mix],
                }
                for side, sampler in zip(sides, samplers, strict=True)
            ],
            "samples": count,
            "two_sample": {"accuracy": test.accuracy, "p_value": test.p_value, "held_out": test.held_out},
            "findings": [finding.to_json() for finding in result.findings],
            "privacy": statement.to_json(),
            "file": str(file),
        }
    )
    strengths = {finding.name: finding.strength for finding in result.findings}
    if any(strengths.get(name, 0.0) > limit for name, limit in conditions):
        raise typer.Exit(5)


def _condition(text: str) -> tuple[str, float]:
    match = re.fullmatch(r"\s*([a-z-]+)\s*>\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*", text)
    if not match or match[1] != "inversion":
        raise typer.BadParameter("--fail-on takes FINDING>STRENGTH with a finding this version knows: inversion>0.5")
    return match[1], float(match[2])


def _primary_of(config: dict) -> Path | None:
    """The model that the run's cohort was measured with, if it is still there."""
    path = config.get("cohort", {}).get("primary")
    return Path(path) if path is not None and Path(path).is_dir() else None


def _figure(figure) -> str:
    return f"{figure.value:.3f} ± {figure.margin:.3f}"


def _classes(mix) -> str:
    """The three classes that the primary model sees most often."""
    ranked = sorted(range(len(mix)), key=lambda label: -mix[label].value)[:3]
    return ", ".join(f"{label}: {mix[label].value:.0%}" for label in ranked)
