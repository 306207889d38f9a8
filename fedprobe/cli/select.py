"""`fedprobe select`: decide a cohort, and pay for what is said about a private one."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from fedprobe.cli import slices
from fedprobe.cli.naming import measuring, rule_of
from fedprobe.cli.options import (
    AsJson,
    Cohort,
    Column,
    Delta,
    Device,
    MinExamples,
    NoProgress,
    Primary,
    Public,
    PublicShare,
    Quiet,
    Record,
    Seed,
    Shards,
    Share,
    Study,
    Tokenizer,
    Verbose,
    VocabularyFile,
    Where,
    Workers,
    check_device,
    flags,
    on_the_same,
    text_format,
)
from fedprobe.cli.output import Output
from fedprobe.cli.plans import Ground, ground
from fedprobe.cli.training import check_processes

# Above this OOV rate, a vocabulary hardly belongs to the text.
_STRANGE = 0.3
_NO_THRESHOLD = ("criterion", "seed", "vocabulary", "public")
_IN_BOTH = (
    *("count", "count_is", "count_standard_error", "users", "users_standard_error", "thresholds_are"),
    *("accuracy_percentiles", "accuracy_percentiles_are", "accuracy_percentile_intervals", "oov_rate", "oov_rate_is"),
    *("examples", "of_examples", "examples_are"),
)
_NORMAL_95 = 1.96
_RELEASE = "one noised histogram of all users, each in at most one bin"


def select(
    context: typer.Context,
    shards: Shards = None,
    cohort: Cohort = "random",
    primary: Primary = None,
    below: Annotated[
        str | None,
        typer.Option(help="low-accuracy: users below this accuracy, or percentile such as p25 [default: 0.882]."),
    ] = None,
    above: Annotated[
        str | None,
        typer.Option(help="high-accuracy: users above this accuracy, or percentile such as p75 [default: 0.939]."),
    ] = None,
    min_examples: MinExamples = None,
    share: Share = None,
    vocabulary: VocabularyFile = None,
    public: Public = None,
    public_share: PublicShare = None,
    where: Where = None,
    where_each: Annotated[
        str | None,
        typer.Option(help="One cohort for each value that you list: app_version in ('2.0', '2.1'); -o is a folder."),
    ] = None,
    column: Column = None,
    tokenizer: Tokenizer = None,
    count: Annotated[
        bool, typer.Option("--count", help="Private data: release DP counts too, from one histogram that is charged.")
    ] = False,
    target_epsilon: Annotated[
        float | None, typer.Option(help="Private data: what the histogram of --count or of a percentile may cost.")
    ] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="Or its noise on each count, in users.")] = None,
    delta: Delta = None,
    study: Study = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it costs and stop; opens no shard.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write the histogram of user accuracies to this PNG.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The cohort file [default: cohorts/NAME.json].")
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    workers: Workers = None,
    record: Record = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    verbose: Verbose = False,
) -> None:
    """Decide a cohort of users.

    Each user belongs, or some of her examples do, by a rule that her device could decide alone. The file it writes
    holds the rule, never a user id. In a simulation it holds exact counts. On private data a rule with public
    thresholds costs nothing and no count is shown; counts and percentiles cost one noised histogram.

    Example: fedprobe select shards/ --cohort low-accuracy --primary runs/primary
    """
    from fedprobe.clients.cohort_files import write_cohort
    from fedprobe.clients.cohorts import decide_cohort, require_decidable
    from fedprobe.clients.data.checking import require_valid
    from fedprobe.clients.data.shards import open_dataset
    from fedprobe.clients.selection import rehearsed_users

    out = Output(as_json, quiet, no_progress, verbose)
    check_device(device)
    check_processes(device, workers)
    primary, vocabulary = primary or context.obj.primary, vocabulary or context.obj.vocabulary
    limits, percentile = _limits(below, above)
    options = {**limits, "min_examples": min_examples, "share": share, "public_share": public_share, "where": where}
    rule = rule_of(cohort, vocabulary, options, seed, public)
    if where_each is not None:
        one_at_a_time = {"count": count, "plot": plot, "dry-run": dry_run, "study": study}
        slices.require_free(one_at_a_time | {"below" if above is None else "above": percentile})
        named = slices.rules_of_each(
            where_each, where, lambda text: rule_of(cohort, vocabulary, options | {"where": text}, seed, public)
        )
    if where_each is None:
        output = output or Path("cohorts") / f"{rule.criterion}.json"
    asked = below if rule.above is None else above
    text = text_format(context, column, tokenizer)
    found = ground(context, shards, record, "counting a cohort")
    # A private population without a budget is refused here, whatever is asked.
    found.ledger.require_budget()
    paying = found.private and (count or percentile is not None)
    _check_plot(plot, rule, found.private, paying)
    plan = _plan(found, target_epsilon, noise_multiplier, delta) if paying else None
    if dry_run:
        return _dry_run(out, context, found, rule, percentile and asked, plan)
    if found.private and not paying and (target_epsilon is not None or noise_multiplier is not None):
        raise typer.BadParameter("nothing is released that noise or epsilon would be for; add --count")
    if plan is not None:
        _require_writable(output)
        if plot is not None:
            _require_writable(plot)
        if study is None:
            found.ledger.require_room("select", [plan.event], delta=plan.delta)
    dataset = open_dataset(found.paths, record, text=text)
    if not found.private:
        require_valid(dataset, workers=workers)
        examples = int(dataset.examples.sum())
        out.detail(f"{len(dataset.shards)} shards, {len(dataset)} users, {examples} examples, all valid")
    require_decidable(dataset, rule, primary, vocabulary, public)
    if where_each is not None:
        slices.select_each(
            out,
            found,
            dataset,
            named,
            output or Path("cohorts"),
            on_the_same(shards, record),
            lambda rule, advance: decide_cohort(
                dataset, rule, primary, device, advance, vocabulary, public, workers=workers
            ),
        )
        return
    entry = None
    if plan is not None:
        before = found.ledger.totals()["spent"]
        entry = _reserve(found, plan, rule, percentile and asked, study)
        plan = replace(plan, delta=entry.delta)
    with measuring(out, dataset) as advance:
        models = (primary, device, advance, vocabulary, public)
        decided = decide_cohort(dataset, rule, *models, percentile=percentile, entry=entry, workers=workers)
    if entry is not None:
        found.ledger.settle(entry.run)
    rule, histogram = decided.rule, decided.histogram
    value = decided.to_json(dataset)
    drawn = {} if histogram is None else {"histogram": histogram.to_json()}
    write_cohort(output, value | drawn)
    out.row("cohort", f"{rule.criterion}: {rule.says()}")
    if percentile is not None:
        where = "exact: a simulation" if not found.private else "DP, at an edge of the bins"
        out.row("threshold", f"{_limit(rule):.4g} is {asked} of the users' accuracies ({where})")
        out.hint(
            "percentiles taken after a bug struck half of the users lie in the broken half: take them on healthy days, "
            f"and pass the number: --{'below' if rule.above is None else 'above'} {_limit(rule):.4g}"
        )
    _say_counts(out, value)
    if not found.private and decided.counts is not None:
        out.row("vocabulary", f"{vocabulary}: {len(decided.members.outside):,} words")
        said = f"{decided.counts.rate:.2%} of {decided.counts.tokens.sum():,} words are out of vocabulary"
        out.row("oov rate", f"{said} (exact: a simulation)")
        if decided.counts.rate > _STRANGE:
            out.hint("that is a lot: were the vocabulary's words made by another --tokenizer, or of other text?")
    rehearsal = None if found.private else _rehearsal(rehearsed_users(dataset), decided.members.users)
    if rehearsal:
        out.row(
            "rehearsal",
            "the cohort holds {struck_in_cohort} of the {struck} users that the bug struck, and "
            "{others_in_cohort} others".format(**rehearsal),
        )
    if histogram is not None:
        from fedprobe.modeler.accuracy_plot import accuracy_chart, save_accuracy_plot

        out.print()
        out.print(accuracy_chart(histogram, _limit(rule), out.stdout.width))
        out.print()
        if plot is not None:
            out.row("plot", str(save_accuracy_plot(plot, histogram, _limit(rule))))
    if not found.private:
        if target_epsilon is not None or noise_multiplier is not None:
            out.hint("a simulation is counted exactly and charged nothing, whatever noise is asked for")
        cost = {"epsilon": None, "epsilon_is": "not-charged-simulation"}
    elif plan is None:
        out.row("epsilon", "0: of these users nothing is shown")
        cost = {"epsilon": 0.0, "delta": 0.0}
    else:
        totals = found.ledger.totals() | {"before": before}
        statement = plan.statement(decided.conditional_on(dataset, context.obj.provenance, found.ledger), totals)
        part = f", a part of the study {study}" if study else ""
        out.row("release", f"{_RELEASE}, noise multiplier {plan.noise_multiplier:.4g}{part}")
        out.statement(statement)
        cost = {name: value[name] for name in ("epsilon", "delta", "noise_multiplier", "ledger_entry")}
        cost["privacy"] = statement.to_json()
    out.row("file", str(output))
    out.object(
        {
            "schema": "fedprobe.select/1",
            "criterion": rule.criterion,
            "thresholds": {name: limit for name, limit in rule.to_json().items() if name not in _NO_THRESHOLD},
            **cost,
            "file": str(output),
            **{name: value[name] for name in _IN_BOTH if name in value},
            **drawn,
            **({"plot": str(plot)} if plot else {}),
            **({"rehearsal": rehearsal} if rehearsal else {}),
        }
    )


@dataclass(frozen=True)
class _Plan:
    """One histogram, before it is reserved."""

    noise_multiplier: float
    delta: float

    @property
    def event(self):
        from fedprobe.privacy.histogram import membership_histogram_of

        return membership_histogram_of(self.noise_multiplier).event()

    def statement(self, conditional_on: str | None, totals: dict):
        """What it costs; `totals` are the ledger's, with it."""
        from fedprobe.privacy.ledger import RULE
        from fedprobe.privacy.statement import state

        return state(
            self.event,
            users_per_round=None,
            population=None,
            participation="none",
            delta=self.delta,
            conditional_on=conditional_on,
            ledger=totals | {"rule": RULE},
        )


def _limits(below: str | None, above: str | None) -> tuple[dict[str, float | None], float | None]:
    """Thresholds as numbers, and the share that a percentile names; its threshold is any number until it is known."""
    from fedprobe.privacy.histogram import percentile_of

    limits, share = {}, None
    for name, given in (("below", below), ("above", above)):
        named = None if given is None else percentile_of(given)
        try:
            limits[name] = None if given is None else 0.5 if named is not None else float(given)
        except ValueError:
            raise typer.BadParameter(f"--{name} takes an accuracy, or a percentile such as p25") from None
        share = share if named is None else named
    return limits, share


def _limit(rule) -> float | None:
    return rule.below if rule.above is None else rule.above


def _plan(found: Ground, target_epsilon: float | None, noise_multiplier: float | None, delta: float | None) -> _Plan:
    """The histogram's noise. Raises PrivacyRefusal where none is asked for, a usage error where it cannot be."""
    from fedprobe.privacy.planning import solve
    from fedprobe.privacy.population import DEFAULT_DELTA, PrivacyRefusal

    if target_epsilon is not None and noise_multiplier is not None:
        raise typer.BadParameter("give --noise-multiplier or --target-epsilon, not both")
    if target_epsilon is None and noise_multiplier is None:
        raise PrivacyRefusal(
            "counts and percentiles of a private population are released with noise; give --target-epsilon or "
            "--noise-multiplier, or a public threshold such as --below 0.882, which costs nothing"
        )
    with flags():
        delta = found.ledger.plan_delta(delta, DEFAULT_DELTA)
        if target_epsilon is not None:
            everybody_once = {"users_per_round": 1, "population": 1, "rounds": 1, "participation": "none"}
            plan = solve("noise-multiplier", target_epsilon=target_epsilon, delta=delta, **everybody_once)
            noise_multiplier = plan.noise_multiplier
        plan = _Plan(noise_multiplier, delta)
        _ = plan.event
    return plan


def _reserve(found: Ground, plan: _Plan, rule, percentile: str | None, study: str | None):
    """Reserve the histogram, and open it: nothing is measured before."""
    about = {"release": "one histogram of users", "cohort": percentile or rule.says()}
    entry = found.ledger.reserve("select", [plan.event], delta=plan.delta, about=about, study=study, rule={})
    with found.ledger.rounds_of(entry.run, plan.event) as rounds:
        rounds.open()
    return entry


def _dry_run(out: Output, context: typer.Context, found: Ground, rule, percentile: str | None, plan) -> None:
    """What it would cost, from public numbers alone."""
    from fedprobe.privacy.accountants import epsilon
    from fedprobe.privacy.population import PrivacyRefusal

    says = f"{rule.criterion}: users on one side of {percentile}" if percentile else f"{rule.criterion}: {rule.says()}"
    out.row("cohort", says)
    value = {"schema": "fedprobe.select/1", "criterion": rule.criterion, "dry_run": True}
    if plan is None:
        out.row("epsilon", "0: " + ("nothing is released" if found.private else "a simulation is charged nothing"))
        out.object(value | {"epsilon": 0.0, "delta": 0.0})
        return
    public = not rule.needs_primary or context.obj.provenance == "public"
    totals = found.ledger.totals()
    before = totals["spent"]
    cost = epsilon([plan.event], plan.delta).value
    after = {"epsilon": before["epsilon"] + cost, "delta": before["delta"] + plan.delta}
    statement = plan.statement(None if public else "primary model", totals | {"before": before, "spent": after})
    noise = f"noise multiplier {plan.noise_multiplier:.4g}"
    out.row("release", f"{_RELEASE}, {noise}; nothing is measured, and nothing was reserved")
    out.statement(statement)
    try:
        found.ledger.require_room("select", [plan.event], delta=plan.delta)
    except PrivacyRefusal as refusal:
        out.hint(f"it would be refused: {refusal}")
    charged = {"epsilon": cost, "delta": plan.delta, "noise_multiplier": plan.noise_multiplier}
    out.object(value | charged | {"privacy": statement.to_json()})


def _say_counts(out: Output, value: dict) -> None:
    """The counts, and the percentiles of accuracy, that may be said, with their uncertainty."""
    percentiles = value.get("accuracy_percentiles")
    if "examples" in value:
        out.row("examples", f"{value['examples']:,} of {value['of_examples']:,} (exact: a simulation)")
    if value["count_is"] == "not-released":
        out.row("count", "not released; --count with --target-epsilon releases one")
    elif value["count_is"] == "exact-simulation":
        out.row("count", f"{value['count']} of {value['users']} users (exact: a simulation)")
    else:
        cohort, users = (_with_margin(value[name], value[f"{name}_standard_error"]) for name in ("count", "users"))
        out.row("count", f"{cohort} of {users} users (DP, with 95% intervals)")
    if percentiles:
        intervals = value.get("accuracy_percentile_intervals")
        quartiles = ", ".join(
            f"{percentiles[name]:.3f}" + (" [{:.3f}, {:.3f}]".format(*intervals[name]) if intervals else "")
            for name in ("25", "50", "75")
        )
        how = "exact: a simulation" if intervals is None else "DP, with 95% intervals"
        out.row("accuracy", f"25th, 50th, 75th percentile over users: {quartiles} ({how})")


def _with_margin(users: int, standard_error: float) -> str:
    return f"{users:,} ± {_NORMAL_95 * standard_error:,.0f}"


def _check_plot(plot: Path | None, rule, private: bool, paying: bool) -> None:
    """Raise a usage error where there would be no histogram of accuracies to draw."""
    from fedprobe.modeler.accuracy_plot import require_png

    if plot is None:
        return
    require_png(plot)
    if not rule.needs_primary or (private and (rule.by_example or not paying)):
        raise typer.BadParameter(
            "--plot draws user accuracies, which low-accuracy and high-accuracy measure; on private data they are "
            "released with --count, or with a percentile"
        )


def _require_writable(path: Path) -> None:
    """Raise RequestError if a file cannot be put at `path`: not after its content was paid for."""
    from fedprobe.errors import RequestError

    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise RequestError(f"{path} cannot be written; choose another place for it")


def _rehearsal(struck, chosen) -> dict[str, int] | None:
    """How many users a bug `struck` (positions, or None), and how many of the `chosen` are and are not among them."""
    import numpy as np

    if struck is None:
        return None
    both = len(np.intersect1d(struck, chosen))
    return {"struck": len(struck), "struck_in_cohort": both, "others_in_cohort": len(chosen) - both}
