"""The CIFG-LSTM with projection, one layer: exact, and as fast on a CPU as torch's fused LSTM.

    f_t = sigmoid(W_f x_t + R_f r_{t-1} [+ p_f c_{t-1}] + b_f),  i_t = 1 - f_t
    g_t = tanh(W_g x_t + R_g r_{t-1} + b_g)
    c_t = f_t c_{t-1} + i_t g_t
    o_t = sigmoid(W_o x_t + R_o r_{t-1} [+ p_o c_t] + b_o)
    r_t = W_p (o_t tanh(c_t))

Three gates instead of four: the input gate is coupled to the forget gate (Greff et al. 2015, "LSTM: A Search Space
Odyssey"); the projection is recurrent (Sak et al. 2014); peepholes, in brackets, are optional. The gradient is
written out by hand: gates are computed in place, and the weights' gradients are one matrix product a layer.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

# Shapes: T time steps, B sequences, I inputs, H cells, P projected. Gates lie in the order f, o, g.


class CifgLayer(nn.Module):
    """One layer: [T, B, I] to [T, B, P], from a state of zeros. 3H(I + P + 1) + HP parameters, 2H more with peepholes.

    Weights start uniform in +-1/sqrt(H), the forget gate's bias at 1.
    """

    def __init__(self, inputs: int, hidden: int, projection: int, peepholes: bool) -> None:
        super().__init__()
        self.hidden, self.projection = hidden, projection
        # Without it the equations are taken as they stand, which torch can map over stacked parameters. Off a CPU they
        # are so too: written out, the gradient is fast on a CPU only, and autocast knows its types there only.
        self.by_hand = True
        self.w_input = nn.Parameter(torch.empty(3 * hidden, inputs))
        self.w_recurrent = nn.Parameter(torch.empty(3 * hidden, projection))
        self.bias = nn.Parameter(torch.zeros(3 * hidden))
        self.w_projection = nn.Parameter(torch.empty(projection, hidden))
        self.peephole = nn.Parameter(torch.empty(2, hidden)) if peepholes else None
        bound = 1 / math.sqrt(hidden)
        for weight in (self.w_input, self.w_recurrent, self.w_projection, self.peephole):
            if weight is not None:
                nn.init.uniform_(weight, -bound, bound)
        nn.init.ones_(self.bias[:hidden])

    def forward(self, x_TBI: Tensor) -> Tensor:
        if self._is_by_hand:
            return self._written_out(x_TBI.flatten(0, 1), None, x_TBI.shape[:2])
        outputs, state = [], self.start(x_TBI.shape[1])
        for x_BI in x_TBI:
            state = self.step(x_BI, state)
            outputs.append(state[0])
        return torch.stack(outputs)

    def of_rows(self, table_VI: Tensor, rows_TB: Tensor) -> Tensor:
        """The layer of the rows of a table, such as an embedding: `layer(table_VI[rows_TB])`.

        What a row adds to the gates is computed once, however often the row is there: text has few distinct letters.
        """
        if not self._is_by_hand:
            return self(functional.embedding(rows_TB, table_VI))
        distinct, rows_TB = rows_TB.unique(return_inverse=True)
        return self._written_out(functional.embedding(distinct, table_VI), rows_TB.flatten(), rows_TB.shape)

    @property
    def _is_by_hand(self) -> bool:
        return self.by_hand and self.bias.device.type == "cpu"

    def _written_out(self, x_NI: Tensor, rows: Tensor | None, shape_TB: torch.Size) -> Tensor:
        weights = self.w_input, self.w_recurrent, self.bias, self.w_projection, self.peephole
        return _Layer.apply(x_NI, rows, shape_TB, *weights)

    def start(self, sequences: int) -> tuple[Tensor, Tensor]:
        """The state (r [B, P], c [B, H]) before the first step."""
        return self.bias.new_zeros(sequences, self.projection), self.bias.new_zeros(sequences, self.hidden)

    def step(self, x_BI: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One time step: the next state (r, c); r is also the output. The equations above, as they stand."""
        r_BP, c_BH = state
        f, o, g = (x_BI @ self.w_input.T + r_BP @ self.w_recurrent.T + self.bias).chunk(3, dim=1)
        p_f, p_o = (0.0, 0.0) if self.peephole is None else self.peephole
        f = torch.sigmoid(f + p_f * c_BH)
        c_BH = f * c_BH + (1 - f) * torch.tanh(g)
        o = torch.sigmoid(o + p_o * c_BH)
        return (o * torch.tanh(c_BH)) @ self.w_projection.T, c_BH


class _Layer(torch.autograd.Function):
    """All time steps of a layer, forward and backward; see `CifgLayer.step` for one of them.

    Step t of sequence b takes row `rows[t * B + b]` of `x` [N, I]; without `rows`, row t * B + b.
    """

    @staticmethod
    @partial(torch.amp.custom_fwd, device_type="cpu", cast_inputs=torch.bfloat16)
    def forward(ctx, x, rows, shape, w_input, w_recurrent, bias, w_projection, peephole):
        steps, sequences = shape
        projection, hidden = w_projection.shape
        # All inputs' shares of the gates in one product; the gates then replace them in place.
        gates = (x @ w_input.T).add_(bias)
        gates = (gates if rows is None else gates.index_select(0, rows)).view(steps, sequences, 3 * hidden)
        c = x.new_zeros(steps + 1, sequences, hidden)
        r = x.new_zeros(steps + 1, sequences, projection)
        tanh_c = x.new_empty(steps, sequences, hidden)
        m = x.new_empty(steps, sequences, hidden)
        to_gates, to_r = w_recurrent.T, w_projection.T
        # All views are made at once: one by one, at each step, they would take a tenth of the time.
        at, f_at, o_at, g_at = _by_step(gates, *gates.split(hidden, dim=2))
        f_and_o_at, c_at, r_at, tanh_c_at, m_at = _by_step(gates[:, :, : 2 * hidden], c, r, tanh_c, m)
        for t in range(steps):
            if t:
                at[t].addmm_(r_at[t], to_gates)
            if peephole is None:
                f_and_o_at[t].sigmoid_()
            else:
                f_at[t].addcmul_(c_at[t], peephole[0]).sigmoid_()
            torch.lerp(g_at[t].tanh_(), c_at[t], f_at[t], out=c_at[t + 1])
            if peephole is not None:
                o_at[t].addcmul_(c_at[t + 1], peephole[1]).sigmoid_()
            torch.mul(o_at[t], torch.tanh(c_at[t + 1], out=tanh_c_at[t]), out=m_at[t])
            torch.mm(m_at[t], to_r, out=r_at[t + 1])
        ctx.save_for_backward(x, rows, w_input, w_recurrent, w_projection, peephole, gates, c, r, tanh_c, m)
        return r[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    @partial(torch.amp.custom_bwd, device_type="cpu")
    def backward(ctx, d_output):
        x, rows, w_input, w_recurrent, w_projection, peephole, gates, c, r, tanh_c, m = ctx.saved_tensors
        steps, sequences, _ = gates.shape
        projection, hidden = w_projection.shape
        f, o, g = gates.split(hidden, dim=2)
        # What each gate's gradient is of dm (o) or dc (f, g), for all steps at once; `d` becomes the gradient itself.
        d = torch.empty_like(gates)
        d_f, d_o, d_g = d.split(hidden, dim=2)
        by_sigmoid, by_tanh = torch.ops.aten.sigmoid_backward.grad_input, torch.ops.aten.tanh_backward.grad_input
        by_sigmoid(c[:-1] - g, f, grad_input=d_f)
        by_sigmoid(tanh_c, o, grad_input=d_o)
        by_tanh(1 - f, g, grad_input=d_g)
        c_of_m = torch.ops.aten.tanh_backward(o, tanh_c)
        d_r = d_output.clone(memory_format=torch.contiguous_format)
        d_c_of_both = x.new_zeros(sequences, 1, hidden)
        d_c = d_c_of_both[:, 0]
        d_m = torch.empty_like(d_c)
        at, f_at, o_at, d_r_at, c_of_m_at, d_f_at = _by_step(d, f, d_o, d_r, c_of_m, d_f)
        # The gates that only the cell hears of: f and g.
        f_and_g_at = d.view(steps, sequences, 3, hidden)[:, :, ::2].unbind()
        for t in range(steps - 1, -1, -1):
            torch.mm(d_r_at[t], w_projection, out=d_m)
            o_at[t].mul_(d_m)
            d_c.addcmul_(d_m, c_of_m_at[t])
            if peephole is not None:
                d_c.addcmul_(o_at[t], peephole[1])
            f_and_g_at[t].mul_(d_c_of_both)
            if t:
                d_r_at[t - 1].addmm_(at[t], w_recurrent)
                d_c.mul_(f_at[t])
                if peephole is not None:
                    d_c.addcmul_(d_f_at[t], peephole[0])
        flat = d.view(-1, 3 * hidden)
        # What was looked up several times gets the sum of all of its gradients.
        d_shares = flat if rows is None else flat.new_zeros(len(x), 3 * hidden).index_add_(0, rows, flat)
        d_x = d_shares @ w_input if ctx.needs_input_grad[0] else None
        d_peephole = None
        if peephole is not None:
            d_peephole = torch.stack([(d_f * c[:-1]).sum((0, 1)), (d_o * c[1:]).sum((0, 1))])
        return (
            d_x,
            None,
            None,
            d_shares.T @ x,
            flat.T @ r[:-1].reshape(-1, projection),
            d_shares.sum(0),
            d_r.view(-1, projection).T @ m.view(-1, hidden),
            d_peephole,
        )


def _by_step(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Each tensor's views of its time steps."""
    return [tensor.unbind() for tensor in tensors]
