"""The kinds of blocks that stages are made of. No torch here.

A kind has one name in three tables: here its shape, in `ofa.nets.plain.PLAIN_BLOCKS` its plain module, in
`ofa.nets.elastic_blocks.ELASTIC_BLOCKS` its elastic one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ofa.space.ops import BlockShape, OpShape, add, conv, make_divisible, se_channels
from ofa.space.parts import StageSpace
from ofa.space.subnet import Block, Stage


class Slot(NamedTuple):
    """A position of a block in a space, with its input."""

    choices: StageSpace
    """The choices of its stage."""
    stride: int
    residual: bool
    """True: the block's unchanged input is added to its output."""
    in_width: int
    """Input channels."""
    in_size: int
    """Side of the input in pixels."""


@dataclass(frozen=True)
class BlockKind:
    """Rules of a kind of block: its operations, and the meaning of its expand ratio."""

    build: Callable[[Slot, int, Block, Stage], BlockShape]
    """Takes the slot, the number of hidden channels, the chosen block and its stage; returns the operations."""
    expands_output: bool = False
    """True: expand ratios multiply the output channels. False: the input channels."""
    squeeze_excite: bool = False
    """True: may have squeeze-and-excitation."""

    def hidden_channels(self, expand: float, in_width: int, out_width: int) -> int:
        """Number of channels between the block's 1x1 convolutions."""
        return make_divisible(round((out_width if self.expands_output else in_width) * expand))

    def shape(self, slot: Slot, block: Block, stage: Stage) -> BlockShape:
        """The shape of a chosen block in a slot."""
        return self.build(slot, self.hidden_channels(block.expand, slot.in_width, stage.width), block, stage)


def _mbconv(slot: Slot, hidden: int, block: Block, stage: Stage) -> BlockShape:
    choices, size = slot.choices, slot.in_size
    ops = []
    if choices.expands_channels:
        ops.append(conv(slot.in_width, hidden, 1, size, 1, choices.activation))
    else:
        hidden = slot.in_width
    ops.append(conv(hidden, hidden, block.kernel, size, slot.stride, choices.activation, groups=hidden))
    size = ops[-1].out_size
    if choices.se if stage.se is None else stage.se:
        squeezed = se_channels(hidden)
        ops += [
            OpShape("global_pool", hidden, hidden, size, 1),
            OpShape("conv", hidden, squeezed, 1, 1, bias=True, activation="relu"),
            OpShape("conv", squeezed, hidden, 1, 1, bias=True, activation="h_sigmoid"),
            OpShape("scale", hidden, hidden, size, size),
        ]
    ops.append(conv(hidden, stage.width, 1, size, 1, "none"))
    if slot.residual:
        ops.append(add(stage.width, size))
    return BlockShape("mbconv", tuple(ops), residual=slot.residual)


def _bottleneck(slot: Slot, hidden: int, block: Block, stage: Stage) -> BlockShape:
    activation, in_width, out_width = slot.choices.activation, slot.in_width, stage.width
    reduce = conv(in_width, hidden, 1, slot.in_size, 1, activation)
    middle = conv(hidden, hidden, block.kernel, slot.in_size, slot.stride, activation)
    size = middle.out_size
    main = (reduce, middle, conv(hidden, out_width, 1, size, 1, "none"), add(out_width, size, activation))
    shortcut: tuple[OpShape, ...] = ()
    if not slot.residual:
        if slot.stride > 1:
            shortcut += (OpShape("avg_pool", in_width, in_width, slot.in_size, size, slot.stride, slot.stride),)
        shortcut += (conv(in_width, out_width, 1, size, 1, "none"),)
    return BlockShape("bottleneck", main, shortcut, residual=True)


KINDS = {
    "mbconv": BlockKind(_mbconv, squeeze_excite=True),
    "bottleneck": BlockKind(_bottleneck, expands_output=True),
}
"""Kinds of block by name: the inverted bottleneck of MobileNetV2 and V3, and ResNet's bottleneck."""
