"""Dropout whose mask costs a CPU little: torch draws one number a value and rounds it, here four share 64 random bits.

On a CPU torch's own takes a twentieth of a step of a small network, and more of one of words.
"""

import torch
from torch import Tensor
from torch.nn import functional

_LEVELS = 1 << 16


def dropout(x: Tensor, share: float) -> Tensor:
    """`x` with each value left out (0) with probability `share`, the others scaled up so that the mean stays.

    What it draws comes from torch's own generator. On a CPU `share` is rounded to a 65,536th, and the scale is that of
    the share as it is rounded.
    Source: Srivastava et al. 2014, scaled in training as torch does.
    """
    if x.device.type != "cpu":
        return functional.dropout(x, share)
    left_out = min(round(share * _LEVELS), _LEVELS - 1)
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None).view(torch.int16)
    # Values lie in the mask as they do in x, whatever its layout.
    kept = bits.as_strided(x.shape, torch.empty_like(x).stride()) >= left_out - _LEVELS // 2
    return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - left_out))
