"""Everything that decides a GAN training, and two sets of it to start from."""

from dataclasses import dataclass

from fedprobe.models.gan import LEAST_SIDE, GanConfig
from fedprobe.server.algorithms.dp_fedavg_gan import DpFedAvgGan
from fedprobe.server.hyperparameters import require_in_range
from fedprobe.server.optimizer import Optimizer


@dataclass(frozen=True)
class GanTraining:
    """The hyperparameters of `train-gan`, spelled as its options are.

    `server_momentum` and `generator_momentum` are Nesterov's momentum, or Adam's first beta. `generator_average` is
    the decay of the exponential average of the generator that samples are drawn from (0: no average).
    """

    architecture: str
    users_per_round: int
    rounds: int
    noise_multiplier: float
    clip_norm: float
    local_batch_size: int
    local_steps: int
    client_learning_rate: float
    gradient_penalty: float
    server_optimizer: str
    server_learning_rate: float
    server_momentum: float
    critic_rounds_per_generator_phase: int
    generator_steps: int
    generator_batch_size: int
    generator_optimizer: str
    generator_learning_rate: float
    generator_momentum: float
    generator_average: float

    def __post_init__(self) -> None:
        # Names are checked by those who know them, before anything is planned with them.
        _ = GanConfig(self.architecture, LEAST_SIDE, LEAST_SIDE)
        for name in (self.server_optimizer, self.generator_optimizer):
            _optimizer(name, 0.0, 0.0)
        at_least_one = ("users_per_round", "rounds", "local_batch_size", "local_steps", "generator_steps")
        require_in_range(self, at_least_one, below_one=("server_momentum", "generator_momentum", "generator_average"))
        if self.critic_rounds_per_generator_phase < 1 or self.generator_batch_size < 2:
            raise ValueError("a generator phase needs at least one critic round and batches of at least 2")
        if self.local_batch_size * self.local_steps < 2:
            raise ValueError("--local-steps times --local-batch-size must be at least 2, for batch normalisation")

    def networks(self, shape: tuple[int, int, int]) -> GanConfig:
        """The networks for images of `shape` (C, H, W)."""
        channels, height, width = shape
        return GanConfig(self.architecture, height, width, channels)

    def algorithm(self, config: GanConfig, seed: int, device: str) -> DpFedAvgGan:
        """Algorithm 1 with these hyperparameters."""
        return DpFedAvgGan(
            config,
            _optimizer(self.server_optimizer, self.server_learning_rate, self.server_momentum),
            _optimizer(self.generator_optimizer, self.generator_learning_rate, self.generator_momentum),
            self.local_steps,
            self.local_batch_size,
            self.generator_steps,
            self.generator_batch_size,
            self.critic_rounds_per_generator_phase,
            self.generator_average,
            seed,
            device,
        )


def _optimizer(name: str, learning_rate: float, momentum: float) -> Optimizer:
    # The second beta of Kingma and Ba's GAN practice with WGAN-GP (Gulrajani et al. 2017): 0.9.
    return Optimizer(name, learning_rate, momentum, (momentum, 0.9))


PRESETS = {
    # Augenstein et al. 2020, Table 9 and the authors' code, which has plain SGD everywhere and no average.
    "paper": GanTraining(
        architecture="paper",
        users_per_round=10,
        rounds=1000,
        noise_multiplier=0.01,
        clip_norm=0.1,
        local_batch_size=32,
        local_steps=6,
        client_learning_rate=0.0005,
        gradient_penalty=10.0,
        server_optimizer="sgd",
        server_learning_rate=1.0,
        server_momentum=0.0,
        critic_rounds_per_generator_phase=1,
        generator_steps=6,
        generator_batch_size=32,
        generator_optimizer="sgd",
        generator_learning_rate=0.005,
        generator_momentum=0.0,
        generator_average=0.0,
    ),
    # Tuned on Federated EMNIST to show characters within a minute or two on a laptop, at the paper's z = 0.01.
    "quick": GanTraining(
        architecture="small",
        users_per_round=10,
        rounds=600,
        noise_multiplier=0.01,
        clip_norm=0.03,
        local_batch_size=16,
        local_steps=1,
        client_learning_rate=0.01,
        gradient_penalty=10.0,
        server_optimizer="adam",
        server_learning_rate=0.004,
        server_momentum=0.0,
        critic_rounds_per_generator_phase=1,
        generator_steps=1,
        generator_batch_size=32,
        generator_optimizer="adam",
        generator_learning_rate=0.002,
        generator_momentum=0.0,
        generator_average=0.97,
    ),
}
