"""What `fedprobe compare` shows of generators of images."""

from collections.abc import Collection, Sequence
from pathlib import Path

from fedprobe.cli.output import Output
from fedprobe.modeler.printable import letters, one_line

# Grids a row in the picture.
_ACROSS = 4
_FIGURES = (("mean_ink", "mean ink"), ("contrast", "contrast"), ("confidence", "confidence"))


def images(
    out: Output, paths: Sequence[Path], primary: Path | None, count: int, file: Path, seed: int, telling: bool
) -> dict:
    """Hold generators against the first of them, show it, draw `file`, and return its JSON."""
    from rich.table import Table
    from rich.text import Text

    from fedprobe.cli.compare import Tested, verdict
    from fedprobe.modeler import comparison
    from fedprobe.modeler.labelled_picture import Labelled, save_labelled
    from fedprobe.modeler.pictures import grid
    from fedprobe.modeler.sampling import open_sampler
    from fedprobe.modeler.telling import telling as telling_of
    from fedprobe.models.primary import load_primary

    samplers = [open_sampler(path) for path in paths]
    folder = primary or comparison.primary_of(samplers[0].run)
    model = load_primary(folder)[0] if folder is not None else None
    with out.waiting("trying what could have happened to them", by_line=False):
        results = comparison.compare_all(samplers, model, count, seed)
    sides = [results[0].a, *(result.b for result in results)]
    letter = dict(zip((side.name for side in sides), letters(len(sides)), strict=True))
    panes = [[Labelled(f"{letter[side.name]}  {side.name}", grid(side.shown, 8))] for side in sides]
    rows = [panes[start : start + _ACROSS] for start in range(0, len(panes), _ACROSS)]
    differs = comparison.most_different(results)
    told = telling_of(differs.a.drawn, differs.b.drawn, seed=seed) if differs.two_sample.differ else None
    if told is not None:
        rows.append(_told(told, letter[differs.a.name], letter[differs.b.name], round(0.6 * panes[0][0].grey.shape[1])))
    save_labelled(file, rows)
    _panes(out, [side.name for side in sides], [side.shown for side in sides])
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for side, sampler in zip(sides, samplers, strict=True):
        table.add_column(Text(f"{one_line(side.name)}\n({sampler.run.rule.heading})"))
    for key, words in _FIGURES:
        if key in sides[0].figures:
            table.add_row(words, *(side.figures[key].says() if key in side.figures else "" for side in sides))
    if any(side.class_mix for side in sides):
        mixes = (comparison.likeliest(side.class_mix) if side.class_mix else "" for side in sides)
        table.add_row("likeliest classes", *mixes)
    out.print(table)
    out.row("", "± is of these samples alone: noise and training move the figures of runs by more")
    if primary is not None and (why := comparison.unasked(samplers)) is not None:
        out.row("", "")
        out.row("primary", why)
    for caution in dict.fromkeys(filter(None, (sampler.caution for sampler in samplers))):
        out.row("", "")
        out.row("samples", caution)
    if told is not None:
        _say_telling(out, differs, told, telling)
    pairs = [Tested(one.a.name, one.b.name, one.two_sample, one.findings) for one in results]
    names = dict.fromkeys(name for one in results for name in one.looked_for)
    said = verdict(out, "images", pairs, list(names))
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


def can_be_found(paths: Sequence[Path], primary: Path | None) -> Collection[str]:
    """The names of what `images` can find between these."""
    from fedprobe.modeler import comparison
    from fedprobe.modeler.sampling import open_sampler

    samplers = [open_sampler(path) for path in paths]
    return comparison.can_be_found(samplers, (primary or comparison.primary_of(samplers[0].run)) is not None)


def film(out: Output, paths: Sequence[Path], run: Path, file: Path, seed: int) -> dict:
    """Show checkpoints of one run, a row each, all of the same latents; draw `file`, and return its JSON."""
    from fedprobe.modeler.film_strip import FRAMES, film_strip
    from fedprobe.modeler.labelled_picture import Labelled, save_labelled
    from fedprobe.modeler.pictures import grid, in_terminal
    from fedprobe.runs import find

    strips = film_strip(paths, seed=seed)
    save_labelled(file, [[[Labelled(f"round {strip.round}", grid(strip.images, FRAMES))]] for strip in strips])
    for strip in strips:
        out.row("round", str(strip.round))
        out.print(in_terminal(out.stdout, [strip.images], rows=1))
    rule = find(run)[0].rule.to_json()
    rounds = [
        {"run": str(find(path)[0].path), "given": str(path), "kind": "images", "round": strip.round, "cohort": rule}
        for path, strip in zip(paths, strips, strict=True)
    ]
    return {"runs": rounds, "findings": [], "file": str(file)}


def _panes(out: Output, names: Sequence[str], shown: Sequence) -> None:
    """Grids side by side, as many as fit; where they take more than one row, each row under its names."""
    from fedprobe.modeler.pictures import in_terminal, panes_across

    across = panes_across(out.stdout, shown[0])
    for start in range(0, len(shown), across):
        if len(shown) > across:
            out.row("", ", ".join(names[start : start + across]))
        out.print(in_terminal(out.stdout, shown[start : start + across]))


def _told(told, a: str, b: str, width: int) -> list:
    """The row of the picture that tells two runs, called `a` and `b` in it, apart."""
    from fedprobe.modeler.labelled_picture import Labelled
    from fedprobe.modeler.pictures import grid, map_of

    typical = [
        Labelled(
            f"most typical of {name}; below: the nearest of {other}", grid(_beside(side.samples, side.counterparts), 8)
        )
        for name, other, side in ((a, b, told.a), (b, a, told.b))
    ]
    places = Labelled(f"map of all samples: {a} black, {b} white", map_of((told.map_a, told.map_b), width))
    return [typical, [places]]


def _say_telling(out: Output, differs, told, shown: bool) -> None:
    from fedprobe.modeler.pictures import in_terminal

    names = (differs.a.name, differs.b.name)
    out.row("", "")
    below = f"what is most typical of {names[0]} and of {names[1]}, each above the nearest of the other"
    out.row("telling", f"in the picture, below the grids: {below}; a map of all samples")
    if shown:
        for name, side in zip(names, (told.a, told.b), strict=True):
            out.row("", f"typical of {name}, and the nearest of the other")
            out.print(in_terminal(out.stdout, [side.samples, side.counterparts], rows=1))


def _beside(samples, counterparts):
    """Samples in one row, and their counterparts in the row below."""
    import numpy as np

    return np.concatenate([samples, counterparts])
