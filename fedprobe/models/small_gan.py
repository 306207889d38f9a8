"""A small critic and generator for a laptop: strokes within minutes instead of hours.

A critic of two strided convolutions and a linear score is enough to teach a generator of handwriting, and its update
has 28,185 coordinates for the noise to fall on instead of 6.6 million.
"""

import torch
from torch import Tensor, nn

# Shapes: B images, C channels, H x W pixels, U latent size. Images lie in [-1, 1].

LATENT_SIZE = 64


class SmallCritic(nn.Module):
    """Images [B, C, H, W] to scores [B]. 28,185 parameters for 28 x 28 x 1, no buffers."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 24, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(24, 64, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(64 * (height // 4) * (width // 4), 1),
        )

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.layers(images_BCHW).squeeze(1)

    def penalised(self) -> list[Tensor]:
        """No weight is under an L2 penalty."""
        return []


class SmallGenerator(nn.Module):
    """Latent vectors [B, U] to images [B, C, H, W]. 262,545 parameters for 28 x 28 x 1.

    Sizes that four does not divide are generated larger and cropped.
    """

    latent_size = LATENT_SIZE

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)
        self.quarter = (-(-height // 4), -(-width // 4))
        self.dense = nn.Linear(LATENT_SIZE, 64 * self.quarter[0] * self.quarter[1], bias=False)
        self.upsample = nn.Sequential(
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 48, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.ConvTranspose2d(48, 16, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, channels, 3, padding=1),
        )

    def forward(self, latents_BU: Tensor) -> Tensor:
        folded = self.dense(latents_BU).unflatten(1, (64, *self.quarter))
        return torch.tanh(self.upsample(folded))[:, :, : self.size[0], : self.size[1]]

    def penalised(self) -> list[Tensor]:
        """No weight is under an L2 penalty."""
        return []
