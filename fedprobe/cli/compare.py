"""`fedprobe compare`: runs side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import AsJson, Primary, Quiet, Seed
from fedprobe.cli.output import Output, error
from fedprobe.modeler.findings import LOOKED_FOR


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="A B [...]", help="Runs, or folders of checkpoints; A is the healthy one.")
    ],
    primary: Primary = None,
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", min=40, help="Samples a side [default: 500; words 20000, sentences 10000]."),
    ] = None,
    over_time: Annotated[
        bool, typer.Option("--over-time", help="Of one run: rounds from its first checkpoint to its last.")
    ] = False,
    telling: Annotated[
        bool, typer.Option("--telling", help="Images: show the most telling samples here, too.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Words: how many of each run to show.")] = 20,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The PNG [default: compare-A-B[-...].png beside A].")
    ] = None,
    fail_on: Annotated[
        list[str] | None, typer.Option(help="Exit with 5 if a finding is stronger, e.g. 'inversion>0.5'.")
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show runs side by side.

    Images: the same latents through all generators, and figures; each run is held against the first one: a
    two-sample test, findings, and in the picture the most telling samples. With a primary model (by default the one
    that the cohorts were measured with) class mix and confidence are compared, too, and what it confuses on one
    side only. With --over-time one run is shown as a film strip of its checkpoints. Words: each model's most
    probable ones, those that rose most; of one-round runs those released, with their counts. Sentences: rates of
    words out of vocabulary by position. Runs of words and of sentences may be given together, two or more of each.
    Everything is made of synthetic samples and released figures: it costs no privacy.

    Example: fedprobe compare runs/high runs/low
    """
    from fedprobe.cli.compare_images import can_be_found, film, images
    from fedprobe.cli.compare_text import sentences, words
    from fedprobe.cli.default_file import beside_the_first
    from fedprobe.cli.fail_on import Condition, held
    from fedprobe.modeler.comparison import COUNT, ComparisonError, cohort_caution, kind_of
    from fedprobe.modeler.film_strip import rounds_of
    from fedprobe.models.devices import prepare
    from fedprobe.runs import find, statement_together

    out = Output(as_json, quiet)
    prepare("cpu")
    conditions = [Condition.of(text) for text in fail_on or []]
    if over_time:
        if len(runs) > 1 or conditions:
            raise typer.BadParameter("--over-time shows one run, and looks for no findings")
        strip = runs[0]
        runs = rounds_of(strip)
    if len(runs) < 2:
        raise typer.BadParameter("compare takes two runs, or more")
    found = [find(path)[0] for path in runs]
    kinds = [kind_of(run) for run in found]
    groups = {kind: [path for path, its in zip(runs, kinds, strict=True) if its == kind] for kind in kinds}
    for kind, paths in groups.items():
        if len(paths) < 2:
            raise ComparisonError(f"only one of the runs makes {kind}, and it takes two to compare")
    if "images" in groups and len(groups) > 1:
        raise ComparisonError("images are compared with images alone; give runs of text apart")
    searched = {kind: LOOKED_FOR[kind] for kind in groups}
    if conditions and "images" in groups:
        searched["images"] = can_be_found(groups["images"], primary)
    for condition in conditions:
        condition.require_looked_for(searched)
    statement = statement_together(list({run.path: run for run in found}.values()))
    file = output or beside_the_first(found, "compare", ".png", ["over-time"] if over_time else [])
    results = []
    for kind, paths in groups.items():
        before = sum(len(result["findings"]) for result in results)
        match kind:
            case "images" if over_time:
                results.append(film(out, paths, strip, file, seed))
            case "images":
                results.append(images(out, paths, primary, count or COUNT, file, seed, telling))
            case "words":
                results.append(words(out, paths, count, top, seed, before))
            case _:
                results.append(sentences(out, paths, count, file, seed, before))
        out.row("", "")
    for path, run, kind in zip(runs, found, kinds, strict=True):
        # Images have their cohorts in the heading.
        if kind != "images" and run.rule.where is not None:
            out.row("cohort", f"{path}: {run.rule.heading}")
    caution = cohort_caution(found)
    if caution is not None and any(result["findings"] for result in results):
        out.row("cohorts", caution)
        out.row("", "")
    out.statement(statement)
    keys = dict.fromkeys(key for result in results for key in result)
    if "file" in keys:
        out.row("picture", str(file))
    merged = {key: _merged([result[key] for result in results if key in result]) for key in keys}
    order = {str(path): place for place, path in enumerate(runs)}
    merged["runs"] = sorted(merged["runs"], key=lambda run: order[run["given"]])
    # Tables of released words alone are no samples to test.
    merged = {"two_sample": None, "two_samples": []} | merged | {"cohorts_differ": caution is not None}
    out.object({"schema": "fedprobe.compare/1", **merged, "privacy": statement.to_json()})
    if said := held(conditions, merged["findings"]):
        error(f"--fail-on: {', '.join(said)}", 5, as_json)
        raise typer.Exit(5)


@dataclass(frozen=True)
class Tested:
    """What was tested between the run `against`, which is the healthy one, and the run `of`; by name."""

    against: str
    of: str
    two_sample: object
    findings: Sequence


def verdict(out: Output, kind: str, tested: Sequence[Tested], looked_for: Sequence[str], before: int = 0) -> dict:
    """Say what tests and findings are; return their JSON.

    `two_sample` is of the pair that differs most (`TwoSample.apart`).
    """
    out.row("", "")
    for one in tested:
        says = one.two_sample.says()
        out.row("two-sample", says if len(tested) == 1 else f"{one.of}: {says}")
    return {
        "two_sample": max((one.two_sample for one in tested), key=lambda test: test.apart).to_json(),
        "two_samples": [
            {"kind": kind, "of": one.of, "against": one.against, **one.two_sample.to_json()} for one in tested
        ],
        **found_out(out, looked_for, [(one.of, finding) for one in tested for finding in one.findings], before),
    }


def in_words(finding) -> str:
    """A finding in one line: its name, strength and 95% interval, and what it says."""
    return f"{finding.name}  {finding.strength:.2f} ({finding.low:.2f} to {finding.high:.2f}): {finding.says}"


def found_out(out: Output, looked_for: Sequence[str], findings: Sequence[tuple[str, object]], before: int = 0) -> dict:
    """Say what the findings are, each with the run that it was made of; return their JSON, the strongest first.

    What is no more than a symptom comes after causes. Numbers go on from the findings that were said `before`.
    """
    ranked = sorted(findings, key=lambda one: (one[1].symptom, -one[1].strength))
    for number, (_, finding) in enumerate(ranked, before + 1):
        out.row("", "")
        out.row(f"finding {number}", in_words(finding))
        out.row("", finding.evidence)
        if finding.shown is not None:
            _shown(out, finding.shown)
    out.row("", "")
    none = f"No finding: {', '.join(looked_for)} was looked for."
    out.row("", "Nothing else was found." if ranked else none)
    return {"findings": [finding.to_json() | {"of": of} for of, finding in ranked]}


def _shown(out: Output, shown) -> None:
    """The samples that show a finding best: words in a line, images as a strip of small ones."""
    from fedprobe.modeler.findings.shown import ShownImages
    from fedprobe.modeler.pictures import in_terminal

    out.row("shown", shown.says())
    if isinstance(shown, ShownImages):
        out.print(in_terminal(out.stdout, [images for _, images in shown.rows], rows=1))


def _merged(values: Sequence) -> object:
    """Lists of several kinds of runs become one; of a single value the first counts, that of the first kind."""
    return [item for value in values for item in value] if isinstance(values[0], list) else values[0]
