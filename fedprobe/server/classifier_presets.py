"""Everything that decides the federated training of a classifier, and sets of it to start from."""

from dataclasses import dataclass

from fedprobe.models.classifier import ClassifierConfig
from fedprobe.server.algorithms.dp_fedavg import DpFedAvg
from fedprobe.server.hyperparameters import require_in_range
from fedprobe.server.optimizer import optimizer_of

# The share of each user's examples that a simulation is tested on.
HELD_OUT = 0.1


@dataclass(frozen=True)
class ClassifierTraining:
    """The hyperparameters of `train-classifier --method fedavg`, spelled as its options are.

    `server_momentum` is Nesterov's momentum, or Adam's first beta; the classifier that is kept is the exponential
    average with decay `model_average` (0: none). `held_out` is the share of each user's examples that she does not
    train on, so that a simulation can be tested on them.
    """

    users_per_round: int
    rounds: int
    noise_multiplier: float
    clip_norm: float
    local_batch_size: int
    local_epochs: int
    examples_per_user: int
    client_learning_rate: float
    server_optimizer: str
    server_learning_rate: float
    server_momentum: float
    model_average: float
    held_out: float = 0.0

    def __post_init__(self) -> None:
        at_least_one = ("users_per_round", "rounds", "local_batch_size", "local_epochs", "examples_per_user")
        require_in_range(self, at_least_one, below_one=("server_momentum", "model_average", "held_out"))
        # A name is checked by who knows it, before anything is planned with it.
        _ = optimizer_of(self)

    def algorithm(self, config: ClassifierConfig, seed: int, device: str) -> DpFedAvg:
        """Algorithm 2 with these hyperparameters."""
        return DpFedAvg(config, optimizer_of(self), self.model_average, seed, device)

    @property
    def provenance(self) -> str:
        """Where such a classifier comes from, for the cohorts that it decides: `dp`, or `conditional` without noise."""
        return "dp" if self.noise_multiplier > 0 else "conditional"


PRESETS = {
    # The paper trains its primary classifier on pooled examples, so it has no preset for this. Tuned on Federated
    # EMNIST, which is public (466 users, 62 classes, without noise and at z = 0.01).
    "quick": ClassifierTraining(
        users_per_round=16,
        rounds=150,
        noise_multiplier=0.01,
        clip_norm=1.0,
        local_batch_size=16,
        local_epochs=1,
        examples_per_user=128,
        client_learning_rate=0.1,
        server_optimizer="momentum",
        server_learning_rate=1.0,
        server_momentum=0.9,
        model_average=0.9,
    ),
}
