"""The gradient of a piecewise linear network by its input, as a network of its own: transposed layers and fixed masks.

Where it is differentiated again, as a gradient penalty is, this spares the walk back through the first pass: between
its kinks such a network has no second derivative by its input, so that walk adds nothing.
"""

from torch import Tensor, nn, no_grad
from torch.nn import functional

_LINEAR = (nn.Conv2d, nn.Linear, nn.Flatten, nn.Identity)
_KINKED = (nn.ReLU, nn.LeakyReLU)


def is_piecewise_linear(layers: nn.Module | None) -> bool:
    """Whether `layers` are a sequence of convolutions, dense layers and (leaky) ReLUs only, none there twice."""
    understood = isinstance(layers, nn.Sequential) and all(_understood(layer) for layer in layers)
    return understood and len(set(layers)) == len(layers)


def input_gradient(layers: nn.Sequential, batch: Tensor) -> Tensor:
    """The gradient of `layers(batch).sum()` by `batch` [B, ...], differentiable by the weights and not by `batch`.

    `layers` are as `is_piecewise_linear` asks, the last of them dense. At a kink it is what torch's is.
    """
    inputs = []
    with no_grad():
        value = batch
        for layer in layers:
            inputs.append(value)
            value = layer(value)
    slope = value.new_ones(value.shape)
    for layer, value in zip(reversed(layers), reversed(inputs), strict=True):
        slope = transposed(layer, value, slope)
    return slope


def _understood(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, nn.LeakyReLU) and layer.negative_slope < 0:
        # What comes out of it does not tell on which side of the kink it went in.
        return False
    # An activation in place would overwrite the input that its mask is made of.
    return type(layer) in _LINEAR or (type(layer) in _KINKED and not layer.inplace)


def transposed(layer: nn.Module, value: Tensor, slope: Tensor) -> Tensor:
    """The slope by a layer's input, from the input's `value` and the `slope` by the layer's output."""
    if isinstance(layer, nn.Linear):
        return functional.linear(slope, layer.weight.T)
    if isinstance(layer, nn.Flatten):
        return slope.view_as(value)
    if isinstance(layer, nn.Conv2d):
        left_over = [
            side - ((out - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1)
            for side, out, stride, padding, dilation, kernel in zip(
                value.shape[2:],
                slope.shape[2:],
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.kernel_size,
                strict=True,
            )
        ]
        return functional.conv_transpose2d(
            slope, layer.weight, None, layer.stride, layer.padding, left_over, layer.groups, layer.dilation
        )
    if isinstance(layer, nn.Identity):
        return slope
    below = layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 0.0
    return slope * (value > 0).to(slope.dtype).mul_(1 - below).add_(below)
