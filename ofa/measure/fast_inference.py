"""Faster evaluation of a plain network on a CPU: the same function, up to rounding.

PyTorch's own modules are slow at three things that measurements do a lot: convolutions of the smallest maps, which are
faster as matrix products; activations as separate passes, which read and write the convolution's output once more; and batch
statistics of maps that a 1x1 convolution has made several times wider, which can be computed from its narrower input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ofa.nets.plain import ConvNorm, PlainHead, SqueezeExcite, fold_batch_norm
from ofa.space.activations import ACTIVATIONS

ONEDNN_NAMES: dict[type[nn.Module], str] = {
    getattr(nn, activation.module): activation.onednn for activation in ACTIVATIONS.values() if activation.onednn
}
"""Activations that oneDNN can fuse into a convolution, with its names for them."""
SMALL_MAP_PIXELS = 16  # most pixels for which a matrix product is faster than oneDNN's convolution
LARGE_MAP_PIXELS = 64  # fewest pixels for which statistics are faster to compute from the input


class ProductConv(nn.Module):
    """A 1x1 convolution as a matrix product."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x in x H x W to B x out x H x W."""
        return _product(x_BCHW, self.weight, self.bias)


class FusedConv(nn.Module):
    """A convolution with bias and activation in one pass; it has no gradients."""

    def __init__(self, conv: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.activation = conv, activation
        self.pointwise = is_pointwise(conv)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x in x H x W to B x out x H/stride x W/stride."""
        conv = self.conv
        if self.pointwise and x_BCHW[0, 0].numel() <= SMALL_MAP_PIXELS:
            y: Tensor = self.activation(_product(x_BCHW, conv.weight, conv.bias))
            return y
        return _convolve(x_BCHW, conv, conv.weight, conv.bias, self.activation)


def speed_up(net: nn.Module) -> None:
    """Fold batch norms and activations into their convolutions, in place; the net can then only be evaluated."""
    fold_batch_norm(net)
    products_behind_pools(net)
    for child in net.modules():
        if isinstance(child, ConvNorm) and can_fuse(child):
            child.conv = FusedConv(child.conv, child.activation)  # type: ignore[assignment]
            child.activation = nn.Identity()


def products_behind_pools(net: nn.Module) -> None:
    """Replace convolutions of one-pixel maps by matrix products, in place."""
    for child in net.modules():
        if isinstance(child, SqueezeExcite):
            child.reduce, child.expand = ProductConv(child.reduce), ProductConv(child.expand)  # type: ignore[assignment]
        elif isinstance(child, PlainHead) and isinstance(child.features, nn.Sequential):
            child.features[0] = ProductConv(child.features[0])  # type: ignore[arg-type]


def can_fuse(block: ConvNorm) -> bool:
    """Tell whether oneDNN can fuse this block: device, type and activation fit, and PyTorch was built with it."""
    weight = block.conv.weight
    here = weight.device.type == "cpu" and weight.dtype == torch.float32
    return here and type(block.activation) in ONEDNN_NAMES and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def is_pointwise(conv: nn.Conv2d) -> bool:
    """Tell whether each output pixel depends on one input pixel only: a 1x1 convolution of stride 1 without groups."""
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1


def widens(block: nn.Module) -> bool:
    """Tell whether `normalised` can replace a block's forward pass and is faster on large maps: it widens its input."""
    if not isinstance(block, ConvNorm) or not can_fuse(block) or not isinstance(block.norm, nn.BatchNorm2d):
        return False
    conv = block.conv
    return is_pointwise(conv) and conv.bias is None and conv.out_channels >= 2 * conv.in_channels


def statistics_behind(conv: nn.Conv2d, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each output channel of a 1x1 convolution, float[out] each, computed from its input.

    With weights w and an input of mean m and covariance C, they are w m and w C w. That is exact, and cheap where there are
    many more pixels than channels.
    """
    pixels = x_BCHW.permute(0, 2, 3, 1).reshape(-1, conv.in_channels)
    weight = conv.weight.flatten(1)
    mean = pixels.mean(0)
    centred = pixels - mean
    covariance = centred.T @ centred / len(centred)
    return weight @ mean, (weight @ covariance).mul_(weight).sum(1)


def normalised(block: ConvNorm, x_BCHW: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """The output of a block (convolution, batch norm, activation) with the given statistics, in one pass."""
    norm = block.norm
    weight, bias = fuse_conv_bn_weights(block.conv.weight, None, mean, var, norm.eps, norm.weight, norm.bias)
    return _convolve(x_BCHW, block.conv, weight, bias, block.activation)


def _product(x_BCHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    size, channels, height, width = x_BCHW.shape
    pixels = x_BCHW.permute(0, 2, 3, 1).reshape(
        -1, channels
    )  # a matrix, because with more dimensions PyTorch makes one product each
    return F.linear(pixels, weight.flatten(1), bias).view(size, height, width, -1).permute(0, 3, 1, 2)


def _convolve(x_BCHW: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, activation: nn.Module) -> Tensor:
    geometry = list(map(int, conv.padding)), list(conv.stride), list(conv.dilation), conv.groups
    fused = ONEDNN_NAMES[type(activation)]
    y: Tensor = torch.ops.mkldnn._convolution_pointwise(x_BCHW, weight, bias, *geometry, fused, [], "")
    return y
