"""What `fedprobe compare` shows of language models."""

from collections.abc import Sequence
from pathlib import Path

import typer

from fedprobe.cli.output import Output
from fedprobe.modeler.findings import LOOKED_FOR
from fedprobe.modeler.printable import headings, legend, one_line, visible

# Cells of a figure beside a word.
_FIGURE = 9


def words(out: Output, paths: Sequence[Path], count: int | None, top: int, seed: int, before: int = 0) -> dict:
    """Compare models of words, show it, and return its JSON; so many findings were said `before`."""
    from rich.text import Text

    from fedprobe.cli.compare import Tested, verdict
    from fedprobe.modeler import text_sampling as sampling
    from fedprobe.modeler.comparison import names_of
    from fedprobe.modeler.text_comparison import compare_words
    from fedprobe.modeler.word_table import is_word_table
    from fedprobe.runs import find

    drawn = count or sampling.DRAWN_WORDS
    tables = [is_word_table(find(path)[0]) for path in paths]
    if all(tables) and count is not None:
        raise typer.BadParameter("-n is for what draws samples; these runs released counted words")
    if any(tables):
        return _word_tables(out, paths, 0 if all(tables) else drawn, top, seed, before)
    samplers = [sampling.open_text_sampler(path) for path in paths]
    result = compare_words(samplers, names_of(samplers), drawn, top, seed)

    out.row("words", "most probable, with their joint probability in 1e-3; a blank inside is shown as ␣")
    out.row("", "")
    best, over = _table(out, result.names, _FIGURE)
    best.add_column("", justify="right")
    for name in over:
        best.add_column(Text(name), overflow="ellipsis", no_wrap=True)
        best.add_column("", justify="right", no_wrap=True)
    for rank in range(max(map(len, result.top))):
        cells: list[Text | str] = [str(rank + 1)]
        for side, ranked in enumerate(result.top):
            here = ranked[rank] if rank < len(ranked) else None
            cells += [_shown(here.word), f"{1000 * here.probabilities[side]:.3g}"] if here else ["", ""]
        best.add_row(*cells)
    out.print(best)
    if result.risen:
        out.row("", "")
        out.row("risen", f"the words that rose most from {result.names[0]} to {result.names[-1]}")
        out.row("", "")
        risen, over = _table(out, result.names)
        risen.add_column("word", overflow="ellipsis", no_wrap=True)
        for name in over:
            risen.add_column(Text(name), justify="right", no_wrap=True)
        risen.add_column("log ratio", justify="right", no_wrap=True)
        for word in result.risen:
            cells = [f"{1000 * probability:.3g}" for probability in word.probabilities]
            risen.add_row(_shown(word.word), *cells, f"{word.log_ratio:+.1f}")
        out.print(risen)
    tested = Tested(result.names[0], result.names[-1], result.two_sample, result.findings)
    said = verdict(out, "words", [tested], LOOKED_FOR["words"], before)
    return {
        "runs": _runs(samplers, paths, "words", [{} for _ in paths]),
        "samples": drawn,
        **said,
        "top_words": [[_word_json(word) for word in ranked] for ranked in result.top],
        "risen_words": [_word_json(word) for word in result.risen],
    }


def _word_tables(out: Output, paths: Sequence[Path], drawn: int, top: int, seed: int, before: int) -> dict:
    """Compare runs of words of which some, or all, released tables of them."""
    from rich.text import Text

    from fedprobe.cli.compare import found_out
    from fedprobe.modeler.comparison import names_of
    from fedprobe.modeler.text_sampling import open_text_sampler
    from fedprobe.modeler.word_table import WordTable, is_word_table, open_word_table
    from fedprobe.modeler.word_table_comparison import compare_word_tables
    from fedprobe.runs import find

    sides = [open_word_table(path) if is_word_table(find(path)[0]) else open_text_sampler(path) for path in paths]
    result = compare_word_tables(sides, names_of(sides), drawn, top, seed)
    limits = [side.threshold if isinstance(side, WordTable) else None for side in sides]

    mixed = "" if None not in limits else "; of a model, the most probable and 1e-3 of their probability"
    out.row("words", f"released, with their noised counts{mixed}")
    out.row("", "a blank inside is shown as ␣")
    out.row("", "")
    best, over = _table(out, result.names, _FIGURE)
    best.add_column("", justify="right")
    for name in over:
        best.add_column(Text(name), overflow="ellipsis", no_wrap=True)
        best.add_column("", justify="right", no_wrap=True)
    for rank in range(max(1, *map(len, result.ranked))):
        cells: list[Text | str] = [str(rank + 1)]
        for ranked, limit in zip(result.ranked, limits, strict=True):
            if rank < len(ranked):
                word = ranked[rank]
                figure = f"{1000 * word.probability:.3g}" if word.count is None else f"{word.count:.1f}"
                cells += [_shown(word.word), figure]
            else:
                cells += [Text("none above", style="dim") if not rank else "", f"{limit:.1f}" if not rank else ""]
        best.add_row(*cells)
    out.print(best)
    if result.risen:
        out.row("", "")
        out.row("risen", f"the words that rose most from {result.names[0]} to {result.names[-1]}")
        out.row("", "")
        risen, over = _table(out, (result.names[0], result.names[-1]))
        risen.add_column("word", overflow="ellipsis", no_wrap=True)
        for name in over:
            risen.add_column(Text(name), justify="right", no_wrap=True)
        for word in result.risen:
            was, now = word.counts
            risen.add_row(_shown(word.word), f"≤ {limits[0]:.1f}" if was is None else f"{was:.1f}", f"{now:.1f}")
        out.print(risen)
    if result.nothing is None:
        said = found_out(out, LOOKED_FOR["words"], [(result.names[-1], finding) for finding in result.findings], before)
    else:
        out.row("", "")
        out.row("", result.nothing)
        said = {"findings": []}
    return {
        "runs": _runs(sides, paths, "words", [{"threshold": limit} for limit in limits]),
        "samples": drawn,
        **said,
        "top_words": [
            [{"word": word.word, "count": word.count, "joint_probability": word.probability} for word in ranked]
            for ranked in result.ranked
        ],
        "risen_words": [
            {"word": word.word, "counts": list(word.counts), "least_rise": word.least_rise} for word in result.risen
        ],
    }


def sentences(out: Output, paths: Sequence[Path], count: int | None, file: Path, seed: int, before: int = 0) -> dict:
    """Compare models of sentences, show it, draw `file`, and return its JSON."""
    from rich.text import Text

    from fedprobe.cli.compare import Tested, verdict
    from fedprobe.modeler import text_sampling as sampling
    from fedprobe.modeler.comparison import names_of
    from fedprobe.modeler.oov_plot import oov_table, save_oov_plot
    from fedprobe.modeler.text_comparison import compare_sentences

    samplers = [sampling.open_text_sampler(path) for path in paths]
    drawn = count or sampling.DRAWN_SENTENCES
    result = compare_sentences(samplers, names_of(samplers), drawn, seed)
    save_oov_plot(file, result.names, result.profiles)
    table, over = _table(out, result.names)
    for name in over:
        table.add_column(Text(name), ratio=1, no_wrap=True, overflow="ellipsis")
    for row in zip(*result.sentences, strict=False):
        table.add_row(*(Text(one_line(" ".join(sentence))) for sentence in row))
    out.print(table)
    out.row("", "")
    out.print(oov_table(result.names, result.profiles, out.stdout.width))
    for name, profile in zip(result.names, result.profiles, strict=True):
        low, high = profile.overall_interval
        out.row("", "")
        out.row("oov rate", f"{name}: {profile.overall:.2%} ± {(high - low) / 2:.2%} of all sampled words")
    tested = Tested(result.names[0], result.names[-1], result.two_sample, result.findings)
    said = verdict(out, "sentences", [tested], LOOKED_FOR["sentences"], before)
    figures = [profile.to_json() for profile in result.profiles]
    shown = [{**one, "sentences": some} for one, some in zip(figures, result.sentences, strict=True)]
    return {"runs": _runs(samplers, paths, "sentences", shown), "samples": drawn, **said, "file": str(file)}


def _runs(samplers: Sequence, paths: Sequence[Path], kind: str, figures: Sequence[dict]) -> list[dict]:
    return [
        {
            "run": str(sampler.run.path),
            "given": str(path),
            "kind": kind,
            "round": sampler.round,
            "cohort": sampler.run.rule.to_json(),
            **figure,
        }
        for sampler, path, figure in zip(samplers, paths, figures, strict=True)
    ]


def _table(out: Output, names: Sequence[str], beside: int = 0) -> tuple:
    """A table with a column a run, and what to write over each, which leaves `beside` cells for a figure.

    Runs whose names do not fit are A, B, and so on, with a legend below.
    """
    from rich.table import Table
    from rich.text import Text

    # Ranks or words stand in the first column.
    over = headings(names, (out.stdout.width - _FIGURE) // len(names) - beside - 1)
    said = legend(names, over)
    caption = None if said is None else Text(said)
    style = {"box": None, "pad_edge": False, "header_style": "bold", "caption_style": "", "caption_justify": "left"}
    return Table(**style, caption=caption), over


def _shown(word: str):
    from rich.text import Text

    return Text(visible(word))


def _word_json(word) -> dict:
    return {"word": word.word, "joint_probabilities": list(word.probabilities), "log_ratio": word.log_ratio}
