"""Elastic layers: full-size weights, of which a choice uses a slice; `ofa.nets.slices` takes it, also for extraction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.nets import slices
from ofa.nets.plain import Conv, Linear, activation
from ofa.space.ops import se_channels


class ElasticConv(Conv):
    """A convolution that can use only its leading channels, and smaller kernels.

    Args:
        in_channels: largest number of input channels.
        out_channels: largest number of output channels.
        kernels: kernel sizes in pixels, ascending.
        stride: stride in pixels.
        depthwise: one group per channel.
        transforms: learn a matrix from each kernel size to the next smaller one.
        bias: add a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernels: tuple[int, ...] = (1,),
        stride: int = 1,
        depthwise: bool = False,
        transforms: bool = False,
        bias: bool = False,
    ) -> None:
        groups = in_channels if depthwise else 1
        super().__init__(in_channels, out_channels, kernels[-1], stride, kernels[-1] // 2, groups=groups, bias=bias)
        self.kernels = kernels
        self.depthwise = depthwise
        self.transforms = transforms
        if transforms:
            for large, small in zip(kernels[1:], kernels[:-1], strict=True):
                self.register_parameter(slices.transform_name(large, small), nn.Parameter(torch.empty(small**2, small**2)))

    def weight_for(self, out_channels: int, in_channels: int, kernel: int) -> Tensor:
        """Weights of the chosen slice: out_channels x in_channels (1 if depthwise) x kernel x kernel.

        Products with transforms add up in any order in training, which is fastest, and in the order of extraction otherwise.
        """
        channels = out_channels, 1 if self.depthwise else in_channels
        product = F.linear if self.training else slices.ordered_product
        if not self.transforms or kernel == self.kernels[-1]:
            return slices.conv_weight(self.weight, channels, kernel, self.kernels, None, product)
        with torch.autocast(self.weight.device.type, enabled=False):  # bf16 would round at every matrix, not once
            return slices.conv_weight(self.weight, channels, kernel, self.kernels, self._matrix, product)

    def _matrix(self, large: int, small: int) -> Tensor:
        return self.get_parameter(slices.transform_name(large, small))

    def forward(self, x_BCHW: Tensor, out_channels: int, kernel: int | None = None) -> Tensor:  # type: ignore[override]
        """B x any leading channels x H x W to B x out_channels x H/stride x W/stride."""
        channels = x_BCHW.shape[1]
        kernel = kernel or self.kernels[-1]
        weight = self.computed_with(self.weight_for(out_channels, channels, kernel))
        bias = None if self.bias is None else self.bias[:out_channels]
        groups = channels if self.depthwise else 1
        if self.training and x_BCHW.device.type == "cpu":
            if self.depthwise and max(x_BCHW.shape[2:]) < kernel:
                return _small_map_conv(x_BCHW, weight, self.stride)
            if not self.depthwise and kernel == 1 and x_BCHW.shape[2:] == (1, 1):  # after a pool: one matrix product
                return F.linear(x_BCHW.flatten(1), weight.flatten(1), bias)[:, :, None, None]
        return F.conv2d(x_BCHW, weight, bias, self.stride, kernel // 2, groups=groups)


class ElasticNorm(nn.BatchNorm2d):
    """Batch norm of the leading channels. Its statistics are a mixture over subnets, so recalibrate a subnet before use."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Shape is kept."""
        n = x_BCHW.shape[1]
        mean, var = self.running_mean, self.running_var
        assert mean is not None
        assert var is not None
        return F.batch_norm(
            x_BCHW, mean[:n], var[:n], self.weight[:n], self.bias[:n], self.training, self.momentum or 0.0, self.eps
        )


class ElasticLinear(Linear):
    """A linear layer that takes any number of leading features."""

    def forward(self, x_BF: Tensor) -> Tensor:
        """B x any leading features to B x out_features."""
        return F.linear(x_BF, self.computed_with(self.weight[:, : x_BF.shape[1]]), self.bias)


class ElasticConvNorm(nn.Module):
    """Elastic convolution, batch norm, activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        act: str,
        kernels: tuple[int, ...] = (1,),
        stride: int = 1,
        depthwise: bool = False,
        transforms: bool = False,
    ) -> None:
        super().__init__()
        self.conv = ElasticConv(in_channels, out_channels, kernels, stride, depthwise, transforms)
        self.norm = ElasticNorm(out_channels)
        self.activation = activation(act)

    def forward(self, x_BCHW: Tensor, out_channels: int, kernel: int | None = None) -> Tensor:
        """B x any leading channels x H x W to B x out_channels x H/stride x W/stride."""
        x: Tensor = self.activation(self.norm(self.conv(x_BCHW, out_channels, kernel)))
        return x


class ElasticSqueezeExcite(nn.Module):
    """Squeeze-and-excitation of the leading channels; the number of hidden channels follows from theirs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = se_channels(channels)
        self.reduce = ElasticConv(channels, hidden, bias=True)
        self.expand = ElasticConv(hidden, channels, bias=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Shape is kept."""
        channels = x_BCHW.shape[1]
        gate_BC11 = x_BCHW.mean((2, 3), keepdim=True)
        gate_BC11 = F.relu(self.reduce(gate_BC11, se_channels(channels)))
        return x_BCHW * F.hardsigmoid(self.expand(gate_BC11, channels))


def _small_map_conv(x_BCHW: Tensor, weight: Tensor, stride: int | tuple[int, ...]) -> Tensor:
    """A depthwise convolution of a map smaller than its kernel: the same sums, but with a fast gradient on a CPU.

    oneDNN's weight gradient is many times slower when the kernel is larger than the map (`benchmarks/depthwise.py`). So the
    kernel is cropped to the taps that can reach the map at all, and the padding is made explicit.
    """
    kernel = min(weight.shape[-1], 2 * max(x_BCHW.shape[2:]) - 1)
    padded = F.pad(x_BCHW, [kernel // 2] * 4)
    return F.conv2d(padded, slices.centre(weight, kernel), None, stride, 0, groups=x_BCHW.shape[1])
