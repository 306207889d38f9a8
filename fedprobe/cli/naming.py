"""The cohort that `--cohort` names: a file, or a criterion with its options."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from fedprobe.cli.options import flags, unlike_public
from fedprobe.cli.output import Output


def is_file(cohort: str) -> bool:
    return cohort.endswith(".json") or "/" in cohort


def needs_primary(cohort: str) -> bool:
    """Whether a primary model decides the cohort, as its name or its file says; no shard is opened."""
    from fedprobe.clients.cohort_files import read_rule

    if is_file(cohort):
        return read_rule(Path(cohort)).needs_primary
    return cohort not in ("random", "oov-words", "unlike-public")


def decide(
    out: Output,
    dataset,
    cohort: str,
    primary: Path | None,
    vocabulary: Path | None,
    options: dict,
    public: Path | None = None,
    **how,
):
    """The cohort that `--cohort` names: a file, or a criterion with its options (`how`: seed, device, workers)."""
    from fedprobe.clients.cohort_files import read_cohort
    from fedprobe.clients.cohorts import decide_cohort

    if is_file(cohort):
        if any(value is not None for value in (public, *options.values())):
            raise typer.BadParameter("a cohort file holds its own thresholds and models; give them to select instead")
        with measuring(out, dataset) as advance:
            return read_cohort(Path(cohort), dataset, how["device"], advance, how["workers"])
    rule = rule_of(cohort, vocabulary, options, how["seed"], public)
    with measuring(out, dataset) as advance:
        models = (primary, how["device"], advance, vocabulary, public)
        return decide_cohort(dataset, rule, *models, workers=how["workers"])


@contextmanager
def measuring(out: Output, dataset) -> Iterator[Callable[[int], None]]:
    """Progress over a data set's users where their number is public.

    Where it is not, not even a percentage: users are measured so many at once, and it would tell of how many.
    """
    if dataset.population is not None and dataset.population.kind == "simulation":
        with out.progress("measuring", len(dataset), "users") as advance:
            yield advance
        return
    with out.waiting("measuring"):
        yield lambda users: None


def rule_of(cohort: str, vocabulary: Path | None, options: dict, seed: int, public: Path | None = None):
    """The rule of a named cohort. Raises a usage error where an option does not go with it."""
    from fedprobe.models.vocabulary import read_vocabulary
    from fedprobe.privacy import rules

    options = dict(options)
    options |= unlike_public(cohort, public, options.pop("public_share", None))

    named = cohort == "oov-words" and vocabulary is not None
    digest = read_vocabulary(vocabulary).digest if named else None
    with flags():
        return rules.rule(cohort, **options, seed=seed, vocabulary=digest)
