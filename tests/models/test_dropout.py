"""Dropout: what it leaves out, how much of it, and that nothing else changes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.networks import Dropout
from fedprobe.models.dropout import dropout

MANY = 1 << 16


def mask_of(share: float, count: int, seed: int) -> torch.Tensor:
    """Which of `count` values are kept."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return dropout(torch.ones(count, dtype=torch.float64), share) > 0


@given(
    share=st.floats(0, 1, exclude_max=True),
    shape=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
def test_a_value_is_left_out_or_scaled_and_its_gradient_with_it(share, shape, dtype, seed):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed)).add_(1).to(dtype).requires_grad_(True)
    y = dropout(x, share)
    (slope,) = torch.autograd.grad(y.sum(), x) if x.numel() else (torch.empty_like(x),)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    kept = y != 0
    assert torch.equal(slope != 0, kept)
    torch.testing.assert_close(y[kept], x[kept] * slope[kept])
    # Rounded to a 65,536th, so that what remains of a large share is known less closely.
    if share < 0.99:
        expected = torch.full_like(slope[kept], 1 / (1 - share))
        torch.testing.assert_close(slope[kept], expected, rtol=1e-3 if dtype != torch.bfloat16 else 1e-2, atol=0)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.15, 0.25, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("seed", [0, 1])
def test_as_many_are_left_out_as_was_asked_for_in_every_place(share, seed):
    """Four neighbours share a draw of 64 bits: each of the four has the share, and no two of them go together."""
    kept = mask_of(share, 4 * MANY, seed).view(MANY, 4).double()
    # Six standard deviations: one of a billion such means is further away. Shares are rounded to a 65,536th.
    away = 6 * (share * (1 - share) / MANY) ** 0.5 + 2**-16
    assert (kept.mean(0) - (1 - share)).abs().max() <= away
    if share in (0.15, 0.25, 0.5, 0.9):
        together = torch.corrcoef(kept.T).fill_diagonal_(0)
        assert together.abs().max() <= 6 / MANY**0.5


def test_the_mean_stays_what_it_was():
    for share in (0.1, 0.3, 0.7):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            mean = float(dropout(torch.ones(4 * MANY, dtype=torch.float64), share).mean())
        assert abs(mean - 1) <= 6 * (share / (1 - share) / (4 * MANY)) ** 0.5


def test_it_draws_from_torchs_own_generator():
    assert torch.equal(mask_of(0.5, 1000, 1), mask_of(0.5, 1000, 1))
    assert not torch.equal(mask_of(0.5, 1000, 1), mask_of(0.5, 1000, 2))


def test_values_stay_where_they_lie():
    x = torch.rand(3, 4, 5, 6).to(memory_format=torch.channels_last)
    assert dropout(x, 0.5).is_contiguous(memory_format=torch.channels_last)
    turned = torch.rand(5, 4).T
    assert dropout(turned, 0.5).stride() == turned.stride()
    spread = torch.ones(1, 3).expand(1000, 3)
    # Values that share a place in memory are left out one by one.
    assert dropout(spread, 0.5).unique(dim=0).shape == (8, 3)


def test_the_module_drops_in_training_alone_and_counts_as_one_that_draws():
    module, x = Dropout(0.5), torch.rand(100)
    assert (module(x) == 0).any()
    assert torch.equal(module.eval()(x), x)
    assert isinstance(module, torch.nn.modules.dropout._DropoutNd)


def test_off_a_cpu_it_is_torchs():
    assert dropout(torch.ones(3, 4, device="meta"), 0.5).shape == (3, 4)
