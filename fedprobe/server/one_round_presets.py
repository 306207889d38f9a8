"""Everything that decides a one-round generator, and a set of it to start from."""

from dataclasses import dataclass, field

from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.server.algorithms.mean_embedding import MeanEmbedding
from fedprobe.server.hyperparameters import require_in_range


@dataclass(frozen=True)
class OneRoundTraining:
    """The hyperparameters of `train-gan --method one-round`, spelled as its options are.

    `classes` None makes images without regard to labels. A user's vector has norm 1 by construction, which is the
    clip norm. `users_per_round` None: every user takes part, once.
    """

    noise_multiplier: float
    classes: int | None
    coefficients: int
    clip_norm: float = field(default=1.0, init=False)
    users_per_round: int | None = field(default=None, init=False)
    rounds: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        require_in_range(self, ("coefficients",), ())
        if self.classes is not None and self.classes < 1:
            raise ValueError("--classes must be at least 1")

    def networks(self, shape: tuple[int, int, int]) -> EmbeddingConfig:
        """The feature map for images of `shape` (C, H, W). Raises ValueError for what it cannot take."""
        channels, height, width = shape
        coefficients = min(self.coefficients, height * width)
        return EmbeddingConfig(height, width, channels, self.classes, coefficients, details=True)

    def algorithm(self, config: EmbeddingConfig, seed: int, device: str) -> MeanEmbedding:
        """The one-round method; nothing in it is drawn, and the fit takes no accelerator."""
        return MeanEmbedding(config, self.noise_multiplier * self.clip_norm)


PRESETS = {
    # The noise is that of epsilon 1 at delta 1e-6. Tuned on MNIST by writer and Federated EMNIST, which are public.
    "quick": OneRoundTraining(noise_multiplier=4.225, classes=None, coefficients=144),
}
