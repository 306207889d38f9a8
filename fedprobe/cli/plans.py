"""What every `train-*` command plans before a shard is opened: population, noise, and room for it in the ledger."""

from dataclasses import dataclass, replace
from pathlib import Path

import typer

from fedprobe.cli.naming import is_file, rule_of
from fedprobe.cli.options import flags, shards_of

# privacy/events.py's word for the methods with one release, here so that no command waits for an import.
EVERY_USER = "every-user"
# Options of cohorts that need neither a vocabulary nor a public model.
RULE_OPTIONS = ("below", "above", "min_examples", "share", "where")


@dataclass(frozen=True)
class Ground:
    """What a training stands on before any shard is opened: paths, population, ledger, and where the record lies.

    `primary` is fedprobe.toml's.
    """

    paths: list[str]
    population: object
    ledger: object
    record: Path | None = None
    primary: Path | None = None

    @property
    def private(self) -> bool:
        return self.population.kind == "private"


def ground(context: typer.Context, shards: list[str] | None, record: Path | None, what: str) -> Ground:
    """The population and the ledger of the shards. Raises PrivacyRefusal where they are not registered."""
    from fedprobe.clients.data.shards import expand
    from fedprobe.privacy.ledger import ledger_of
    from fedprobe.privacy.population import lookup, require_registered

    paths = shards_of(shards, context)
    files = expand(paths)
    population = require_registered(lookup(files, record), what)
    ledger = ledger_of(population, files, record, context.obj.budget)
    return Ground(paths, population, ledger, record, context.obj.primary)


def public_population(ground: Ground, cohort: str, given: dict) -> int | None:
    """N_hat where it is public before the shards are opened: as given, or a cohort file's DP count.

    Where every user takes part it decides nothing but the default of delta where the ledger has none, and 1 will do.
    Raises PrivacyRefusal where a private population has neither, or rounds of a fixed size, which count on a lower
    bound, have only an estimate.
    """
    from fedprobe.clients.cohort_files import released_count
    from fedprobe.privacy.population import PrivacyRefusal

    population = given.get("population")
    if population is not None and population < 1:
        raise typer.BadParameter("--population must be at least 1")
    if given["participation"] == EVERY_USER:
        return population or (1 if ground.private else None)
    if population is None and ground.private and given["participation"] == "fixed":
        raise PrivacyRefusal(
            "--participation fixed counts on a lower bound of how many users the cohort has, which a noised count is "
            "not; give --population, or take poisson"
        )
    if population is None and ground.private and is_file(cohort):
        population = released_count(Path(cohort))
    if population is None and ground.private:
        raise PrivacyRefusal(
            "how many users a private cohort has is not public; give --population, or a cohort file with a DP count: "
            "fedprobe select --count"
        )
    return population


def with_noise(planned, given: dict, private: bool, population: int, participation: str, delta: float, accountant: str):
    """`planned` with the noise multiplier that `--target-epsilon` asks for, if it does.

    Raises PrivacyRefusal where a private population is to be trained on with a preset's noise.
    """
    from fedprobe.privacy.population import PrivacyRefusal

    target = given.get("target_epsilon")
    if target is not None and "noise_multiplier" in given:
        raise typer.BadParameter("give --noise-multiplier or --target-epsilon, not both")
    if target is not None and accountant == "paper":
        raise typer.BadParameter("--accountant paper proves no bound, so that no noise is planned by it; use auto")
    if target is None:
        if private and "noise_multiplier" not in given:
            raise PrivacyRefusal("on private data the noise is asked for; give --target-epsilon or --noise-multiplier")
        return planned
    from fedprobe.privacy.planning import solve

    with flags():
        found = solve(
            "noise-multiplier",
            target_epsilon=target,
            users_per_round=planned.users_per_round or 1,
            population=population,
            rounds=planned.rounds,
            delta=delta - _threshold_delta(planned),
            participation=participation,
            accountant=accountant,
        )
        return replace(planned, noise_multiplier=found.noise_multiplier)


def with_threshold(planned, delta: float):
    """`planned` with what its threshold takes of the plan's `delta`, of methods that have one.

    Raises a usage error where that is all of it.
    """
    from fedprobe.server.heavy_hitter_training import HeavyHitterTraining

    with flags():
        return planned.at_delta(delta) if isinstance(planned, HeavyHitterTraining) else planned


def event_of(planned, participation_name: str, population: int):
    """What the plan releases."""
    from fedprobe.server.participation import participation

    drawn = participation(participation_name, planned.users_per_round, population)
    event = drawn.event(planned.noise_multiplier, planned.rounds)
    return replace(event, threshold_delta=_threshold_delta(planned))


def _threshold_delta(planned) -> float:
    return getattr(planned, "threshold_delta", 0.0)


def plan(ground: Ground, command: str, planned, given: dict, cohort: str) -> tuple[object, int | None]:
    """On private data: the plan with its noise, refused if the ledger has no room for it, before anything is read.

    Returns the plan and N_hat, None where it is the cohort's exact count (a simulation). A resumed run has its rounds
    reserved, and what else it takes is reserved when it goes on; a study has its parts.
    """
    from fedprobe.privacy.statement import default_delta

    if given.get("study") is not None:
        # Before anything is asked for that it declares.
        ground.ledger.require_study(given["study"])
    population = public_population(ground, cohort, given)
    if population is None:
        return planned, None
    delta = ground.ledger.plan_delta(given.get("delta"), default_delta(population))
    name, accountant = given["participation"], given["accountant"]
    planned = with_threshold(planned, delta)
    planned = with_noise(planned, given, ground.private, population, name, delta, accountant)
    if given.get("study") is None and not given["resume"]:
        with flags():
            event = event_of(planned, name, population)
            ground.ledger.require_room(command, [event], delta=delta, cell=cell_ahead(ground, given, cohort))
    return planned, population


def cell_ahead(ground: Ground, given: dict, cohort: str):
    """The users that `cohort` can hold, as far as it is known before anything is read; None for anybody."""
    from fedprobe.clients.cohort_files import cell_of
    from fedprobe.clients.cohorts import frozen_cell
    from fedprobe.clients.data.shards import expand

    if is_file(cohort):
        return cell_of(Path(cohort))
    if cohort in ("oov-words", "unlike-public"):
        return None
    rule = rule_of(cohort, None, {name: given.get(name) for name in RULE_OPTIONS}, given["seed"])
    primary = given.get("primary") or ground.primary
    return frozen_cell(rule, expand(ground.paths), ground.population, ground.record, primary)


def counted(ground: Ground, planned, given: dict, public: int | None, decided) -> tuple[object, int, float]:
    """The plan with its noise, N_hat and delta, once the cohort is decided: in a simulation its exact count will do."""
    from fedprobe.privacy.statement import default_delta

    population = len(decided.members) if public is None else public
    delta = ground.ledger.plan_delta(given.get("delta"), default_delta(population))
    if public is None:
        name, accountant = given["participation"], given["accountant"]
        planned = with_threshold(planned, delta)
        planned = with_noise(planned, given, False, population, name, delta, accountant)
    return planned, population, delta
