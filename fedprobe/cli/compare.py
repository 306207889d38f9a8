"""`fedprobe compare`: runs side by side."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import AsJson, Primary, Quiet, Seed
from fedprobe.cli.output import Output
from fedprobe.modeler.findings import LOOKED_FOR

# The findings that this version looks for, for --fail-on.
FINDINGS = tuple(name for names in LOOKED_FOR.values() for name in names)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="A B [...]", help="Runs, or folders of checkpoints; A is the healthy one.")
    ],
    primary: Primary = None,
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", min=40, help="Samples a side [default: 500; words 20000, sentences 10000]."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Words: how many of each run to show.")] = 20,
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
    """Show runs side by side.

    Images: the same latents through two generators, figures, a two-sample test, findings. With a primary model (by
    default the one that the cohorts were measured with) class mix and confidence are compared, too. Words: each
    model's most probable ones, those that rose most; of one-round runs those released, with their counts. Sentences:
    rates of words out of vocabulary by position. Runs of words and of sentences may be given together, two or more of
    each. Everything is made of synthetic samples and released figures: it costs no privacy.

    Example: fedprobe compare runs/high runs/low
    """
    from fedprobe.cli.compare_text import sentences, words
    from fedprobe.modeler.comparison import COUNT, ComparisonError, kind_of
    from fedprobe.runs import find, statement_together

    out = Output(as_json, quiet)
    conditions = [_condition(text) for text in fail_on or []]
    if len(runs) < 2:
        raise typer.BadParameter("compare takes two runs, or more")
    found = [find(path)[0] for path in runs]
    kinds = [kind_of(run) for run in found]
    groups = {kind: [path for path, its in zip(runs, kinds, strict=True) if its == kind] for kind in kinds}
    for kind, paths in groups.items():
        if len(paths) < 2:
            raise ComparisonError(f"only one of the runs makes {kind}, and it takes two to compare")
    if "images" in groups and (len(groups) > 1 or len(runs) > 2):
        raise ComparisonError("images are compared two runs at a time")
    statement = statement_together(list({run.path: run for run in found}.values()))
    file = output or found[0].path.parent / f"compare-{found[0].name}-{found[-1].name}.png"
    results = []
    for kind, paths in groups.items():
        match kind:
            case "images":
                results.append(_images(out, paths, primary, count or COUNT, file, seed))
            case "words":
                results.append(words(out, paths, count, top, seed))
            case _:
                results.append(sentences(out, paths, count, file, seed))
        out.row("", "")
    out.statement(statement)
    keys = dict.fromkeys(key for result in results for key in result)
    if "file" in keys:
        out.row("picture", str(file))
    merged = {key: _merged([result[key] for result in results if key in result]) for key in keys}
    order = {str(path): place for place, path in enumerate(runs)}
    merged["runs"] = sorted(merged["runs"], key=lambda run: order[run["given"]])
    # Tables of released words alone are no samples to test.
    merged = {"two_sample": None, "two_samples": []} | merged
    out.object({"schema": "fedprobe.compare/1", **merged, "privacy": statement.to_json()})
    strengths = {finding["name"]: finding["strength"] for finding in merged["findings"]}
    if any(strengths.get(name, 0.0) > limit for name, limit in conditions):
        raise typer.Exit(5)


def verdict(out: Output, kind: str, test, findings: Sequence) -> dict:
    """Say what the test and the findings are; return their JSON."""
    tested = {"accuracy": test.accuracy, "p_value": test.p_value, "held_out": test.held_out}
    out.row("", "")
    out.row("two-sample", test.says())
    return {
        "two_sample": tested,
        "two_samples": [{"kind": kind, **tested}],
        **found_out(out, kind, findings),
    }


def found_out(out: Output, kind: str, findings: Sequence) -> dict:
    """Say what the findings are; return their JSON."""
    for number, finding in enumerate(findings, 1):
        out.row("", "")
        out.row(f"finding {number}", f"{finding.name}  {finding.strength:.2f} ± {finding.margin:.2f}: {finding.says}")
        out.row("", finding.evidence)
    out.row("", "")
    none = f"No finding: {', '.join(LOOKED_FOR[kind])} was looked for."
    out.row("", "Nothing else stands out after that." if findings else none)
    return {"findings": [finding.to_json() for finding in findings]}


def _images(out: Output, paths: Sequence[Path], primary: Path | None, count: int, file: Path, seed: int) -> dict:
    from rich.table import Table
    from rich.text import Text

    from fedprobe.modeler import comparison
    from fedprobe.modeler.pictures import grid, in_terminal, save_png
    from fedprobe.modeler.sampling import open_sampler
    from fedprobe.models.primary import load_primary

    samplers = [open_sampler(path) for path in paths]
    folder = primary or comparison.primary_of(samplers[0].run)
    model = load_primary(folder)[0] if folder is not None else None
    result = comparison.compare(*samplers, model, count, seed)
    sides = (result.a, result.b)
    save_png(file, [grid(side.shown, 8) for side in sides])
    out.print(in_terminal(out.stdout, [side.shown for side in sides]))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for side, sampler in zip(sides, samplers, strict=True):
        table.add_column(Text(f"{side.name}\n({sampler.run.rule.criterion})"))
    for key, words in (("mean_ink", "mean ink"), ("contrast", "contrast"), ("confidence", "confidence")):
        if key in result.a.figures:
            table.add_row(words, *(side.figures[key].says() for side in sides))
    if result.a.class_mix:
        table.add_row("likeliest classes", *(comparison.likeliest(side.class_mix) for side in sides))
    out.print(table)
    for caution in dict.fromkeys(filter(None, (sampler.caution for sampler in samplers))):
        out.row("", "")
        out.row("samples", caution)
    said = verdict(out, "images", result.two_sample, result.findings)
    return {
        "runs": [
            {
                "run": str(sampler.run.path),
                "given": str(path),
                "kind": "images",
                "round": side.round,
                "cohort": sampler.run.rule.to_json(),
                **{key: figure.to_json() for key, figure in side.figures.items()},
                "class_mix": side.class_mix and [figure.to_json() for figure in side.class_mix],
            }
            for side, sampler, path in zip(sides, samplers, paths, strict=True)
        ],
        "samples": count,
        **said,
        "file": str(file),
    }


def _merged(values: Sequence) -> object:
    """Lists of several kinds of runs become one; of a single value the first counts, that of the first kind."""
    return [item for value in values for item in value] if isinstance(values[0], list) else values[0]


def _condition(text: str) -> tuple[str, float]:
    match = re.fullmatch(r"\s*([a-z-]+)\s*>\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*", text)
    if not match or match[1] not in FINDINGS:
        raise typer.BadParameter(
            f"--fail-on takes FINDING>STRENGTH with a finding this version knows: {', '.join(FINDINGS)}"
        )
    return match[1], float(match[2])
