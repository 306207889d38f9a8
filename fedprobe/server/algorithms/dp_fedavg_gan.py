"""DP-FedAvg-GAN: Algorithm 1 of Augenstein et al., "Generative Models for Effective ML on Private, Decentralized
Datasets", ICLR 2020.

The critic is trained on devices and reaches the server only as a noised sum; the generator is trained at the
server against that critic, which is post-processing: the generator, its samples and everything made of them carry
the critic's guarantee.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from fedprobe.models.flat import attach, flatten
from fedprobe.models.gan import GanConfig, attach_generator, generator_gradient
from fedprobe.privacy.randomness import key
from fedprobe.server.optimizer import Optimizer

_GROUPS = ("buffers", "average_buffers", "critic_optimizer", "generator_optimizer")


@dataclass(frozen=True)
class GanState:
    """Everything that a round changes: flat parameters [P], the generator's moving statistics, optimiser states.

    `average` and `average_buffers` are the exponential average of the generator, from which samples are drawn.
    """

    critic: Tensor
    generator: Tensor
    average: Tensor
    buffers: dict[str, Tensor]
    average_buffers: dict[str, Tensor]
    critic_optimizer: dict[str, Tensor]
    generator_optimizer: dict[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors, for a checkpoint."""
        flat = {"critic": self.critic, "generator": self.generator, "average": self.average}
        for group in _GROUPS:
            flat |= {f"{group}/{name}": value for name, value in getattr(self, group).items()}
        return flat

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "GanState":
        """The state that `tensors` was made from."""
        groups: dict[str, dict] = {group: {} for group in _GROUPS}
        flat = {}
        for name, value in tensors.items():
            group, _, rest = name.partition("/")
            if rest:
                groups[group][rest] = value
            else:
                flat[name] = value
        return cls(**flat, **groups)


@dataclass(frozen=True)
class DpFedAvgGan:
    """Algorithm 1. A value: `init` makes a state, `broadcast` what devices get, `apply` the next state.

    `generator_steps` (n) of `generator_batch_size` (B) latents follow every `critic_rounds_per_generator_phase`
    rounds on devices. All randomness here is public: a hash of (`seed`, what for, round).
    """

    config: GanConfig
    critic_optimizer: Optimizer
    generator_optimizer: Optimizer
    local_steps: int
    local_batch_size: int
    generator_steps: int
    generator_batch_size: int
    critic_rounds_per_generator_phase: int
    generator_average: float
    seed: int
    device: str = "cpu"

    def init(self) -> GanState:
        """Initial parameters, from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(self.seed, "initial parameters"))
            critic, generator = self.config.critic(), self.config.generator()
        vector = flatten(generator).to(self.device)
        buffers = {name: value.to(self.device) for name, value in generator.named_buffers()}
        return GanState(flatten(critic).to(self.device), vector, vector.clone(), buffers, dict(buffers), {}, {})

    def restore(self, tensors: Mapping[str, Tensor]) -> GanState:
        """The state that `tensors` was made from. Raises ValueError where it is none of these networks'."""
        fresh = self.init().tensors()
        vectors = {"critic_optimizer": fresh["critic"], "generator_optimizer": fresh["generator"]}
        for name, value in tensors.items():
            group, inside, _ = name.partition("/")
            like = fresh.get(name, vectors.get(group) if inside else None)
            # Optimisers count in scalars.
            if like is None or (value.shape != like.shape and (name in fresh or value.dim())):
                raise ValueError("the tensors are none of these networks'")
        if not fresh.keys() <= tensors.keys():
            raise ValueError("the tensors are none of these networks'")
        return GanState.from_tensors(tensors)

    def broadcast(self, state: GanState, round: int) -> dict[str, Tensor]:
        """What every device of the round gets: the critic [P] and fake images [steps, B, C, H, W]."""
        latents = self._latents("fakes", round, self.local_steps * self.local_batch_size)
        with torch.no_grad():
            fakes = self._load(state).train()(latents)
        return {
            "critic": state.critic,
            "fakes": fakes.unflatten(0, (self.local_steps, self.local_batch_size)),
        }

    def apply(self, state: GanState, mean_update_P: Tensor, round: int) -> tuple[GanState, dict[str, float]]:
        """The state after one noised mean update of the critic, and figures to log, all made from released values."""
        update = mean_update_P.to(device=self.device, dtype=state.critic.dtype)
        critic_vector = state.critic.clone()
        critic_optimizer = self.critic_optimizer.step(critic_vector, -update, state.critic_optimizer)
        state = replace(state, critic=critic_vector, critic_optimizer=critic_optimizer)
        figures = {"released_update_norm": float(update.norm())}
        if round % self.critic_rounds_per_generator_phase == 0:
            state, loss = self._generator_phase(state, round)
            figures["generator_loss"] = loss
        return state, figures

    def _generator_phase(self, state: GanState, round: int) -> tuple[GanState, float]:
        """GenUpdate: `generator_steps` steps against the critic as it was just released."""
        critic, _ = self._modules
        attach(critic, state.critic)
        vector, average = state.generator.clone(), state.average.clone()
        generator = self._load(replace(state, generator=vector)).train()
        optimizer_state = state.generator_optimizer
        latents = self._latents("generator", round, self.generator_steps * self.generator_batch_size)
        # The average must not remember the untrained generator for long.
        phase = round // self.critic_rounds_per_generator_phase
        decay = min(self.generator_average, phase / (phase + 9))
        averaged = {name: value.clone() for name, value in state.average_buffers.items()}
        loss, gradient = 0.0, torch.empty_like(vector)
        for batch in latents.split(self.generator_batch_size):
            loss = generator_gradient(critic, generator, batch, gradient)
            optimizer_state = self.generator_optimizer.step(vector, gradient, optimizer_state)
            average.lerp_(vector, 1 - decay)
            for name, value in generator.named_buffers():
                if value.is_floating_point():
                    averaged[name].lerp_(value, 1 - decay)
                else:
                    averaged[name].copy_(value)
        changed = replace(
            state,
            generator=vector,
            average=average,
            buffers={name: value.clone() for name, value in generator.named_buffers()},
            average_buffers=averaged,
            generator_optimizer=optimizer_state,
        )
        return changed, loss

    @cached_property
    def _modules(self) -> tuple[nn.Module, nn.Module]:
        """Modules to compute with; whatever they hold is overwritten before each use."""
        return self.config.critic().to(self.device), self.config.generator().to(self.device)

    def _load(self, state: GanState) -> nn.Module:
        return attach_generator(self._modules[1], state.generator, state.buffers)

    def _latents(self, purpose: str, round: int, count: int) -> Tensor:
        """Standard normal latents [count, U] from the public stream of this purpose and round."""
        stream = torch.Generator().manual_seed(key(self.seed, purpose, round))
        return torch.randn(count, self._modules[1].latent_size, generator=stream).to(self.device)
