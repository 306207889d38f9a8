"""The paper's critic and generator.

Source: the authors' code for Augenstein et al. 2020, Section 6 (a DCGAN after TF-GAN's MNIST example), with one
deliberate difference: the critic has no batch normalisation. Its moving statistics would leave the device beside
the clipped update, or fill it; biases or group normalisation stand in its place.
"""

from torch import Tensor, nn

# Shapes: B images, C channels, H x W pixels, U latent size. Images lie in [-1, 1].

LATENT_SIZE = 128
# The authors' batch normalisation has momentum 0.999, which torch counts the other way round.
_MOMENTUM = 0.001


class PaperCritic(nn.Module):
    """Images [B, C, H, W] to scores [B]. 6,556,865 parameters for 28 x 28 x 1, none of them buffers.

    `grouped`: group normalisation before the last non-linearity instead of a bias.
    """

    def __init__(self, channels: int, height: int, width: int, grouped: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 64, 4, stride=2, padding=1),
            nn.LeakyReLU(0.01),
            nn.Conv2d(64, 128, 4, stride=2, padding=1),
            nn.LeakyReLU(0.01),
            nn.Flatten(),
            nn.Linear(128 * (height // 4) * (width // 4), 1024, bias=not grouped),
            nn.GroupNorm(8, 1024) if grouped else nn.Identity(),
            nn.LeakyReLU(0.01),
            nn.Linear(1024, 1),
        )
        _initialise(self)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.layers(images_BCHW).squeeze(1)

    def penalised(self) -> list[Tensor]:
        """The weights under the L2 penalty: all of them."""
        return list(self.parameters())


class PaperGenerator(nn.Module):
    """Latent vectors [B, U] to images [B, C, H, W]. It stays at the server, so it may have buffers.

    13,285,217 parameters and 27,328 moving statistics for 28 x 28 x 1. Sizes that four does not divide are generated
    larger and cropped.
    """

    latent_size = LATENT_SIZE

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)
        self.quarter = (-(-height // 4), -(-width // 4))
        folded = 256 * self.quarter[0] * self.quarter[1]
        self.dense = nn.Sequential(
            nn.Linear(LATENT_SIZE, 1024, bias=False),
            _shift_only(nn.BatchNorm1d, 1024),
            nn.ReLU(),
            nn.Linear(1024, folded, bias=False),
            _shift_only(nn.BatchNorm1d, folded),
            nn.ReLU(),
        )
        self.upsample = nn.Sequential(
            nn.ConvTranspose2d(256, 64, 4, stride=2, padding=1, bias=False),
            _shift_only(nn.BatchNorm2d, 64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False),
            _shift_only(nn.BatchNorm2d, 32),
            nn.ReLU(),
        )
        # An even kernel that keeps the size: one row before, two after, as the authors' framework pads.
        self.last = nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(32, channels, 4), nn.Tanh())
        _initialise(self)

    def forward(self, latents_BU: Tensor) -> Tensor:
        folded = self.dense(latents_BU).unflatten(1, (256, *self.quarter))
        return self.last(self.upsample(folded))[:, :, : self.size[0], : self.size[1]]

    def penalised(self) -> list[Tensor]:
        """The weights under the L2 penalty: every kernel but the last layer's."""
        return [weight for name, weight in self.named_parameters() if weight.dim() > 1 and not name.startswith("last")]


def _shift_only(kind: type[nn.Module], width: int) -> nn.Module:
    """Batch normalisation with a trainable shift and no scale, as the authors have it."""
    layer = kind(width, eps=1e-3, momentum=_MOMENTUM)
    layer.weight.requires_grad_(False)
    return layer


def _initialise(module: nn.Module) -> None:
    """Glorot-uniform kernels and zero biases, the defaults of the authors' framework."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
