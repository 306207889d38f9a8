"""Everything that decides the training of a language model, and sets of it to start from."""

from dataclasses import dataclass, replace

from fedprobe.models.language import LanguageConfig
from fedprobe.server.algorithms.dp_fedavg import DpFedAvg
from fedprobe.server.hyperparameters import require_in_range
from fedprobe.server.optimizer import optimizer_of

SCHEDULES = ("constant", "linear")


@dataclass(frozen=True)
class LanguageTraining:
    """The hyperparameters of `train-wordlm` and `train-charlm`, spelled as their options are.

    A sequence is a sentence of words, or a word of bytes; `server_momentum` is Nesterov's momentum, or Adam's first
    beta; a `server_schedule` of `linear` takes the server's learning rate down to zero over the planned rounds;
    `server_weight_decay` is that of `Optimizer` (0: none); samples are drawn from the model's exponential average with
    decay `model_average` (0: none); `dropout` is that of `LanguageConfig`. The paper has none of the four.
    `symbols_per_user` caps what a user trains on in a round, end symbols included; `distinct`: a sequence that she has
    many times counts once.
    """

    embedding: int
    hidden: int
    projection: int
    layers: int
    peepholes: bool
    tied: bool
    users_per_round: int
    rounds: int
    noise_multiplier: float
    clip_norm: float
    local_batch_size: int
    local_epochs: int
    sequences_per_user: int
    symbols_per_user: int
    sequence_length: int
    client_learning_rate: float
    server_optimizer: str
    server_learning_rate: float
    server_momentum: float
    server_schedule: str
    server_weight_decay: float
    model_average: float
    dropout: float = 0.0
    distinct: bool = False

    def __post_init__(self) -> None:
        at_least_one = (
            *("embedding", "hidden", "projection", "layers", "users_per_round", "rounds"),
            *("local_batch_size", "local_epochs", "sequences_per_user", "sequence_length"),
        )
        require_in_range(self, at_least_one, below_one=("server_momentum", "model_average", "dropout"))
        if self.symbols_per_user <= self.sequence_length:
            raise ValueError("--symbols-per-user must be above --sequence-length, to hold one whole sequence")
        if self.server_schedule not in SCHEDULES:
            raise ValueError(f"--server-schedule is one of {', '.join(SCHEDULES)}")
        if self.tied and self.projection != self.embedding:
            raise ValueError("--projection must be --embedding: the preset ties the output to the embedding")
        # Names are checked by those who know them, before anything is planned with them.
        _ = self.networks(symbols=1), optimizer_of(self)

    def networks(self, symbols: int) -> LanguageConfig:
        """The model over `symbols` symbols."""
        sizes = self.embedding, self.hidden, self.projection, self.layers
        return LanguageConfig(symbols, *sizes, self.peepholes, self.tied, self.dropout)

    def algorithm(self, config: LanguageConfig, seed: int, device: str) -> DpFedAvg:
        """Algorithm 2 with these hyperparameters."""
        decays_over = self.rounds if self.server_schedule == "linear" else None
        optimizer = replace(optimizer_of(self), weight_decay=self.server_weight_decay)
        return DpFedAvg(config, optimizer, self.model_average, seed, device, decays_over)


# Augenstein et al. 2020, Section 5, Appendix B and Table 5. Not in the paper, from the same line of work: one local
# epoch, batches of 16, 256 sentences and 1,600 tokens a user, sentences of 20 tokens, a projection of 96 (which ties
# the word model's output to its embedding and makes the published 1.4M parameters).
_PAPER = {
    "users_per_round": 5000,
    "rounds": 2000,
    "noise_multiplier": 1.0,
    "local_batch_size": 16,
    "local_epochs": 1,
    "sequences_per_user": 256,
    "client_learning_rate": 0.5,
    "server_optimizer": "momentum",
    "server_learning_rate": 1.0,
    "server_momentum": 0.99,
    "server_schedule": "constant",
    "server_weight_decay": 0.0,
    "model_average": 0.0,
}
WORD_PRESETS = {
    "paper": LanguageTraining(
        embedding=96,
        hidden=670,
        projection=96,
        layers=1,
        peepholes=False,
        tied=True,
        clip_norm=0.2,
        sequence_length=20,
        symbols_per_user=1600,
        **_PAPER,
    ),
    # Tuned on commit messages, which are public, to show the paper's bug within a few minutes on a laptop.
    "quick": LanguageTraining(
        embedding=64,
        hidden=128,
        projection=64,
        layers=1,
        peepholes=False,
        tied=True,
        users_per_round=16,
        rounds=400,
        noise_multiplier=0.01,
        clip_norm=2.0,
        local_batch_size=16,
        local_epochs=1,
        sequences_per_user=64,
        symbols_per_user=1600,
        sequence_length=20,
        client_learning_rate=4.0,
        server_optimizer="momentum",
        server_learning_rate=1.0,
        server_momentum=0.9,
        server_schedule="constant",
        server_weight_decay=0.0,
        model_average=0.98,
    ),
}
CHAR_PRESETS = {
    # Chen et al. 2019's model of 758,274 parameters: with peepholes and an output of its own.
    "paper": LanguageTraining(
        embedding=128,
        hidden=256,
        projection=128,
        layers=3,
        peepholes=True,
        tied=False,
        clip_norm=0.1,
        sequence_length=32,
        symbols_per_user=8192,
        **_PAPER,
    ),
    "quick": LanguageTraining(
        embedding=64,
        hidden=256,
        projection=64,
        layers=1,
        peepholes=False,
        tied=False,
        users_per_round=20,
        rounds=1000,
        noise_multiplier=0.01,
        clip_norm=1.0,
        local_batch_size=16,
        local_epochs=1,
        sequences_per_user=64,
        symbols_per_user=2048,
        sequence_length=32,
        client_learning_rate=4.0,
        server_optimizer="momentum",
        server_learning_rate=1.0,
        server_momentum=0.9,
        server_schedule="constant",
        server_weight_decay=0.0,
        model_average=0.98,
    ),
}
