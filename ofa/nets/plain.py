"""Plain modules: a subnet without elasticity, built from the shapes that `walk_blocks` yields.

Parameters have the names of the supernet's (`stages.0.1.expand.conv.weight`; `ofa.space.layers` lists them). In tensor
shapes, B is the batch, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ofa.distributed import draws
from ofa.space.activations import ACTIVATIONS
from ofa.space.layers import layers
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import BlockShape, OpShape, walk_blocks
from ofa.space.subnet import Subnet


def activation(name: str) -> nn.Module:
    """The activation of this name in `ofa.space.activations`, in place."""
    module: nn.Module = getattr(nn, ACTIVATIONS[name].module)(inplace=True)
    return module


class WeightedLayer:
    """A layer that leaves its weights unset; `initialise` sets them, or weights are copied into it."""

    weight_rule: Callable[[Tensor], Tensor] | None = None
    """Turns the weight that a forward pass takes into the one that it computes with; None: the same.

    `ofa.numerics.in_training` sets it for the duration of a training step.
    """

    def reset_parameters(self) -> None:
        """Do nothing."""

    def computed_with(self, weight: Tensor) -> Tensor:
        """The weight that a forward pass computes with."""
        return weight if self.weight_rule is None else self.weight_rule(weight)


class Conv(WeightedLayer, nn.Conv2d):
    """A convolution."""

    def forward(self, input: Tensor) -> Tensor:
        """As in PyTorch."""
        x: Tensor = self._conv_forward(input, self.computed_with(self.weight), self.bias)
        return x


class Linear(WeightedLayer, nn.Linear):
    """A linear layer."""

    def forward(self, input: Tensor) -> Tensor:
        """As in PyTorch."""
        return F.linear(input, self.computed_with(self.weight), self.bias)


class ConvNorm(nn.Module):
    """Convolution, batch norm, activation."""

    def __init__(self, op: OpShape) -> None:
        super().__init__()
        self.conv = plain_conv(op)
        self.norm = nn.BatchNorm2d(op.out_channels)
        self.activation = activation(op.activation)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x in x H x W to B x out x H/stride x W/stride."""
        x: Tensor = self.activation(self.norm(self.conv(x_BCHW)))
        return x


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation (Hu et al., 2018), with a hard sigmoid as in MobileNetV3."""

    def __init__(self, reduce: OpShape, expand: OpShape) -> None:
        super().__init__()
        self.reduce, self.expand = plain_conv(reduce), plain_conv(expand)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Shape is kept."""
        gate_BC11 = x_BCHW.mean((2, 3), keepdim=True)
        gate_BC11 = F.hardsigmoid(self.expand(F.relu(self.reduce(gate_BC11))))
        return x_BCHW * gate_BC11


class MBConv(nn.Module):
    """Inverted bottleneck (Sandler et al., 2018)."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        ops = layers(shape)
        self.residual = shape.residual
        self.expand = ConvNorm(ops["expand"]) if "expand" in ops else nn.Identity()
        self.depthwise = ConvNorm(ops["depthwise"])
        self.se = SqueezeExcite(ops["se.reduce"], ops["se.expand"]) if "se.reduce" in ops else nn.Identity()
        self.project = ConvNorm(ops["project"])

    def forward(self, x_BCHW: Tensor, scale_B111: Tensor | None = None) -> Tensor:
        """B x in x H x W to B x out x H/stride x W/stride; the branch of a residual block may be scaled."""
        out: Tensor = self.project(self.se(self.depthwise(self.expand(x_BCHW))))
        out = out if scale_B111 is None else out * scale_B111
        return out + x_BCHW if self.residual else out


class Bottleneck(nn.Module):
    """ResNet bottleneck with an average-pooled shortcut where shapes differ (He et al., 2018, ResNet-D)."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        ops = layers(shape)
        self.reduce, self.middle, self.project = (ConvNorm(ops[name]) for name in ("reduce", "middle", "project"))
        self.residual = not shape.shortcut
        self.shortcut = nn.Identity() if self.residual else ConvNorm(ops["shortcut"])
        self.stride = ops["middle"].stride
        self.activation = activation(shape.main[-1].activation)

    def forward(self, x_BCHW: Tensor, scale_B111: Tensor | None = None) -> Tensor:
        """B x in x H x W to B x out x H/stride x W/stride; the branch of a residual block may be scaled."""
        out = self.project(self.middle(self.reduce(x_BCHW)))
        out = out if scale_B111 is None else out * scale_B111
        y: Tensor = self.activation(out + self.shortcut(downsample(x_BCHW, self.stride)))
        return y


class PlainStem(nn.Module):
    """One convolution; or two, or three whose middle one is residual; optionally a max pool."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        ops = layers(shape)
        self.first = ConvNorm(ops["first"])
        self.middle = ConvNorm(ops["middle"]) if "middle" in ops else None
        self.last = ConvNorm(ops["last"]) if "last" in ops else None
        self.pool = shape.main[-1].kind == "max_pool"

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Images to B x width x H/stride x W/stride."""
        x: Tensor = self.first(x_BCHW)
        if self.middle is not None:
            x = x + self.middle(x)
        if self.last is not None:
            x = self.last(x)
        return F.max_pool2d(x, 3, 2, 1) if self.pool else x


class PlainHead(nn.Module):
    """Convolution, average pool, features, classifier; the first and third are optional."""

    def __init__(self, shape: BlockShape, dropout: float = 0.0) -> None:
        super().__init__()
        ops = layers(shape)
        self.conv = ConvNorm(ops["conv"]) if "conv" in ops else nn.Identity()
        features = ops.get("features.0")
        self.features = nn.Sequential(plain_conv(features), activation(features.activation)) if features else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = Linear(ops["classifier"].in_channels, ops["classifier"].out_channels)

    def forward(self, x_BCHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """B x in x H x W to B x classes; dropout in training draws from `generator`, or torch's own if None."""
        x = self.features(self.conv(x_BCHW).mean((2, 3), keepdim=True)).flatten(1)
        if generator is None or not self.training:
            x = self.dropout(x)
        elif self.dropout.p > 0:
            x = x * draws.keep(x, 1 - self.dropout.p, generator) / (1 - self.dropout.p)
        logits: Tensor = self.classifier(x)
        return logits


PLAIN_BLOCKS: dict[str, type[nn.Module]] = {"stem": PlainStem, "mbconv": MBConv, "bottleneck": Bottleneck, "head": PlainHead}
"""The module of each kind of `BlockShape`."""


def plain_block(shape: BlockShape) -> nn.Module:
    """The module of a shape, with unset weights."""
    return PLAIN_BLOCKS[shape.kind](shape)


class Net(nn.Module):
    """A subnet as a plain network: images, float32[B, channels, H, W], to logits, float32[B, classes]."""

    def __init__(self, space: SearchSpace, subnet: Subnet) -> None:
        super().__init__()
        shapes = walk_blocks(space, subnet)
        self.stem = PlainStem(next(shapes))
        self.stages = nn.ModuleList(
            nn.Sequential(*(plain_block(shape) for shape in islice(shapes, len(stage.blocks)))) for stage in subnet.stages
        )
        self.head = PlainHead(next(shapes), space.head.dropout)
        set_norm_eps(self, space.norm_eps)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.head(x)
        return logits


def build_net(space: SearchSpace, subnet: Subnet, generator: torch.Generator | None = None) -> Net:
    """A subnet with random weights, drawn from `generator` (torch's own if None)."""
    net = empty_net(space, subnet)
    initialise(net, generator)
    return net


def empty_net(space: SearchSpace, subnet: Subnet, device: torch.device | str = "cpu") -> Net:
    """A subnet whose weights are allocated but not set; draws no random numbers."""
    return Net(space, subnet).to(device)


def build_block(shape: BlockShape, generator: torch.Generator | None = None) -> nn.Module:
    """One block of a subnet with random weights, to measure it alone."""
    block = plain_block(shape)
    initialise(block, generator)
    return block


def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """He initialisation (fan out) of convolutions, unit batch norms, a small classifier, identity kernel transforms."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            fan_out = child.kernel_size[0] * child.kernel_size[1] * child.out_channels // child.groups
            nn.init.normal_(child.weight, 0.0, (2.0 / fan_out) ** 0.5, generator=generator)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.Linear):
            bound = child.in_features**-0.5
            nn.init.uniform_(child.weight, -bound, bound, generator=generator)
            nn.init.zeros_(child.bias)
        elif isinstance(child, nn.BatchNorm2d):
            child.reset_parameters()
    for name, parameter in module.named_parameters():
        if ".transform_" in f".{name}":
            nn.init.eye_(parameter)


def fold_batch_norm(net: nn.Module) -> None:
    """Fold batch norms into their convolutions, in place: faster, and the same function in eval mode up to rounding."""
    for child in net.modules():
        if isinstance(child, ConvNorm) and isinstance(child.norm, nn.BatchNorm2d):
            child.conv = fuse_conv_bn_eval(child.conv, child.norm)
            child.norm = nn.Identity()  # type: ignore[assignment]


def arrays(module: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """The state of a module as arrays on the CPU, contiguous; they may share its memory."""
    return {key: value.detach().cpu().contiguous().numpy() for key, value in module.state_dict().items()}


def set_norm_eps(module: nn.Module, eps: float) -> None:
    """Give every batch norm the space's epsilon."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.eps = eps


def plain_conv(op: OpShape) -> Conv:
    """The convolution of an op; `kernel // 2` pixels of padding."""
    return Conv(op.in_channels, op.out_channels, op.kernel, op.stride, op.kernel // 2, groups=op.groups, bias=op.bias)


def downsample(x_BCHW: Tensor, stride: int) -> Tensor:
    """Average pool of a shortcut: B x C x H x W to B x C x H/stride x W/stride, rounded up."""
    return F.avg_pool2d(x_BCHW, stride, stride, ceil_mode=True) if stride > 1 else x_BCHW
