"""One step of SGD on the WGAN-GP loss of a piecewise linear critic, with the gradient written out.

Between its kinks such a critic is a chain of linear maps W_n M_n-1 ... M_1 W_1, whose masks M depend on the image. One
pass forward (for the masks), one back (for the score's slope by each layer's output) and, for the penalty, one forward
again have all that the gradients are made of; torch's way through a second derivative is longer.

Of fake and real images, W_k's gradient is the sum of slope_k (x) value_k: the slope by the layer's output times the
layer's input. The penalty sees W_k in the slope by the image, g = slope_1 W_1, which is linear in W_k as well: with
v_0 the penalty's gradient by g, and v_k = M_k W_k v_k-1, its part is the sum of slope_k (x) v_k-1 over the images in
between. Both sums have one form. So v takes the place of those images' values, and one product a layer makes both.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from fedprobe.models.input_gradient import transposed

# What the squared norm of a slope has added under the root, which has no gradient at zero.
UNDER_ROOT = 1e-10


@torch.no_grad()
def critic_step(
    layers: nn.Sequential,
    real_BCHW: Tensor,
    fake_BCHW: Tensor,
    mix_B111: Tensor,
    penalty: float,
    learning_rate: float,
    shrinking: Mapping[Tensor, float],
) -> None:
    """Change the parameters of `layers` in place by one step of plain SGD on the WGAN-GP loss (`gan.critic_loss`).

    `layers` are as `is_piecewise_linear` asks, none of them there twice, from images to scores [B, 1]; of real images
    there are as many as of fake ones, and at least one. A parameter in `shrinking` is first made smaller by that share
    of itself: the step that an L2 penalty takes.
    """
    rows = len(real_BCHW)
    scored, between = slice(2 * rows), slice(2 * rows, None)
    values, slopes = [], []
    value = torch.cat([fake_BCHW, real_BCHW, torch.lerp(real_BCHW, fake_BCHW, mix_B111)])
    for layer in layers:
        values.append(value)
        # In place: what comes out of a kink tells as well as what went in on which side of it that was.
        value = functional.leaky_relu_(value, _below(layer)) if _is_kink(layer) else layer(value)
    slope = torch.ones_like(value)
    slope[:rows] = 1 / rows
    slope[rows : 2 * rows] = -1 / rows
    first = next(number for number, layer in enumerate(layers) if _has_weights(layer))
    slopes = {}
    for number, layer in reversed(list(enumerate(layers))):
        slopes[number] = slope
        if number == first:
            # By a real or fake image itself nobody asks for the slope.
            slope = slope[between]
        slope = _back(layer, values[number][-len(slope) :], slope)
    norms = (slope.flatten(1).square().sum(1) + UNDER_ROOT).sqrt().view(-1, *[1] * (slope.dim() - 1))
    change = slope * (2 * penalty / rows * (norms - 1) / norms)
    for layer, value in zip(layers, values, strict=True):
        if _has_weights(layer):
            value[between] = change
        change = _forth(layer, value[between], change)
    for number, layer in enumerate(layers):
        if _has_weights(layer):
            keep = 1 - shrinking.get(layer.weight, 0.0)
            _step_weights(layer, values[number], slopes[number], keep, learning_rate)
        if _has_weights(layer) and layer.bias is not None:
            # The slope by the image, and so the penalty, does not know the biases.
            by_bias = _by_output(layer, slopes[number][scored]).sum(0)
            layer.bias.mul_(1 - shrinking.get(layer.bias, 0.0)).add_(by_bias, alpha=-learning_rate)


def _has_weights(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d)


def _is_kink(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ReLU | nn.LeakyReLU)


def _below(kink: nn.Module) -> float:
    """The slope of a kink below zero."""
    return kink.negative_slope if isinstance(kink, nn.LeakyReLU) else 0.0


def _masked(kink: nn.Module, value: Tensor, slope: Tensor) -> Tensor:
    return torch.ops.aten.leaky_relu_backward(slope, value, _below(kink), True)


def _back(layer: nn.Module, value: Tensor, slope: Tensor) -> Tensor:
    """The slope by a layer's input, from the input's `value` and the `slope` by the layer's output."""
    return _masked(layer, value, slope) if _is_kink(layer) else transposed(layer, value, slope)


def _forth(layer: nn.Module, value: Tensor, change: Tensor) -> Tensor:
    """What a `change` of a layer's input changes of its output, where its kinks are as for `value`."""
    if isinstance(layer, nn.Linear):
        return functional.linear(change, layer.weight)
    if isinstance(layer, nn.Conv2d):
        return functional.conv2d(change, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    return _masked(layer, value, change) if _is_kink(layer) else layer(change)


def _by_output(layer: nn.Module, slope: Tensor) -> Tensor:
    """The slope by a layer's output as [rows, outputs], its bias's shape last."""
    return slope.movedim(1, -1).flatten(0, -2) if isinstance(layer, nn.Conv2d) else slope.flatten(0, -2)


def _step_weights(layer: nn.Module, value: Tensor, slope: Tensor, keep: float, learning_rate: float) -> None:
    if isinstance(layer, nn.Linear):
        # One product that also takes the step: no gradient as large as the weights lies in between.
        layer.weight.addmm_(_by_output(layer, slope).T, value.flatten(0, -2), beta=keep, alpha=-learning_rate)
        return
    geometry = layer.stride, layer.padding, layer.dilation, layer.groups
    layer.weight.mul_(keep).add_(conv2d_weight(value, layer.weight.shape, slope, *geometry), alpha=-learning_rate)
