"""Networks of the workloads that simulators are compared on, with nothing but torch: peers train the same ones."""

import torch
from torch import Tensor, nn

LABELS = 62


class LeafCnn(nn.Module):
    """LEAF's CNN for EMNIST; images [B, 1, 28, 28] to logits [B, 62]. Source: Caldas et al. 2018, as in FedJAX.

    `memory_format` is the layout that weights and images have in memory; the function is the same.
    """

    def __init__(self, memory_format: torch.memory_format = torch.channels_last) -> None:
        super().__init__()
        self.memory_format = memory_format
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU()),
            *(nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten()),
        )
        self.head = nn.Sequential(nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, LABELS))
        self.to(memory_format=memory_format)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.head(self.features(images_BCHW.contiguous(memory_format=self.memory_format)))
