"""Networks of the workloads that simulators are compared on, with nothing but torch: peers train the same ones."""

from torch import Tensor, nn
from torch.nn import functional

from fedprobe.models.classifier import channels_last
from fedprobe.models.dropout import dropout

LABELS = 62


class LeafCnn(nn.Module):
    """LEAF's CNN for EMNIST; images [B, 1, 28, 28] to logits [B, 62]. Source: Caldas et al. 2018, as in FedJAX."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.sparse = nn.Dropout(0.25)
        self.head = nn.Sequential(nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, LABELS))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        features = self.second(self.first(images_BCHW).relu()).relu()
        return self.head(self.sparse(functional.max_pool2d(features, 2)).flatten(1))


class Dropout(nn.Dropout):
    """`nn.Dropout` as fedprobe does it in its language models."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x


class ChannelsLastCnn(LeafCnn):
    """The same network, but for the order in which the dense layer has its inputs: place by place.

    Channels lie last in memory and stay there, so that nothing is copied; a maximum is taken before the ReLU, which is
    the same as after it, of a quarter of the values. Dropout is fedprobe's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sparse = Dropout(0.25)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        features = self.second(self.first(channels_last(images_BCHW)).relu_())
        features = functional.max_pool2d(features, 2).relu_()
        return self.head(self.sparse(features).permute(0, 2, 3, 1).flatten(1))
