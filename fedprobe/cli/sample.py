"""`fedprobe sample`: synthetic examples of a run."""

from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import AsJson, Quiet, Seed, flags
from fedprobe.cli.output import Output
from fedprobe.modeler.printable import one_line, visible


def sample(
    run: Annotated[Path, typer.Argument(help="A run, or the folder of one of its checkpoints.")],
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", min=1, help="How many [default: 64; words 20000, sentences 10000]."),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Words: show the most probable of those drawn [20].")] = None,
    word: Annotated[
        list[str] | None, typer.Option(help="Words: the exact probability of this one instead; may be repeated.")
    ] = None,
    label: Annotated[
        int | None, typer.Option(min=0, help="Images of this class only: runs of train-gan with --classes.")
    ] = None,
    truncation: Annotated[
        float | None,
        typer.Option(help="Images of runs with --classes: below 1 more typical and less varied [default: 1]."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Text: below 1 more of the likely, above 1 more of the rare [default: 1].")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The PNG, or of words a text file [default: RUN/samples/sample-SEED.*]."),
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draw synthetic examples from a run.

    Images: in the terminal and as PNG. Words: the most probable ones, each with its exact joint probability; of a run
    of one round, those released, with their noised counts.
    Sentences: some of them, and how often words are out of vocabulary at each position, as PNG too. It costs no
    privacy.

    Example: fedprobe sample runs/low -n 64
    """
    from fedprobe.modeler.word_table import is_word_table
    from fedprobe.runs import find

    out = Output(as_json, quiet)
    found = find(run)[0]
    command = found.config.get("command")
    if command != "train-charlm" and (top is not None or word):
        raise typer.BadParameter("--top and --word are for runs of train-charlm")
    if command == "train-gan" and temperature is not None:
        raise typer.BadParameter("--temperature is for runs of train-charlm and train-wordlm")
    if command != "train-gan" and (label is not None or truncation is not None):
        raise typer.BadParameter("--label and --truncation are for runs of train-gan")
    if truncation is not None and not 0 < truncation <= 1:
        raise typer.BadParameter("--truncation is above 0 and at most 1")
    if word is not None and not all(word):
        raise typer.BadParameter("--word is a word of at least one character")
    if temperature is not None and not 0.01 <= temperature <= 100:
        raise typer.BadParameter("--temperature lies between 0.01 and 100")
    if is_word_table(found):
        if count is not None or temperature is not None:
            raise typer.BadParameter("-n and --temperature are for what draws samples; this run released counted words")
        _counted_words(out, run, top or 20, word or [], output)
        return
    match command:
        case "train-charlm":
            _words(out, run, count, top or 20, word or [], temperature or 1.0, output, seed)
        case "train-wordlm":
            _sentences(out, run, count, temperature or 1.0, output, seed)
        case _:
            _images(out, run, count or 64, label, truncation or 1.0, output, seed)


def _images(
    out: Output, run: Path, count: int, label: int | None, truncation: float, output: Path | None, seed: int
) -> None:
    from fedprobe.modeler.pictures import grid, in_terminal, save_png
    from fedprobe.modeler.sampling import open_sampler, sample_images

    sampler = open_sampler(run)
    sampler.require_label(label)
    with flags():
        images = sample_images(sampler.generator, count, seed, label=label, truncation=truncation)
    columns = max(1, round(count**0.5))
    name = f"sample-{seed}" + ("" if label is None else f"-label-{label}")
    name += ".png" if truncation == 1 else f"-truncation-{truncation:g}.png"
    file = save_png(output or sampler.run.samples / name, [grid(images, columns)])
    out.print(in_terminal(out.stdout, [images]))
    out.row("samples", f"{count} of {sampler.run.name} after round {sampler.round}: {file}")
    if sampler.caution:
        out.row("", sampler.caution)
    out.object(
        {
            "schema": "fedprobe.sample/1",
            "kind": "images",
            "count": count,
            "shape": list(images.shape[1:]),
            "label": label,
            "truncation": truncation,
            "file": str(file),
            "run": str(sampler.run.path),
            "round": sampler.round,
        }
    )


def _words(
    out: Output,
    run: Path,
    count: int | None,
    top: int,
    asked: list[str],
    temperature: float,
    output: Path | None,
    seed: int,
) -> None:
    from rich.table import Table
    from rich.text import Text

    from fedprobe.modeler import text_sampling as sampling

    sampler = sampling.open_text_sampler(run)
    file = None
    if asked:
        words = sampling.scored(sampler, [sampler.codec.encode(word) for word in asked])
        drawn = []
    else:
        drawn = sampling.drawn_words(sampler, count or sampling.DRAWN_WORDS, seed, temperature)
        words = sampling.top_words(sampler, drawn, top)
        file = output or sampler.run.samples / f"sample-{seed}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            "".join(f"{word.joint_probability:.6g}\t{one_line(word.word)}\n" for word in words),
            encoding="utf-8",
        )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "word", "joint probability (1e-3)"):
        table.add_column(name, justify="left" if name == "word" else "right")
    for rank, word in enumerate(words, 1):
        shown = Text(visible(word.word))
        table.add_row("" if asked else str(rank), shown, sampling.in_thousandths(word.log_probability))
    out.print(table)
    about = f"{sampler.run.name} after round {sampler.round}"
    if not asked:
        out.row("", "")
        whole = f"{len(drawn)} of {count or sampling.DRAWN_WORDS} drawn from {about} were whole words"
        out.row("words", f"{whole}; the {len(words)} most probable of them. A blank inside is shown as ␣")
        out.row("file", str(file))
    out.object(
        {
            "schema": "fedprobe.sample/1",
            "kind": "words",
            "count": len(drawn),
            "words": [
                {
                    "word": word.word,
                    "joint_probability": word.joint_probability,
                    "log_probability": word.log_probability,
                }
                for word in words
            ],
            "run": str(sampler.run.path),
            "round": sampler.round,
            **({"file": str(file)} if file else {}),
        }
    )


def _counted_words(out: Output, run: Path, top: int, asked: list[str], output: Path | None) -> None:
    """What a one-round run released: nothing is drawn."""
    from rich.table import Table
    from rich.text import Text

    from fedprobe.modeler.word_table import open_word_table, write_words

    table = open_word_table(run)
    by_word = {word.word: word for word in table.words}
    words = [by_word[word] for word in asked if word in by_word] if asked else table.words[:top]
    file = None
    if not asked:
        file = write_words(output or table.run.samples / "words.txt", table.released)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "word", "count", "users"):
        shown.add_column(name, justify="left" if name == "word" else "right")
    for rank, word in enumerate(words, 1):
        least, most = word.users
        count = f"{word.count:.1f} ± {word.margin:.1f}"
        shown.add_row("" if asked else str(rank), Text(visible(word.word)), count, f"{least:,} to {most:,}")
    if words:
        out.print(shown)
        out.row("", "")
    missing = [word for word in asked if word not in by_word]
    for word in missing:
        out.row("absent", f"{visible(word)}: not released")
    released = "1 word was" if len(table.words) == 1 else f"{len(table.words):,} words were"
    about = f"{released} released by {table.run.name}"
    out.row("words", f"{about}: of a noised count above {table.threshold:.1f}. A blank inside is shown as ␣")
    k = table.mechanism.words_per_user
    out.row("count", f"a user names at most {k} words, and of m words adds 1/√m to each; intervals are at 95%")
    out.row("", "of words near the threshold only those are seen whose noise was large: their counts are too large")
    if file is not None:
        out.row("file", str(file))
    out.object(
        {
            "schema": "fedprobe.sample/1",
            "kind": "words",
            "count": len(table.words),
            "words": [word.to_json() for word in words],
            **({"not_released": missing} if asked else {}),
            "threshold": table.threshold,
            "run": str(table.run.path),
            "round": table.round,
            **({"file": str(file)} if file else {}),
        }
    )


def _sentences(out: Output, run: Path, count: int | None, temperature: float, output: Path | None, seed: int) -> None:
    from fedprobe.modeler import text_sampling as sampling
    from fedprobe.modeler.oov_plot import oov_table, save_oov_plot

    sampler = sampling.open_text_sampler(run)
    drawn = sampling.drawn_sentences(sampler, count or sampling.DRAWN_SENTENCES, seed, temperature)
    profile = sampling.oov_by_position(drawn)
    sentences = [sampler.codec.decode(sentence) for sentence in drawn]
    file = save_oov_plot(output or sampler.run.samples / f"sample-{seed}.png", [sampler.run.name], [profile])
    for sentence in [sentence for sentence in sentences if sentence][:8]:
        out.row("", " ".join(sentence))
    out.row("", "")
    out.print(oov_table([sampler.run.name], [profile], min(out.stdout.width, 80)))
    low, high = profile.overall_interval
    out.row("", "")
    out.row("oov rate", f"{profile.overall:.2%} ± {(high - low) / 2:.2%} of the words in {len(drawn)} sentences")
    out.row("samples", f"{sampler.run.name} after round {sampler.round}; UNK is a word out of vocabulary")
    out.row("picture", str(file))
    out.object(
        {
            "schema": "fedprobe.sample/1",
            "kind": "sentences",
            "count": len(drawn),
            "sentences": sentences,
            **profile.to_json(),
            "file": str(file),
            "run": str(sampler.run.path),
            "round": sampler.round,
        }
    )
