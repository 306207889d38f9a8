"""`fedprobe select`: decide a cohort."""

from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli.options import (
    Above,
    AsJson,
    Below,
    Cohort,
    Column,
    Device,
    MinExamples,
    NoProgress,
    Primary,
    Quiet,
    Record,
    Seed,
    Shards,
    Share,
    Tokenizer,
    Verbose,
    VocabularyFile,
    check_device,
    shards_of,
    text_format,
)
from fedprobe.cli.output import Output
from fedprobe.cli.training import rule_of

# Above this OOV rate, a vocabulary hardly belongs to the text.
_STRANGE = 0.3
_NO_THRESHOLD = ("criterion", "seed", "vocabulary")
_EXACT = ("accuracy_percentiles", "accuracy_percentiles_are", "oov_rate", "oov_rate_is")


def select(
    context: typer.Context,
    shards: Shards = None,
    cohort: Cohort = "random",
    primary: Primary = None,
    below: Below = None,
    above: Above = None,
    min_examples: MinExamples = None,
    share: Share = None,
    vocabulary: VocabularyFile = None,
    column: Column = None,
    tokenizer: Tokenizer = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The cohort file [default: cohorts/NAME.json].")
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    verbose: Verbose = False,
) -> None:
    """Decide a cohort of users.

    Each user belongs, or some of her examples do, by a rule that her device could decide alone.
    The file it writes holds the rule and exact counts (simulations only), never a user id.

    Example: fedprobe select shards/ --cohort low-accuracy --primary runs/primary
    """
    from fedprobe.clients.cohorts import decide_cohort, write_cohort
    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.clients.selection import rehearsed_users

    out = Output(as_json, quiet, no_progress, verbose)
    check_device(device)
    vocabulary = vocabulary or context.obj.vocabulary
    options = {"below": below, "above": above, "min_examples": min_examples, "share": share}
    rule = rule_of(cohort, vocabulary, options, seed)
    output = output or Path("cohorts") / f"{rule.criterion}.json"
    text = text_format(context, column, tokenizer)
    dataset = open_dataset(shards_of(shards, context), record, simulation_for="counting a cohort", text=text)
    require_valid(dataset)
    out.detail(f"{len(dataset.shards)} shards, {len(dataset)} users, {int(dataset.examples.sum())} examples, all valid")
    with out.progress("measuring", len(dataset), "users") as advance:
        decided = decide_cohort(dataset, rule, primary or context.obj.primary, device, advance, vocabulary)
    value = decided.to_json(dataset)
    write_cohort(output, value)
    out.row("cohort", f"{rule.criterion}: {rule.says()}")
    out.row("count", f"{len(decided.members)} of {len(dataset)} users (exact: a simulation)")
    percentiles = value.get("accuracy_percentiles")
    if percentiles:
        quartiles = ", ".join(f"{percentiles[name]:.3f}" for name in ("25", "50", "75"))
        out.row("accuracy", f"25th, 50th, 75th percentile over users: {quartiles} (exact: a simulation)")
    if decided.counts is not None:
        out.row("vocabulary", f"{vocabulary}: {len(decided.members.outside):,} words")
        said = f"{decided.counts.rate:.2%} of {decided.counts.tokens.sum():,} words are out of vocabulary"
        out.row("oov rate", f"{said} (exact: a simulation)")
        if decided.counts.rate > _STRANGE:
            out.hint("that is a lot: were the vocabulary's words made by another --tokenizer, or of other text?")
    rehearsal = _rehearsal(rehearsed_users(dataset), set(decided.members.users.tolist()))
    if rehearsal:
        out.row(
            "rehearsal",
            "the cohort holds {struck_in_cohort} of the {struck} users that the bug struck, and "
            "{others_in_cohort} others".format(**rehearsal),
        )
    out.row("file", str(output))
    out.object(
        {
            "schema": "fedprobe.select/1",
            "criterion": rule.criterion,
            "thresholds": {name: limit for name, limit in rule.to_json().items() if name not in _NO_THRESHOLD},
            "count": len(decided.members),
            "count_is": "exact-simulation",
            "users": len(dataset),
            "epsilon": None,
            "epsilon_is": "not-charged-simulation",
            "file": str(output),
            **{name: value[name] for name in _EXACT if name in value},
            **({"rehearsal": rehearsal} if rehearsal else {}),
        }
    )


def _rehearsal(struck: set[int] | None, chosen: set[int]) -> dict[str, int] | None:
    if struck is None:
        return None
    return {
        "struck": len(struck),
        "struck_in_cohort": len(struck & chosen),
        "others_in_cohort": len(chosen - struck),
    }
