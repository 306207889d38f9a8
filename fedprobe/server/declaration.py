"""A training from its declaration to its run directory: what a `train-*` command does once it has a cohort."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from fedprobe.clients.updates import ClientUpdate
from fedprobe.models.vocabulary import Vocabulary
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.privacy.statement import PrivacyStatement, state
from fedprobe.runs import Run
from fedprobe.server.engines.local import local_engine
from fedprobe.server.participation import PoissonParticipation
from fedprobe.server.training import Algorithm, Plan, train


class Networks(Protocol):
    """The configuration of what is trained."""

    def to_json(self) -> dict: ...


class Training(Protocol):
    """The hyperparameters of a training: a frozen dataclass, `GanTraining` or `LanguageTraining`."""

    users_per_round: int
    rounds: int
    noise_multiplier: float
    clip_norm: float

    def algorithm(self, config: Any, seed: int, device: str) -> Algorithm: ...


@dataclass(frozen=True)
class Declaration:
    """Everything about a run that is fixed before its first round.

    `command` trains `networks` as `training` says. `cohort` is the cohort file's JSON; `population` is N_hat;
    `conditional_on` names what knows these users and decided the membership or the symbols (`primary model`,
    `vocabulary`), None where nothing does. `vocabulary` holds a word model's words, `text` how
    text shards are read.
    """

    command: str
    training: Training
    networks: Networks
    cohort: dict
    population: int
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

    def __post_init__(self) -> None:
        # Each of them checks its own: what cannot be trained is not declared. Raises ValueError.
        _ = self.participation, self.mechanism, self.algorithm

    @property
    def simulation(self) -> bool:
        """Whether the cohort was counted in a simulation."""
        return self.cohort.get("count_is") == "exact-simulation"

    @property
    def participation(self) -> PoissonParticipation:
        return PoissonParticipation(self.training.users_per_round, self.population)

    @property
    def mechanism(self) -> Mechanism:
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
            self.participation.event(self.training.noise_multiplier, self.training.rounds),
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
            "delta": self.statement().delta,
            "accountant": self.accountant,
            "conditional_on": self.conditional_on,
            "vocabulary": None if self.vocabulary is None else self.vocabulary.digest,
            "text": self.text,
            "seed": self.seed,
            "device": self.device,
            "shards": list(self.shards),
        }

    def privacy(self) -> dict:
        """The run's `privacy.json`."""
        statement = self.statement()
        return {
            "event": self.participation.event(self.training.noise_multiplier, self.training.rounds).to_json(),
            "delta": statement.delta,
            "users_per_round": self.training.users_per_round,
            "population": self.population,
            "conditional_on": self.conditional_on,
            "simulation": self.simulation,
            "population_id": self.cohort["population"],
            "measurement": self.cohort["measurement"],
        }


def start(declaration: Declaration, path: Path) -> tuple[Run, Any, int]:
    """A new run at `path`, its initial state and its first round. Raises RunError if it is there already."""
    run = Run.create(path, declaration.config(), declaration.privacy(), declaration.vocabulary)
    return run, declaration.algorithm.init(), 1


def resume(declaration: Declaration, path: Path) -> tuple[Run, Any, int]:
    """The run at `path`, the state of its latest checkpoint, and the round after it.

    More rounds than before are a new plan. Raises RunError where anything else was declared otherwise, StoredError
    where the checkpoint is damaged.
    """
    run = Run.open(path)
    # Before its checkpoint is read, which may fit no model of this command.
    run.require_same(declaration.config())
    state, done = declaration.algorithm.init(), 0
    if run.checkpoints():
        tensors, done = run.load()
        # Counters stay where torch's optimisers keep them, on the CPU.
        tensors = {name: value.to(declaration.device) if value.dim() else value for name, value in tensors.items()}
        state = declaration.algorithm.restore(tensors)
    with run.locked():
        run.plan(declaration.config(), declaration.privacy())
        run.forget_metrics_after(done)
    return run, state, done + 1


def train_declared(
    declaration: Declaration,
    run: Run,
    state: Any,
    first_round: int,
    update: ClientUpdate,
    member_keys: Sequence[int],
    *,
    workers: int | None = None,
    checkpoint_every: int = 50,
    on_round: Callable[[int, Any], None] = lambda round, state: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Any, int]:
    """Train as declared, `update` running beside the data; return the last state and the last round.

    `member_keys` stands for the cohort's members; `workers` None is one a core, or 1 where the device is not a CPU.
    """
    plan = Plan(
        declaration.participation,
        declaration.mechanism,
        declaration.training.rounds,
        member_keys,
        declaration.seed,
        reproducible=declaration.training.noise_multiplier == 0,
    )
    with run.locked(), local_engine(update, workers or (None if declaration.device == "cpu" else 1)) as engine:
        return train(
            declaration.algorithm,
            state,
            plan,
            engine,
            run,
            first_round=first_round,
            checkpoint_every=checkpoint_every,
            on_round=on_round,
            stop=stop,
        )
