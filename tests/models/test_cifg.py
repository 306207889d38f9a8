"""The CIFG layer against its equations, unit by unit, and its written-out gradients against automatic ones."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call

from fedprobe.models import cifg
from fedprobe.models.cifg import CifgLayer

sizes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.booleans())
with_and_without_peepholes = pytest.mark.parametrize("peepholes", [False, True])


def made(inputs: int, hidden: int, projection: int, peepholes: bool, seed: int = 0, scale: float = 1.0) -> CifgLayer:
    """A layer in float64 whose every parameter, biases too, is random."""
    layer, stream = CifgLayer(inputs, hidden, projection, peepholes).double(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, scale, generator=stream)
    return layer


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def written_out(layer: CifgLayer, x_TBI: Tensor) -> Tensor:
    """The equations of Greff et al. 2015 and Sak et al. 2014, one sequence and one time step after the other."""
    hidden = layer.hidden
    w_f, w_o, w_g = (layer.w_input[start : start + hidden] for start in (0, hidden, 2 * hidden))
    r_f, r_o, r_g = (layer.w_recurrent[start : start + hidden] for start in (0, hidden, 2 * hidden))
    b_f, b_o, b_g = (layer.bias[start : start + hidden] for start in (0, hidden, 2 * hidden))
    none = torch.zeros(hidden, dtype=torch.float64)
    p_f, p_o = (none, none) if layer.peephole is None else (layer.peephole[0], layer.peephole[1])
    outputs = []
    for sequence in range(x_TBI.shape[1]):
        r, c, rows = torch.zeros(layer.projection, dtype=torch.float64), none, []
        for x in x_TBI[:, sequence]:
            f = 1 / (1 + torch.exp(-(w_f.mv(x) + r_f.mv(r) + p_f * c + b_f)))
            i = 1 - f
            c = f * c + i * torch.tanh(w_g.mv(x) + r_g.mv(r) + b_g)
            o = 1 / (1 + torch.exp(-(w_o.mv(x) + r_o.mv(r) + p_o * c + b_o)))
            r = layer.w_projection.mv(o * torch.tanh(c))
            rows.append(r)
        outputs.append(torch.stack(rows))
    return torch.stack(outputs, dim=1)


def gradients(layer: CifgLayer, output: Tensor, x: Tensor, weights: Tensor) -> list[Tensor]:
    return torch.autograd.grad((output * weights).sum(), [x, *layer.parameters()])


@given(sizes, st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**31), st.sampled_from([0.3, 1.0, 3.0]))
def test_the_layer_and_all_of_its_gradients_are_those_of_the_equations(size, steps, sequences, seed, scale):
    layer = made(*size, seed, scale)
    x = random(steps, sequences, size[0], seed=seed + 1).requires_grad_(True)
    weights = random(steps, sequences, size[2], seed=seed + 2)
    ours, expected = layer(x), written_out(layer, x)
    assert ours.shape == (steps, sequences, size[2])
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-11)
    for one, other in zip(gradients(layer, ours, x, weights), gradients(layer, expected, x, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@given(sizes, st.integers(1, 6), st.integers(1, 4), st.integers(1, 9), st.booleans(), st.integers(0, 2**31))
def test_rows_of_a_table_are_what_they_are_one_by_one(size, steps, sequences, rows, by_hand, seed):
    layer = made(*size, seed)
    layer.by_hand = by_hand
    table = random(rows, size[0], seed=seed + 1).requires_grad_(True)
    chosen = torch.randint(0, rows, (steps, sequences), generator=torch.Generator().manual_seed(seed))
    weights = random(steps, sequences, size[2], seed=seed + 2)
    ours, expected = layer.of_rows(table, chosen), layer(table[chosen])
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-11)
    pairs = zip(gradients(layer, ours, table, weights), gradients(layer, expected, table, weights), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@with_and_without_peepholes
@pytest.mark.parametrize("steps, sequences", [(1, 1), (1, 3), (4, 1), (3, 2)])
def test_the_gradients_are_finite_differences(peepholes, steps, sequences):
    layer = made(2, 3, 2, peepholes)
    names = [name for name, _ in layer.named_parameters()]

    def forward(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    x = random(steps, sequences, 2).requires_grad_(True)
    assert torch.autograd.gradcheck(forward, (x, *layer.parameters()))


@with_and_without_peepholes
def test_stepping_from_a_state_of_zeros_is_the_layer(peepholes):
    layer, x = made(3, 5, 2, peepholes), random(6, 4, 3)
    state, outputs = layer.start(4), []
    for x_BI in x:
        state = layer.step(x_BI, state)
        outputs.append(state[0])
    torch.testing.assert_close(torch.stack(outputs), layer(x), rtol=1e-12, atol=1e-12)


@with_and_without_peepholes
def test_what_comes_later_changes_nothing_before_and_no_sequence_sees_another(peepholes):
    layer, x = made(2, 4, 3, peepholes), random(5, 3, 2)
    whole = layer(x)
    changed = x.clone()
    changed[3:, 1] += 1
    moved = (layer(changed) != whole).any(dim=2)
    assert moved.nonzero().tolist() == [[3, 1], [4, 1]]


@with_and_without_peepholes
def test_a_second_backward_pass_gives_the_same_gradients(peepholes):
    layer, x = made(3, 4, 2, peepholes), random(4, 2, 3).requires_grad_(True)
    loss = (layer(x) * random(4, 2, 2, seed=3)).sum()
    first, second = (torch.autograd.grad(loss, [x, *layer.parameters()], retain_graph=True) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@with_and_without_peepholes
def test_memory_that_is_laid_out_otherwise_changes_nothing(peepholes):
    layer = made(3, 4, 2, peepholes)
    plain = random(2, 5, 3).requires_grad_(True)
    turned = plain.detach().transpose(0, 1).contiguous().requires_grad_(True)
    # The gradient of a transposed sum is expanded, and holds one number only.
    ones = torch.autograd.grad(layer(plain).sum(), [plain, *layer.parameters()])
    others = torch.autograd.grad(layer(turned.transpose(0, 1)).transpose(0, 1).sum(), [turned, *layer.parameters()])
    torch.testing.assert_close(ones[0], others[0].transpose(0, 1))
    for one, other in zip(ones[1:], others[1:], strict=True):
        torch.testing.assert_close(one, other)


@with_and_without_peepholes
def test_inputs_that_need_no_gradient_leave_the_parameters_theirs(peepholes):
    layer, x = made(3, 4, 2, peepholes), random(4, 2, 3)
    alone = torch.autograd.grad(layer(x).sum(), list(layer.parameters()))
    beside = torch.autograd.grad(layer(x.requires_grad_(True)).sum(), list(layer.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(alone, beside, strict=True))


@with_and_without_peepholes
def test_gates_that_are_wide_open_or_shut_stay_finite(peepholes):
    layer = made(2, 3, 2, peepholes)
    x = (1e4 * random(5, 2, 2)).requires_grad_(True)
    output = layer(x)
    assert output.isfinite().all()
    assert all(part.isfinite().all() for part in gradients(layer, output, x, torch.ones_like(output)))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_a_new_layer_has_the_stated_size_and_start_and_no_buffers(inputs, hidden, projection, peepholes):
    layer = CifgLayer(inputs, hidden, projection, peepholes)
    stated = 3 * hidden * (inputs + projection + 1) + hidden * projection + (2 * hidden if peepholes else 0)
    assert sum(parameter.numel() for parameter in layer.parameters()) == stated
    assert list(layer.buffers()) == []
    for name, parameter in layer.named_parameters():
        if name != "bias":
            assert parameter.abs().max() <= 1 / math.sqrt(hidden)
            assert parameter.count_nonzero() > 0


@with_and_without_peepholes
def test_a_new_layer_remembers_because_its_forget_gate_has_a_bias_of_1(peepholes):
    layer = CifgLayer(2, 3, 2, peepholes)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name != "bias":
                parameter.zero_()
    c_BH = torch.tensor([[0.5, -2.0, 7.0]])
    _, after = layer.step(torch.ones(1, 2), (torch.zeros(1, 2), c_BH))
    # Nothing comes in: tanh(0) = 0. The output's and the candidate's biases are 0.
    torch.testing.assert_close(after, c_BH / (1 + math.exp(-1)))
    assert float(layer.bias.detach().sum()) == 3


@with_and_without_peepholes
def test_off_a_cpu_the_equations_are_taken_as_they_stand(peepholes, monkeypatch):
    """There autocast would hand bfloat16 to a gradient that is written out for one type."""
    monkeypatch.setattr(cifg, "_Layer", None)
    layer = CifgLayer(2, 3, 2, peepholes).to("meta")
    assert layer(torch.empty(4, 5, 2, device="meta")).shape == (4, 5, 2)
