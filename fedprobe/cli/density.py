"""`fedprobe train-density`: what public examples are like, so that devices can tell what is unlike them."""

import shlex
import time
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

COMMAND = "train-density"


def train_density(
    context: typer.Context,
    shards: Shards = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The model's folder.")] = Path("runs/public"),
    components: Annotated[
        int | None, typer.Option(min=1, help="Images: Gaussians in the mixture [default: 20].")
    ] = None,
    language_model: Annotated[
        Path | None,
        typer.Option(help="Text: a train-wordlm run on public text; SHARDS are other public sentences, if there are."),
    ] = None,
    column: Column = None,
    tokenizer: Tokenizer = None,
    seed: Seed = 0,
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Fit a density to public examples, for the cohort unlike-public.

    SHARDS are public: a simulation. Of images it is a Gaussian mixture; of text a language model that was trained
    before. What public users score whom it does not know is kept, so that --public-share can say how rare among public
    examples a private one must be to be selected.
    The folder it writes is what --public takes.

    Example: fedprobe train-density public/ -o runs/public
    """
    import numpy as np

    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.clients.density import fit_images, log_densities
    from fedprobe.models.density import COMPONENTS
    from fedprobe.models.public import quantiles_of, save_public
    from fedprobe.privacy.rules import PUBLIC_SHARE
    from fedprobe.runs import RunError

    out = Output(as_json, quiet, no_progress)
    if output.exists():
        raise RunError(f"{output} exists; choose another --output")
    text = text_format(context, column, tokenizer)
    dataset = open_dataset(shards_of(shards, context), record, simulation_for=COMMAND, text=text)
    require_valid(dataset)
    populations = {dataset.population.id}
    started = time.monotonic()
    if dataset.kind == "text":
        dataset.require_text()
        if components is not None:
            raise typer.BadParameter("--components is for images, and these shards hold text")
        density, made_of = _of_run(language_model)
        populations.add(made_of)
        with_ = {"language_model": str(language_model)}
        with out.progress("measuring", len(dataset), "users") as advance:
            scores, _ = log_densities(dataset, density, np.ones(len(dataset), bool), advance)
    else:
        if language_model is not None:
            raise typer.BadParameter("--language-model is for text, and these shards hold images")
        with_ = {"components": components or COMPONENTS, "seed": seed}
        with out.progress("fitting", len(dataset), "users") as advance:
            density, scores = fit_images(dataset, with_["components"], seed, advance)
    quantiles = quantiles_of(scores)
    description = {"trained_with": with_, "populations": sorted(populations), "provenance": "public"}
    save_public(output, density, quantiles, description)
    seconds = time.monotonic() - started
    median, low = (float(np.quantile(scores, share)) for share in (0.5, PUBLIC_SHARE))
    unit = "nats a token" if dataset.kind == "text" else "nats"
    said = f"{output}: the log density of {len(scores):,} public examples is {median:.4g} {unit} in the median"
    out.row("density", f"{said}, and below {low:.4g} in {PUBLIC_SHARE:.0%} (exact: a simulation); {seconds:.0f} s")
    # Not those that are public: those that may hold what they lack.
    others = "" if context.obj.shards else " SHARDS"
    out.hint(f"next: fedprobe select{others} --cohort unlike-public --public {shlex.quote(str(output))}")
    out.object(
        {
            "schema": "fedprobe.train/1",
            "run": str(output),
            "rounds": 0,
            "seconds": seconds,
            "rounds_per_second": None,
            "examples": len(scores),
            "median_log_density": median,
            "figures_are": "exact-simulation",
            "privacy": None,
        }
    )


def _of_run(run: Path | None):
    """The density of sentences that a language model of public text has, and whose text that is."""
    from fedprobe.modeler.text_sampling import open_text_sampler
    from fedprobe.models.density import TextDensity
    from fedprobe.models.vocabulary import Vocabulary
    from fedprobe.privacy.population import PrivacyRefusal

    if run is None:
        raise typer.BadParameter("text takes --language-model RUN, of train-wordlm on public text")
    sampler = open_text_sampler(run)
    if not isinstance(sampler.codec, Vocabulary):
        raise typer.BadParameter("--language-model takes a run of train-wordlm: words have no sentences")
    privacy = sampler.run.privacy
    if not privacy.get("simulation"):
        raise PrivacyRefusal(f"{run} was trained on a private population; --language-model takes one of public text")
    return TextDensity(sampler.model, sampler.codec, sampler.longest), privacy["population_id"]
