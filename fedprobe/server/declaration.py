"""A training from its declaration to its run directory: what a `train-*` command does once it has a cohort."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from fedprobe.clients.updates import ClientUpdate
from fedprobe.models.stored import StoredError
from fedprobe.models.vocabulary import Vocabulary
from fedprobe.privacy.entries import Cell, Entry
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.ledger import RULE, Ledger
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.privacy.partition_selection import PartitionSelection
from fedprobe.privacy.rules import CohortRule
from fedprobe.privacy.statement import PrivacyStatement, state
from fedprobe.runs import Run, RunError
from fedprobe.server.engines.distributed import distributed_engine, joined
from fedprobe.server.engines.local import local_engine
from fedprobe.server.heavy_hitter_training import HeavyHitterTraining
from fedprobe.server.participation import Participation, participation
from fedprobe.server.releases import Releases
from fedprobe.server.training import Algorithm, Plan, train


class Networks(Protocol):
    """The configuration of what is trained."""

    def to_json(self) -> dict: ...


class Training(Protocol):
    """The hyperparameters of a training: a frozen dataclass, `GanTraining` or `LanguageTraining`.

    `users_per_round` None: every user takes part.
    """

    users_per_round: int | None
    rounds: int
    noise_multiplier: float
    clip_norm: float

    def algorithm(self, config: Any, seed: int, device: str) -> Algorithm: ...


@dataclass(frozen=True)
class Declaration:
    """Everything about a run that is fixed before its first round.

    `command` trains `networks` as `training` says. `cohort` is the cohort file's JSON; `population` is N_hat, None
    where every user takes part and nobody said; `conditional_on` names what knows these users and decided the
    membership or the symbols (`primary model`, `vocabulary`), None where nothing does. `vocabulary` holds a word
    model's words, or those that the cohort's words are outside of; `text` is how text shards are read.
    """

    command: str
    training: Training
    networks: Networks
    cohort: dict
    population: int | None
    conditional_on: str | None
    delta: float | None = None
    accountant: str = "auto"
    method: str = "fedavg"
    preset: str = "quick"
    seed: int = 0
    device: str = "cpu"
    shards: Sequence[str] = ()
    vocabulary: Vocabulary | None = None
    text: dict | None = None
    participation_name: str = "poisson"
    study: str | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        # Each of them checks its own: what cannot be trained is not declared. Raises ValueError.
        _ = self.participation, self.mechanism, self.algorithm

    @property
    def simulation(self) -> bool:
        """Whether the cohort was counted in a simulation."""
        return self.cohort.get("count_is") == "exact-simulation"

    @property
    def participation(self) -> Participation:
        return participation(self.participation_name, self.training.users_per_round, self.population)

    def event(self, rounds: int | None = None) -> SampledGaussian:
        """What the planned rounds, or so many of them, release."""
        event = self.participation.event(
            self.training.noise_multiplier, self.training.rounds if rounds is None else rounds
        )
        return replace(event, threshold_delta=self.mechanism.threshold_delta)

    @property
    def cell(self) -> Cell | None:
        """The users that the cohort can hold, where its rule and one frozen measurement exclude others."""
        return Cell.of(CohortRule(**self.cohort["rule"]), self.cohort["measurement"])

    @property
    def mechanism(self) -> Mechanism | PartitionSelection:
        if isinstance(self.training, HeavyHitterTraining):
            return self.training.mechanism
        return Mechanism(self.training.clip_norm, self.training.noise_multiplier)

    @property
    def algorithm(self) -> Algorithm:
        return self.training.algorithm(self.networks, self.seed, self.device)

    def statement(self) -> PrivacyStatement:
        """What the run will cost. Raises ValueError as `accountants.epsilon` does."""
        return self._statement

    @cached_property
    def _statement(self) -> PrivacyStatement:
        return state(
            self.event(),
            participation=self.participation_name,
            noise_multiplier=self.training.noise_multiplier,
            users_per_round=self.training.users_per_round,
            population=self.population,
            delta=self.delta,
            accountant=self.accountant,
            conditional_on=self.conditional_on,
            simulation=self.simulation,
        )

    def config(self) -> dict:
        """The run's `config.json`."""
        return {
            "schema": "fedprobe.run/1",
            "command": self.command,
            "method": self.method,
            "preset": self.preset,
            "training": asdict(self.training),
            "architecture": self.networks.to_json(),
            "cohort": self.cohort,
            "population": self.population,
            "participation": self.participation_name,
            "delta": self.statement().delta,
            "accountant": self.accountant,
            "conditional_on": self.conditional_on,
            "vocabulary": None if self.vocabulary is None else self.vocabulary.digest,
            "text": self.text,
            "seed": self.seed,
            "device": self.device,
            "shards": list(self.shards),
            "precision": self.precision,
        }

    def privacy(self, run_id: str, ledger: Ledger) -> dict:
        """The run's `privacy.json`: what the ledger knows of it, too."""
        return {
            "event": self.event().to_json(),
            "delta": self.statement().delta,
            "participation": self.participation_name,
            "noise_multiplier": self.training.noise_multiplier,
            "users_per_round": self.training.users_per_round,
            "population": self.population,
            "conditional_on": self.conditional_on,
            "simulation": self.simulation,
            "population_id": self.cohort["population"],
            "measurement": self.cohort["measurement"],
            "run_id": run_id,
            "study": self.study,
            "ledger": {**ledger.totals(), "rule": RULE},
        }


def start(declaration: Declaration, path: Path, ledger: Ledger) -> tuple[Run, Any, int]:
    """Reserve the plan, then make a new run at `path`; return it, its initial state and its first round.

    Raises BudgetRefusal where the plan does not fit into the ledger, RunError if the run is there already.
    """
    Run.require_free(path)
    entry = _reserve(declaration, path, ledger, declaration.training.rounds, study=declaration.study)
    run = Run.create(path, declaration.config(), declaration.privacy(entry.run, ledger), declaration.vocabulary)
    return run, declaration.algorithm.init(), 1


def resume(declaration: Declaration, path: Path, ledger: Ledger) -> tuple[Run, Any, int]:
    """The run at `path`, the state of its latest checkpoint, and the round after it.

    More rounds than are reserved, because more are planned or a crash lost some, are a plan of their own, and what the
    run says of all together is indicative from then on. Raises RunError where anything else was declared otherwise,
    another study included, StoredError where the checkpoint is damaged or fits no such model, BudgetRefusal where the
    rounds that it takes are not left, or the ledger holds another plan for the run than it says.
    """
    run = Run.open(path)
    # Before its checkpoint is read, which may fit no model of this command.
    run.require_same(declaration.config())
    declaration = _in_its_study(declaration, ledger.study_of(run.run_id))
    state, done = declaration.algorithm.init(), 0
    if run.checkpoints():
        tensors, done = run.load()
        # Counters stay where torch's optimisers keep them, on the CPU.
        tensors = {name: value.to(declaration.device) if value.dim() else value for name, value in tensors.items()}
        try:
            state = declaration.algorithm.restore(tensors)
        except ValueError as error:
            raise StoredError(f"the checkpoint of {path} is no state of what the run trains; train again") from error
    with run.locked():
        run_id = run.run_id
        waiting = releases_of(ledger, run_id).waiting_after(done)
        left = ledger.rounds_left(run_id, declaration.event(), declaration.cell)
        missing = declaration.training.rounds - done - waiting - left
        if missing > 0:
            _reserve(declaration, path, ledger, missing, run=run_id)
        # Of the ledger, which knows it though a crash came before this was written.
        extended = run.extended or ledger.plans_of(run_id) > 1
        run.plan(declaration.config(), declaration.privacy(run_id, ledger) | {"extended": extended})
        run.forget_metrics_after(done)
    return run, state, done + 1


def _in_its_study(declaration: Declaration, study: str | None) -> Declaration:
    """The declaration with the `study` that the run is a part of. Raises RunError where another one is asked for."""
    if declaration.study not in (None, study):
        raise RunError("a run is a part of a study from its start; give --resume no --study, or the one it has")
    return replace(declaration, study=study)


def _reserve(declaration: Declaration, path: Path, ledger: Ledger, rounds: int, **where) -> Entry:
    return ledger.reserve(
        declaration.command,
        [declaration.event(rounds)],
        delta=declaration.statement().delta,
        cell=declaration.cell,
        about={"run": str(path.resolve()), "cohort": CohortRule(**declaration.cohort["rule"]).says()},
        rule=declaration.cohort["rule"],
        **where,
    )


def releases_of(ledger: Ledger, run_id: str) -> Releases:
    """The noised sums of a run, which lie beside the data with the ledger."""
    return Releases(ledger.folder / "releases" / run_id)


def train_declared(
    declaration: Declaration,
    run: Run,
    state: Any,
    first_round: int,
    update: ClientUpdate,
    members: int,
    member_keys: Callable[[], Sequence[int]],
    ledger: Ledger,
    *,
    workers: int | None = None,
    checkpoint_every: int = 50,
    on_round: Callable[[int, Any], None] = lambda round, state: None,
    on_users: Callable[[int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Any, int]:
    """Train as declared, `update` running beside the data; return the last state and the last round.

    `member_keys()` stands for the cohort's `members`, asked for only where there is no noise; `workers` None is one a
    core, or 1 where the device is not a CPU. `on_users` is told within a round how many users are done, of a simulation
    and where no other ranks have some of them. In a job of several ranks that this process is the first of, they are
    dealt the users instead.
    """
    plan = Plan(
        declaration.participation,
        declaration.mechanism,
        declaration.training.rounds,
        members,
        declaration.seed,
        member_keys() if declaration.training.noise_multiplier == 0 else None,
    )
    releases = releases_of(ledger, run.run_id)
    workers = workers or (None if declaration.device == "cpu" else 1)
    # Workers are forked first: neither the lock nor the ledger's connection may be shared with them.
    told = on_users if declaration.simulation else None
    at_work = distributed_engine(update) if joined() else local_engine(update, workers, told)
    with at_work as engine, run.locked(), ledger.rounds_of(run.run_id, declaration.event(), declaration.cell) as rounds:
        return train(
            declaration.algorithm,
            state,
            plan,
            engine,
            run,
            rounds,
            releases,
            first_round=first_round,
            checkpoint_every=checkpoint_every,
            on_round=on_round,
            stop=stop,
        )
