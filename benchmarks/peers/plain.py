"""The workloads as a careful user of torch writes them: fedprobe's networks and losses, torch's own gradients.

Nothing but torch is imported, so that every peer's environment can run it. Content is noise, seeded by user.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.networks import LABELS, LeafCnn
from benchmarks.peers.environments import W1_PLAIN
from fedprobe.models.cifg import CifgLayer
from fedprobe.models.gan import GanConfig, generator_loss
from fedprobe.models.language import LanguageConfig

# An L2 penalty of 1.25e-5 |w|^2 as an optimiser's weight decay; the paper's critic has it on all of its weights.
CRITIC_WEIGHT_DECAY = 2.5e-5
_PENALTY = 10.0
_SYMBOLS = 258
_BEGIN, _END = 256, 257


@dataclass(frozen=True)
class Plain:
    """One workload's figures; `examples` a user, `batch` of them a step. `generator_steps` follow on the server."""

    users_per_round: int
    population: int
    examples: int
    batch: int
    learning_rate: float
    noise_multiplier: float
    server_momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.1


WORKLOADS = {
    "W1": Plain(100, 200, 64, 16, 0.5, 1.0, server_momentum=0.99),
    "W2": Plain(10, 20, 192, 32, 0.0005, 0.01, weight_decay=CRITIC_WEIGHT_DECAY),
    "W3": Plain(50, 100, 100, 20, 0.1, 1.0),
}
WORKLOADS[W1_PLAIN] = WORKLOADS["W1"]


class CifgLoop(CifgLayer):
    """The same layer with a gradient that torch derives: a loop over time, the inputs' products made beforehand."""

    def forward(self, x_TBI: Tensor) -> Tensor:
        r, c = self.start(x_TBI.shape[1])
        outputs = []
        for gates in functional.linear(x_TBI, self.w_input, self.bias):
            f, o, g = torch.addmm(gates, r, self.w_recurrent.T).chunk(3, dim=1)
            f = f.sigmoid()
            c = torch.lerp(g.tanh(), c, f)
            r = (o.sigmoid() * c.tanh()) @ self.w_projection.T
            outputs.append(r)
        return torch.stack(outputs)


class CifgPlain(CifgLayer):
    """The same again with the equations as they stand, which takes more calls a step."""

    def forward(self, x_TBI: Tensor) -> Tensor:
        r, c = self.start(x_TBI.shape[1])
        outputs = []
        for inputs in functional.linear(x_TBI, self.w_input, self.bias):
            f, o, g = (inputs + r @ self.w_recurrent.T).chunk(3, dim=1)
            f, o, g = f.sigmoid(), o.sigmoid(), g.tanh()
            c = f * c + (1 - f) * g
            r = (o * c.tanh()) @ self.w_projection.T
            outputs.append(r)
        return torch.stack(outputs)


class Critic(nn.Module):
    """The paper's critic with its generator, which `loss` draws fakes from and does not train."""

    def __init__(self) -> None:
        super().__init__()
        config = GanConfig("paper", 28, 28)
        self.critic = config.critic()
        # In a list, whose parameters are none of this module's.
        self._generator = [config.generator().train()]

    @property
    def generator(self) -> nn.Module:
        return self._generator[0]

    def loss(self, real: Tensor) -> Tensor:
        """WGAN-GP with a second backward pass; the L2 penalty is the optimiser's weight decay."""
        with torch.no_grad():
            fake = self.generator(torch.randn(len(real), self.generator.latent_size))
        between = torch.lerp(real, fake, torch.rand(len(real), 1, 1, 1)).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        norms = (slope.flatten(1).square().sum(1) + 1e-10).sqrt()
        return self.critic(fake).mean() - self.critic(real).mean() + _PENALTY * (norms - 1).square().mean()

    def generator_phase(self) -> None:
        """What the server does after a round: 6 steps of 32 latents against the critic."""
        optimizer = torch.optim.SGD(self.generator.parameters(), lr=0.005)
        self.critic.requires_grad_(False)
        for _ in range(6):
            optimizer.zero_grad()
            generator_loss(self.critic, self.generator, torch.randn(32, self.generator.latent_size)).backward()
            optimizer.step()
        self.critic.requires_grad_(True)


class Classifier(LeafCnn):
    """LEAF's CNN with the loss it is trained on."""

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(self(images), labels)


def _language_model(layer: type[CifgLayer]) -> nn.Module:
    model = LanguageConfig(_SYMBOLS, 128, 256, 128, 3, peepholes=False, tied=False).build()
    model.layers = nn.ModuleList(layer(128, 256, 128, False) for _ in range(3))
    for made in model.layers:
        # The first one is asked for rows of the embedding, whose gradient fedprobe writes out, too.
        made.by_hand = False
    return model


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "W1": partial(_language_model, CifgLoop),
    W1_PLAIN: partial(_language_model, CifgPlain),
    "W2": Critic,
    "W3": Classifier,
}


def user_data(name: str, user: int) -> tuple[Tensor, ...]:
    """One user's tensors, examples first."""
    stream, examples = torch.Generator().manual_seed(user), WORKLOADS[name].examples
    if name in ("W1", W1_PLAIN):
        # Words of 19 letters, as in ../workloads.py: what a letter costs is the same for all but fedprobe.
        letters = torch.randint(ord("a"), ord("z") + 1, (examples, 19), generator=stream)
        mark = letters.new_ones(examples, 1)
        return torch.cat([_BEGIN * mark, letters], dim=1), torch.cat([letters, _END * mark], dim=1)
    images = torch.rand(examples, 1, 28, 28, generator=stream) * 2 - 1
    return (images,) if name == "W2" else (images, torch.randint(0, LABELS, (examples,), generator=stream))


def batches(name: str, data: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """The batches of a user's local epoch."""
    return zip(*(part.split(WORKLOADS[name].batch) for part in data), strict=True)


def arguments(description: str) -> argparse.Namespace:
    """The options that every peer's script has."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--workload", choices=list(WORKLOADS), required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--users", type=int, help="Users a round, of twice as many, for a quick look.")
    return parser.parse_args()


def say(peer: str, workload: str, round: int) -> None:
    """The line that ends a round."""
    print(json.dumps({"impl": peer, "workload": workload, "round": round}), flush=True)
