"""Algorithm 1 as a value: states go in and come out, and nothing that was given is changed."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fedprobe.models.gan import GanConfig
from fedprobe.models.stored import load_stored, store
from fedprobe.privacy.randomness import key
from fedprobe.server.algorithms.dp_fedavg_gan import DpFedAvgGan, GanState
from fedprobe.server.optimizer import Optimizer

CONFIG = GanConfig("small", 8, 9)
ADAM = Optimizer("adam", 0.01, 0.0, (0.0, 0.9))
GAN = DpFedAvgGan(
    CONFIG,
    critic_optimizer=Optimizer("momentum", 1.0, 0.9),
    generator_optimizer=ADAM,
    local_steps=2,
    local_batch_size=3,
    generator_steps=2,
    generator_batch_size=4,
    critic_rounds_per_generator_phase=1,
    generator_average=0.5,
    seed=7,
)


def update(state: GanState, seed: int = 0) -> Tensor:
    """A mean update as the mechanism releases it: float64."""
    return 0.01 * torch.randn(len(state.critic), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def bits(tensors: Mapping[str, Tensor]) -> dict[str, tuple]:
    return {name: (tensor.dtype, tensor.shape, tensor.numpy().tobytes()) for name, tensor in tensors.items()}


def moved(gan: DpFedAvgGan = GAN, rounds: int = 2) -> GanState:
    """A state that has momenta, moving statistics and an average of its own."""
    state = gan.init()
    for round in range(1, rounds + 1):
        state, _ = gan.apply(state, update(state, round), round)
    return state


def test_initial_parameters_come_from_the_seed_alone():
    torch.manual_seed(1)
    first = bits(GAN.init().tensors())
    torch.manual_seed(2)
    drawn = torch.random.get_rng_state()
    again = replace(GAN).init()
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert bits(again.tensors()) == first
    other = bits(replace(GAN, seed=8).init().tensors())
    assert other["critic"] != first["critic"]
    assert other["generator"] != first["generator"]


def test_the_first_state_has_networks_of_the_right_size_and_samples_from_the_generator():
    state = GAN.init()
    for module, vector in ((CONFIG.critic(), state.critic), (CONFIG.generator(), state.generator)):
        assert vector.shape == (sum(parameter.numel() for parameter in module.parameters()),)
    assert torch.equal(state.average, state.generator)
    assert bits(state.average_buffers) == bits(state.buffers)
    assert (state.critic_optimizer, state.generator_optimizer) == ({}, {})


def test_no_two_fields_of_the_first_state_share_what_a_step_would_change():
    state = GAN.init()
    state.average.fill_(9)
    assert not (state.generator == 9).any()


@pytest.mark.parametrize("start", [GAN.init, moved], ids=["first state", "later state"])
def test_nothing_that_was_given_is_changed(start):
    state = start()
    mean_update = update(state)
    before, given = bits(state.tensors()), mean_update.clone()
    GAN.broadcast(state, 3)
    after, _ = GAN.apply(state, mean_update, 3)
    assert bits(state.tensors()) == before
    assert torch.equal(mean_update, given)
    # Nor later, through memory that the two states might share.
    for tensor in after.tensors().values():
        tensor.zero_()
    assert bits({"critic": state.critic, "generator": state.generator, "average": state.average}) == {
        name: before[name] for name in ("critic", "generator", "average")
    }


def test_the_same_inputs_give_the_same_bits_whatever_was_computed_in_between():
    state = moved()
    first_public, (first_state, first_figures) = GAN.broadcast(state, 3), GAN.apply(state, update(state), 3)
    GAN.broadcast(GAN.init(), 9)
    GAN.apply(GAN.init(), update(state, 5), 9)
    for gan in (GAN, replace(GAN)):
        again_state, again_figures = gan.apply(state, update(state), 3)
        assert bits(gan.broadcast(state, 3)) == bits(first_public)
        assert bits(again_state.tensors()) == bits(first_state.tensors())
        assert again_figures == first_figures


def test_devices_get_the_critic_and_fake_images_of_the_generator_in_training_mode():
    state = moved()
    public = GAN.broadcast(state, 3)
    assert set(public) == {"critic", "fakes"}
    assert torch.equal(public["critic"], state.critic)
    assert public["fakes"].shape == (2, 3, 1, 8, 9)
    assert not public["fakes"].requires_grad
    generator = CONFIG.generator().train()
    nn.utils.vector_to_parameters(state.generator.clone(), generator.parameters())
    latents = torch.randn(6, 64, generator=torch.Generator().manual_seed(key(7, "fakes", 3)))
    with torch.no_grad():
        torch.testing.assert_close(public["fakes"].flatten(0, 1), generator(latents))


def test_every_round_and_every_purpose_has_its_own_latents():
    state = GAN.init()
    fakes = [GAN.broadcast(state, round)["fakes"] for round in (1, 2)]
    fakes.append(replace(GAN, seed=8).broadcast(state, 1)["fakes"])
    for number, one in enumerate(fakes):
        assert not any(torch.equal(one, other) for other in fakes[:number])
    assert len(fakes[0].flatten(0, 1).unique(dim=0)) == 6


def test_the_critic_moves_by_the_mean_update_where_its_optimiser_is_plain():
    gan = replace(GAN, critic_optimizer=Optimizer("sgd", 1.0))
    state = gan.init()
    after, figures = gan.apply(state, update(state), 1)
    torch.testing.assert_close(after.critic, (state.critic.double() + update(state)).float(), rtol=0, atol=1e-7)
    assert figures["released_update_norm"] == pytest.approx(float(update(state).norm()), rel=1e-6)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_generator_moves_only_after_every_so_many_critic_rounds(every):
    gan = replace(GAN, critic_rounds_per_generator_phase=every)
    state = gan.init()
    for round in range(1, 7):
        after, figures = gan.apply(state, update(state, round), round)
        due = round % every == 0
        assert torch.equal(after.generator, state.generator) != due
        assert torch.equal(after.average, state.average) != due
        assert (bits(after.buffers) != bits(state.buffers)) == due
        assert ("generator_loss" in figures) == due
        assert not torch.equal(after.critic, state.critic)
        state = after


def test_a_generator_phase_descends_against_the_critic_just_released():
    # GenUpdate, written out: n steps of plain SGD, each on fresh latents, against the critic after the update.
    gan = replace(GAN, critic_optimizer=Optimizer("sgd", 1.0), generator_optimizer=Optimizer("sgd", 0.05))
    state = gan.init()
    mean_update = 10 * update(state)
    after, figures = gan.apply(state, mean_update, 3)
    critic, generator = CONFIG.critic(), CONFIG.generator().train()
    nn.utils.vector_to_parameters((state.critic + mean_update).float(), critic.parameters())
    nn.utils.vector_to_parameters(state.generator.clone(), generator.parameters())
    optimizer = torch.optim.SGD(generator.parameters(), lr=0.05)
    latents = torch.randn(8, 64, generator=torch.Generator().manual_seed(key(7, "generator", 3)))
    for batch in latents.split(4):
        optimizer.zero_grad()
        loss = -critic(generator(batch)).mean()
        loss.backward()
        optimizer.step()
    expected = nn.utils.parameters_to_vector(generator.parameters()).detach()
    assert not torch.equal(expected, state.generator)
    torch.testing.assert_close(after.generator, expected, rtol=1e-5, atol=1e-6)
    assert figures["generator_loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
    for name, value in generator.named_buffers():
        torch.testing.assert_close(after.buffers[name], value)


def test_without_averaging_samples_come_from_the_last_generator():
    state = moved(replace(GAN, generator_average=0.0))
    assert torch.equal(state.average, state.generator)
    assert bits(state.average_buffers) == bits(state.buffers)


@pytest.mark.parametrize("round, decay", [(1, 0.1), (9, 0.5), (90, 90 / 99), (10**6, 0.97)])
def test_the_average_warms_up_so_that_it_forgets_the_untrained_generator(round, decay):
    # From an average of zeros, one step of average (1 - decay) times the new value.
    gan = replace(GAN, generator_average=0.97, generator_steps=1)
    start = gan.init()
    zeros = {name: torch.zeros_like(value) for name, value in start.average_buffers.items()}
    start = replace(start, average=torch.zeros_like(start.average), average_buffers=zeros)
    after, _ = gan.apply(start, update(start), round)
    torch.testing.assert_close(after.average, (1 - decay) * after.generator)
    for name, value in after.buffers.items():
        share = 1 - decay if value.is_floating_point() else 1
        torch.testing.assert_close(after.average_buffers[name], share * value)


@pytest.mark.parametrize("every", [1, 10, 50])
def test_the_warm_up_counts_generator_phases_however_rare_they_are(every):
    # The first phase leaves a tenth of the untrained generator, not 50 / 59 of it.
    gan = replace(GAN, generator_average=0.97, generator_steps=1, critic_rounds_per_generator_phase=every)
    start = replace(gan.init(), average=torch.zeros_like(gan.init().average))
    after, _ = gan.apply(start, update(start), every)
    torch.testing.assert_close(after.average, 0.9 * after.generator)


def test_parameters_and_moving_statistics_are_averaged_at_the_same_pace():
    gan = replace(GAN, generator_optimizer=Optimizer("sgd", 0.0), generator_average=0.8, generator_steps=3)
    start = gan.init()
    zeros = {name: torch.zeros_like(value) for name, value in start.average_buffers.items()}
    start = replace(start, average=torch.zeros_like(start.average), average_buffers=zeros)
    after, _ = gan.apply(start, update(start), 1000)
    torch.testing.assert_close(after.average, (1 - 0.8**3) * after.generator)
    generator = CONFIG.generator().train()
    nn.utils.vector_to_parameters(start.generator.clone(), generator.parameters())
    latents = torch.randn(12, 64, generator=torch.Generator().manual_seed(key(7, "generator", 1000)))
    average = {name: torch.zeros_like(value) for name, value in generator.named_buffers() if value.dim()}
    for batch in latents.split(4):
        generator(batch)
        average = {name: 0.8 * value + 0.2 * generator.get_buffer(name) for name, value in average.items()}
    for name, value in average.items():
        torch.testing.assert_close(after.average_buffers[name], value)


@pytest.mark.parametrize("optimizer", [Optimizer("sgd", 1.0), Optimizer("momentum", 1.0, 0.99), ADAM])
def test_a_state_read_back_from_a_checkpoint_goes_on_to_the_same_bits(optimizer, tmp_path):
    gan = replace(GAN, critic_optimizer=optimizer, generator_optimizer=optimizer)
    state = moved(gan)
    store(tmp_path / "one", state.tensors(), {})
    back = GanState.from_tensors(load_stored(tmp_path / "one")[0])
    assert bits(back.tensors()) == bits(state.tensors())
    assert back.buffers.keys() == state.buffers.keys()
    ahead = [gan.apply(one, update(one), 3)[0] for one in (state, back)]
    assert bits(ahead[0].tensors()) == bits(ahead[1].tensors())


def test_states_of_the_first_round_come_back_too():
    state = GAN.init()
    back = GanState.from_tensors(state.tensors())
    assert bits(back.tensors()) == bits(state.tensors())
    assert (back.critic_optimizer, back.generator_optimizer) == ({}, {})
