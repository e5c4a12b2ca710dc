"""The supernet: one set of weights for every subnet of a space. The subnet is an argument of `forward`, never a state."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.distributed import draws
from ofa.errors import UserError
from ofa.nets.activation_checkpointing import recomputed
from ofa.nets.elastic_layers import ElasticConv, ElasticConvNorm, ElasticLinear, ElasticSqueezeExcite
from ofa.nets.plain import activation, downsample, initialise, set_norm_eps
from ofa.space.search_space import SearchSpace, make_divisible
from ofa.space.shapes import hidden_channels, in_widths, is_residual
from ofa.space.subnet import Block, Subnet
from ofa.space.subnet import Stem as StemChoice


def branch_scale(x_BCHW: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """0 for each image with probability `rate`, else what keeps the mean: B x 1 x 1 x 1, to scale a residual branch by."""
    keep_B111 = draws.keep(x_BCHW[:, :1, :1, :1], 1 - rate, generator)
    return keep_B111 / (1 - rate)


class ElasticStem(nn.Module):
    """The stem of every subnet: `first`, and in a deep stem `middle` (optional, residual) and `last`."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        stem = space.stem
        self.use_pool = stem.pool
        kernel = (stem.kernel,)
        width = stem.widths[-1]
        deep = bool(stem.hidden_widths)
        inner = make_divisible(stem.hidden_widths[-1]) if deep else width
        self.first = ElasticConvNorm(space.in_channels, inner, stem.activation, kernel, stem.stride)
        optional = 3 in stem.depths
        self.middle = ElasticConvNorm(inner, inner, stem.activation, kernel) if optional else None
        self.last = ElasticConvNorm(inner, width, stem.activation, kernel) if deep else None

    def forward(self, images: Tensor, choice: StemChoice) -> Tensor:
        """Images to B x width x H/stride x W/stride."""
        inner = choice.width if choice.hidden is None else make_divisible(choice.hidden)
        x: Tensor = self.first(images, inner)
        if self.middle is not None and choice.depth == 3:
            x = x + self.middle(x, inner)
        if self.last is not None:
            x = self.last(x, choice.width)
        return F.max_pool2d(x, 3, 2, 1) if self.use_pool else x


class ElasticMBConv(nn.Module):
    """Inverted bottleneck with elastic kernel, expand ratio, input and output width."""

    def __init__(self, space: SearchSpace, stage: int, index: int) -> None:
        super().__init__()
        choices = space.stages[stage]
        in_width, out_width = in_widths(space, stage, index)[-1], choices.widths[-1]
        self.hidden_for = partial(hidden_channels, space)
        self.residual = is_residual(space, stage, index)
        hidden = in_width
        self.expand = None
        if choices.expands_channels:
            hidden = self.hidden_for(choices.expands[-1], in_width, out_width)
            self.expand = ElasticConvNorm(in_width, hidden, choices.activation)
        self.depthwise = ElasticConvNorm(
            hidden,
            hidden,
            choices.activation,
            choices.kernels,
            choices.stride if index == 0 else 1,
            depthwise=True,
            transforms=space.kernel_transforms,
        )
        self.se = ElasticSqueezeExcite(hidden) if choices.se else nn.Identity()
        self.project = ElasticConvNorm(hidden, out_width, "none")

    def forward(self, x_BCHW: Tensor, choice: Block, out_width: int, scale_B111: Tensor | None = None) -> Tensor:
        """B x in x H x W to B x out_width x H/stride x W/stride; the branch of a residual block may be scaled."""
        x = x_BCHW
        if self.expand is not None:
            x = self.expand(x, self.hidden_for(choice.expand, x.shape[1], out_width))
        x = self.se(self.depthwise(x, x.shape[1], choice.kernel))
        x = self.project(x, out_width)
        x = x if scale_B111 is None else x * scale_B111
        y: Tensor = x + x_BCHW if self.residual else x
        return y


class ElasticBottleneck(nn.Module):
    """ResNet bottleneck with elastic kernel, expand ratio, input and output width."""

    def __init__(self, space: SearchSpace, stage: int, index: int) -> None:
        super().__init__()
        choices = space.stages[stage]
        in_width, out_width = in_widths(space, stage, index)[-1], choices.widths[-1]
        self.hidden_for = partial(hidden_channels, space)
        self.stride = choices.stride if index == 0 else 1
        hidden = self.hidden_for(choices.expands[-1], in_width, out_width)
        act = choices.activation
        self.reduce = ElasticConvNorm(in_width, hidden, act)
        self.middle = ElasticConvNorm(hidden, hidden, act, choices.kernels, self.stride, transforms=space.kernel_transforms)
        self.project = ElasticConvNorm(hidden, out_width, "none")
        self.residual = is_residual(space, stage, index)
        self.shortcut = None if self.residual else ElasticConvNorm(in_width, out_width, "none")
        self.activation = activation(act)

    def forward(self, x_BCHW: Tensor, choice: Block, out_width: int, scale_B111: Tensor | None = None) -> Tensor:
        """B x in x H x W to B x out_width x H/stride x W/stride; the branch of a residual block may be scaled."""
        hidden = self.hidden_for(choice.expand, x_BCHW.shape[1], out_width)
        x = self.middle(self.reduce(x_BCHW, hidden), hidden, choice.kernel)
        x = self.project(x, out_width)
        x = x if scale_B111 is None else x * scale_B111
        shortcut = x_BCHW
        if self.shortcut is not None:
            shortcut = self.shortcut(downsample(x_BCHW, self.stride), out_width)
        y: Tensor = self.activation(x + shortcut)
        return y


class ElasticHead(nn.Module):
    """The head of every subnet; only its first layer sees the last stage's width."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        head = space.head
        channels = space.stages[-1].widths[-1]
        self.width, self.dropout = head.width, head.dropout
        self.conv = None
        if head.width is not None:
            self.conv = ElasticConvNorm(channels, head.width, head.activation)
            channels = head.width
        self.features = None
        if head.features is not None:
            self.features = nn.Sequential(ElasticConv(channels, head.features), activation(head.activation))
            channels = head.features
        self.classifier = ElasticLinear(channels, space.classes)

    def forward(self, x_BCHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """B x in x H x W to B x classes; dropout in training draws from `generator`."""
        x = x_BCHW if self.conv is None else self.conv(x_BCHW, self.width)
        x = x.mean((2, 3), keepdim=True)
        if self.features is not None:
            conv, act = self.features
            x = act(conv(x, conv.out_channels))
        x = x.flatten(1)
        if self.training and self.dropout > 0:
            x = x * draws.keep(x, 1 - self.dropout, generator) / (1 - self.dropout)
        logits: Tensor = self.classifier(x)
        return logits


class Supernet(nn.Module):
    """Every subnet of `space` in one set of weights (Cai et al., 2020, https://arxiv.org/abs/1908.09791).

    Args:
        space: the search space.
        generator: draws the fresh weights; torch's own generator if none.
    """

    def __init__(self, space: SearchSpace, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.space = space
        block = ElasticBottleneck if space.block == "bottleneck" else ElasticMBConv
        self.stem = ElasticStem(space)
        self.stages = nn.ModuleList(
            nn.ModuleList(block(space, s, b) for b in range(stage.depths[-1])) for s, stage in enumerate(space.stages)
        )
        self.head = ElasticHead(space)
        set_norm_eps(self, space.norm_eps)
        initialise(self, generator)

    def forward(
        self,
        images: Tensor,
        subnet: Subnet,
        generator: torch.Generator | None = None,
        drop_connect: float = 0.0,
        recompute: bool = False,
    ) -> Tensor:
        """Logits of one subnet.

        Args:
            images: float32[batch, channels, height, width], any size the strides allow: the caller resizes.
            subnet: a choice out of the space.
            generator: for dropout and drop-connect in training.
            drop_connect: in training, the probability that an image skips the last residual block; it falls linearly to 0
                towards the first one (Huang et al., arXiv:1603.09382).
            recompute: in training, keep of each block only what goes in, and compute the rest again in the backward pass.

        Returns:
            float32[batch, classes].

        Raises:
            UserError: the images have other channels than the space, or the subnet is not in it (any resolution will do).
        """
        # Without these checks a slice would quietly fit: leading input channels, leading blocks, leading hidden channels.
        if images.shape[1] != self.space.in_channels:
            raise UserError(f"{self.space.name}: images have {images.shape[1]} channels; expected {self.space.in_channels}")
        self.space.check(subnet)
        x = self.stem(images, subnet.stem)
        done, last = 0, max(1, sum(len(stage.blocks) for stage in subnet.stages) - 1)
        for blocks, stage in zip(self.stages, subnet.stages, strict=True):
            assert isinstance(blocks, nn.ModuleList)
            for block, choice in zip(blocks, stage.blocks, strict=False):  # shorter is shallower
                assert isinstance(block, (ElasticMBConv, ElasticBottleneck))
                rate = drop_connect * done / last if self.training and block.residual else 0.0
                scale_B111 = branch_scale(x, rate, generator) if rate else None
                compute = partial(recomputed, block) if recompute and self.training else block
                x = compute(x, choice, stage.width, scale_B111)
                done += 1
        logits: Tensor = self.head(x, generator)
        return logits

    @torch.no_grad()
    def pass_inputs_through(self) -> None:
        """Zero the last norm of every residual block, so that it starts as the identity (Goyal et al., 2017)."""
        for module in self.modules():
            if isinstance(module, ElasticBottleneck) or (isinstance(module, ElasticMBConv) and module.residual):
                nn.init.zeros_(module.project.norm.weight)

    def sort_channels(self, opened: SearchSpace | Sequence[float]) -> None:
        """Sort hidden channels by importance, keeping every function already opened; see `ofa.nets.channel_sorting`."""
        from ofa.nets.channel_sorting import sort_channels

        sort_channels(self, opened)
