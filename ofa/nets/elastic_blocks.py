"""Elastic blocks at full size: stem, blocks of stages, head. Choices (kernel, width, ...) are arguments of `forward`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.distributed import draws
from ofa.nets.channel_sorting import sort_between, sort_squeeze_excite
from ofa.nets.elastic_layers import ElasticConv, ElasticConvNorm, ElasticLinear, ElasticSqueezeExcite
from ofa.nets.plain import activation, downsample
from ofa.space.ops import make_divisible
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import hidden_channels, in_widths, is_residual
from ofa.space.subnet import Block, Stage, Stem


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

    def forward(self, images: Tensor, choice: Stem) -> Tensor:
        """Images to B x width x H/stride x W/stride."""
        inner = choice.width if choice.hidden is None else make_divisible(choice.hidden)
        x: Tensor = self.first(images, inner)
        if self.middle is not None and choice.depth == 3:
            x = x + self.middle(x, inner)
        if self.last is not None:
            x = self.last(x, choice.width)
        return F.max_pool2d(x, 3, 2, 1) if self.use_pool else x


class ElasticBlock(nn.Module, ABC):
    """A block of a stage with elastic kernel, expand ratio, input and output width: base class of all kinds.

    Args:
        space: the search space.
        stage: index of the block's stage.
        index: index of the block in its stage.
    """

    project: ElasticConvNorm
    """The last layer of the branch."""

    def __init__(self, space: SearchSpace, stage: int, index: int) -> None:
        super().__init__()
        self.residual = is_residual(space, stage, index)
        self.hidden_for = partial(hidden_channels, space)

    @abstractmethod
    def forward(self, x_BCHW: Tensor, block: Block, stage: Stage, scale_B111: Tensor | None = None) -> Tensor:
        """B x in x H x W to B x stage.width x H/stride x W/stride; `scale_B111` scales the branch of a residual block."""

    @abstractmethod
    def sort_hidden_channels(self, bounds: Sequence[int]) -> None:
        """Put the most important hidden channels first, in place; `bounds`: their numbers in the open choices."""

    @abstractmethod
    def pass_input_through(self) -> None:
        """Zero the branch of a block with a shortcut, so that only the shortcut counts at first (Goyal et al., 2017)."""


class ElasticMBConv(ElasticBlock):
    """Inverted bottleneck."""

    def __init__(self, space: SearchSpace, stage: int, index: int) -> None:
        super().__init__(space, stage, index)
        choices = space.stages[stage]
        in_width, out_width = in_widths(space, stage, index)[-1], choices.widths[-1]
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
        self.se = ElasticSqueezeExcite(hidden) if any(choices.choices("se")) else nn.Identity()
        self.project = ElasticConvNorm(hidden, out_width, "none")

    def forward(self, x_BCHW: Tensor, block: Block, stage: Stage, scale_B111: Tensor | None = None) -> Tensor:
        """Implement `ElasticBlock.forward`."""
        x = x_BCHW
        if self.expand is not None:
            x = self.expand(x, self.hidden_for(block.expand, x.shape[1], stage.width))
        x = self.depthwise(x, x.shape[1], block.kernel)
        if stage.se is not False:
            x = self.se(x)
        x = self.project(x, stage.width)
        x = x if scale_B111 is None else x * scale_B111
        y: Tensor = x + x_BCHW if self.residual else x
        return y

    def sort_hidden_channels(self, bounds: Sequence[int]) -> None:
        """Implement `ElasticBlock.sort_hidden_channels`."""
        if self.expand is None:
            return  # its hidden channels are the block's input
        order = sort_between(self.project.conv, [self.depthwise, self.expand], bounds)
        if isinstance(self.se, ElasticSqueezeExcite):
            sort_squeeze_excite(self.se, order, bounds)

    def pass_input_through(self) -> None:
        """Implement `ElasticBlock.pass_input_through`."""
        if self.residual:
            nn.init.zeros_(self.project.norm.weight)


class ElasticBottleneck(ElasticBlock):
    """ResNet bottleneck; its shortcut is a projection where shapes differ."""

    def __init__(self, space: SearchSpace, stage: int, index: int) -> None:
        super().__init__(space, stage, index)
        choices = space.stages[stage]
        in_width, out_width = in_widths(space, stage, index)[-1], choices.widths[-1]
        self.stride = choices.stride if index == 0 else 1
        hidden = self.hidden_for(choices.expands[-1], in_width, out_width)
        act = choices.activation
        self.reduce = ElasticConvNorm(in_width, hidden, act)
        self.middle = ElasticConvNorm(hidden, hidden, act, choices.kernels, self.stride, transforms=space.kernel_transforms)
        self.project = ElasticConvNorm(hidden, out_width, "none")
        self.shortcut = None if self.residual else ElasticConvNorm(in_width, out_width, "none")
        self.activation = activation(act)

    def forward(self, x_BCHW: Tensor, block: Block, stage: Stage, scale_B111: Tensor | None = None) -> Tensor:
        """Implement `ElasticBlock.forward`."""
        hidden = self.hidden_for(block.expand, x_BCHW.shape[1], stage.width)
        x = self.middle(self.reduce(x_BCHW, hidden), hidden, block.kernel)
        x = self.project(x, stage.width)
        x = x if scale_B111 is None else x * scale_B111
        shortcut = x_BCHW
        if self.shortcut is not None:
            shortcut = self.shortcut(downsample(x_BCHW, self.stride), stage.width)
        y: Tensor = self.activation(x + shortcut)
        return y

    def sort_hidden_channels(self, bounds: Sequence[int]) -> None:
        """Implement `ElasticBlock.sort_hidden_channels` for both inner widths."""
        sort_between(self.project.conv, [self.middle], bounds)
        sort_between(self.middle.conv, [self.reduce], bounds)

    def pass_input_through(self) -> None:
        """Implement `ElasticBlock.pass_input_through`; a projection counts as a shortcut too."""
        nn.init.zeros_(self.project.norm.weight)


ELASTIC_BLOCKS: dict[str, type[ElasticBlock]] = {"mbconv": ElasticMBConv, "bottleneck": ElasticBottleneck}
"""The module class of each kind in `ofa.space.kinds.KINDS`."""


class ElasticHead(nn.Module):
    """The head of every subnet; only its first layer depends on the last stage's width."""

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
