"""`fedprobe report`: runs as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import AsJson, Primary, Quiet, Seed
from fedprobe.cli.output import Output


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Runs, or folders of checkpoints; the healthy one first.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page [default: report-A-B[-...].html beside A].")
    ] = None,
    primary: Primary = None,
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", min=40, help="Samples a run [default: 500; words 20000, sentences 10000]."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Words: how many of each run to show.")] = 20,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write what runs say as one HTML file that needs nothing else.

    Epsilon first, with everything that must be said beside it; findings with their evidence; samples, which can be
    enlarged; words; rates of words out of vocabulary by position; what each run is and how to train it again. One run,
    or several of any kind: those of a kind are held against the first of it. No script, no network; made from run
    directories alone, and it costs no privacy.

    Example: fedprobe report runs/high runs/low -o report.html
    """
    from fedprobe.cli.compare import in_words
    from fedprobe.cli.default_file import beside_the_first
    from fedprobe.modeler.comparison import unasked
    from fedprobe.modeler.report.content import make_report
    from fedprobe.modeler.report.page import render, require_html, write_report
    from fedprobe.models.devices import prepare
    from fedprobe.runs import find

    out = Output(as_json, quiet)
    prepare("cpu")
    file = output or beside_the_first([find(path)[0] for path in runs], "report", ".html")
    require_html(file)
    with out.waiting("comparing what they show", by_line=False):
        made = make_report(runs, primary, count, top, seed, output)
    write_report(file, render(made))
    size = file.stat().st_size
    for number, (finding, _) in enumerate(made.findings, 1):
        out.row(f"finding {number}", in_words(finding))
    if primary is not None and (why := unasked([one.sampler for one in made.opened if one.kind == "images"])):
        out.row("primary", why)
    if made.looked_for and not made.findings:
        out.row("", f"No finding: {made.looked_for} was looked for.")
    weight = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
    out.row("report", f"{file}, {weight}; open it in a browser")
    out.statement(made.statement)
    out.object(
        {
            "schema": "fedprobe.report/1",
            "file": str(file),
            "bytes": size,
            "runs": [
                {
                    "run": str(one.run.path),
                    "given": str(one.given),
                    "kind": one.kind,
                    "round": one.round,
                    "cohort": one.run.rule.to_json(),
                }
                for one in made.opened
            ],
            "findings": [finding.to_json() for finding, _ in made.findings],
            "privacy": made.statement.to_json(),
        }
    )
