"""`fedprobe compare`: runs side by side."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import AsJson, Primary, Quiet, Seed
from fedprobe.cli.output import Output

# The findings that this version looks for, for --fail-on.
FINDINGS = ("inversion", "joined-tokens", "oov-by-position")
COMMANDS = {"train-gan": "images", "train-charlm": "words", "train-wordlm": "sentences"}


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
    from fedprobe.modeler.comparison import ComparisonError
    from fedprobe.models.stored import StoredError
    from fedprobe.runs import find, statement_together

    out = Output(as_json, quiet)
    conditions = [_condition(text) for text in fail_on or []]
    if len(runs) < 2:
        raise typer.BadParameter("compare takes two runs, or more")
    found = [find(path)[0] for path in runs]
    kinds = [COMMANDS.get(run.config.get("command")) for run in found]
    if None in kinds:
        unknown = runs[kinds.index(None)]
        raise StoredError(f"{unknown} does not say which command trained it; give runs of {', '.join(COMMANDS)}")
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
                results.append(_images(out, paths, primary, count or 500, file, seed))
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


def verdict(out: Output, kind: str, test, findings: Sequence, looked_for: str) -> dict:
    """Say what the test and the findings are; return their JSON."""
    tested = {"accuracy": test.accuracy, "p_value": test.p_value, "held_out": test.held_out}
    differ = "the sets differ" if test.differ else "no difference shown"
    chance = "p < 0.001" if test.p_value < 0.001 else f"p = {test.p_value:.3f}"
    out.row("", "")
    out.row("two-sample", f"{differ} (accuracy {test.accuracy:.2f} on {test.held_out} held out, {chance})")
    return {
        "two_sample": tested,
        "two_samples": [{"kind": kind, **tested}],
        **found_out(out, findings, looked_for),
    }


def found_out(out: Output, findings: Sequence, looked_for: str) -> dict:
    """Say what the findings are; return their JSON."""
    for number, finding in enumerate(findings, 1):
        out.row("", "")
        margin = (finding.high - finding.low) / 2
        out.row(f"finding {number}", f"{finding.name}  {finding.strength:.2f} ± {margin:.2f}: {finding.says}")
        out.row("", finding.evidence)
    out.row("", "")
    out.row("", "Nothing else stands out after that." if findings else f"No finding: {looked_for} was looked for.")
    return {"findings": [finding.to_json() for finding in findings]}


def _images(out: Output, paths: Sequence[Path], primary: Path | None, count: int, file: Path, seed: int) -> dict:
    from rich.table import Table
    from rich.text import Text

    from fedprobe.modeler import comparison
    from fedprobe.modeler.pictures import grid, in_terminal, save_png
    from fedprobe.modeler.sampling import open_sampler
    from fedprobe.models.primary import load_primary

    samplers = [open_sampler(path) for path in paths]
    folder = primary or _primary_of(samplers[0].run.config)
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
            table.add_row(words, *(_figure(side.figures[key]) for side in sides))
    if result.a.class_mix:
        table.add_row("likeliest classes", *(_classes(side.class_mix) for side in sides))
    out.print(table)
    for caution in dict.fromkeys(filter(None, (sampler.caution for sampler in samplers))):
        out.row("", "")
        out.row("samples", caution)
    said = verdict(out, "images", result.two_sample, result.findings, "inversion")
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
