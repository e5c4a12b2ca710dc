"""The traversal of a subnet: from its choices to the shapes of its operations.

All costs are computed from these shapes (MACs, parameters, memory, latency, energy), profiles measure them, and plain
modules are built from them. Neither torch nor numpy here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ofa.space.kinds import KINDS, Slot
from ofa.space.ops import CONVOLUTIONS, BlockShape, OpShape, add, conv, make_divisible
from ofa.space.subnet import Block, Stage, Stem, Subnet

if TYPE_CHECKING:
    from ofa.space.search_space import SearchSpace

__all__ = [
    "CONVOLUTIONS",
    "BlockShape",
    "OpShape",
    "head_shape",
    "hidden_channels",
    "in_widths",
    "is_residual",
    "macs",
    "params",
    "stage_block_shape",
    "stem_shape",
    "walk",
    "walk_blocks",
]


def walk(space: SearchSpace, subnet: Subnet) -> Iterator[OpShape]:
    """The operations of a subnet, in order, at any resolution that the strides allow, in the space or not."""
    for block in walk_blocks(space, subnet):
        yield from block.ops


def walk_blocks(space: SearchSpace, subnet: Subnet) -> Iterator[BlockShape]:
    """The blocks of a subnet, in order: the stem, the blocks of every stage, the head."""
    stem = stem_shape(space, subnet.stem, subnet.resolution)
    yield stem
    width, size = subnet.stem.width, stem.main[-1].out_size
    for s, stage in enumerate(subnet.stages):
        for b, block in enumerate(stage.blocks):
            shape = stage_block_shape(space, s, b, block, stage, width, size)
            yield shape
            width, size = stage.width, shape.main[-1].out_size
    yield head_shape(space, width, size)


def stem_shape(space: SearchSpace, stem: Stem, resolution: int) -> BlockShape:
    """The stem: one convolution; or a deep stem of two, or of three whose middle one is residual."""
    choices = space.stem
    widths = [stem.width]
    if stem.hidden is not None:
        widths = [make_divisible(stem.hidden)] * (stem.depth - 1) + widths
    ops = []
    channels, size = space.in_channels, resolution
    for i, width in enumerate(widths):
        op = conv(channels, width, choices.kernel, size, choices.stride if i == 0 else 1, choices.activation)
        ops.append(op)
        channels, size = width, op.out_size
        if i == 1 and len(widths) == 3:
            ops.append(add(width, size))
    if choices.pool:
        ops.append(OpShape("max_pool", channels, channels, size, -(-size // 2), 3, 2))
    return BlockShape("stem", tuple(ops))


def stage_block_shape(
    space: SearchSpace, stage: int, index: int, block: Block, chosen: Stage, in_width: int, in_size: int
) -> BlockShape:
    """The shape of block `index` of a stage, from `in_width` channels of `in_size` pixels; `chosen.blocks` is ignored."""
    choices = space.stages[stage]
    stride = choices.stride if index == 0 else 1
    slot = Slot(choices, stride, is_residual(space, stage, index), in_width, in_size)
    return KINDS[space.block].shape(slot, block, chosen)


def head_shape(space: SearchSpace, in_width: int, in_size: int) -> BlockShape:
    """Average pool and classifier, with the space's optional convolutions before and after the pool."""
    head = space.head
    ops = []
    channels = in_width
    if head.width is not None:
        ops.append(conv(channels, head.width, 1, in_size, 1, head.activation))
        channels = head.width
    ops.append(OpShape("global_pool", channels, channels, in_size, 1))
    if head.features is not None:
        ops.append(OpShape("conv", channels, head.features, 1, 1, activation=head.activation))
        channels = head.features
    ops.append(OpShape("linear", channels, space.classes, 1, 1, bias=True))
    return BlockShape("head", tuple(ops))


# -- rules shared with the elastic layers --------------------------------------------------------------------------------


def hidden_channels(space: SearchSpace, expand: float, in_width: int, out_width: int) -> int:
    """Number of channels between a block's 1x1 convolutions."""
    return KINDS[space.block].hidden_channels(expand, in_width, out_width)


def in_widths(space: SearchSpace, stage: int, index: int) -> tuple[int, ...]:
    """Every possible number of input channels of a block."""
    if index > 0:
        return space.stages[stage].widths
    return space.stages[stage - 1].widths if stage > 0 else space.stem.widths


def is_residual(space: SearchSpace, stage: int, index: int) -> bool:
    """Tell whether a block's shortcut is the identity, which is the same for all subnets of the space."""
    if index > 0:
        return True
    inputs = in_widths(space, stage, index)
    return space.stages[stage].stride == 1 and inputs == space.stages[stage].widths and len(inputs) == 1


# -- totals --------------------------------------------------------------------------------------------------------------


def macs(ops: Iterable[OpShape]) -> int:
    """Multiply-accumulates of one image."""
    return sum(op.macs for op in ops)


def params(ops: Iterable[OpShape]) -> int:
    """Number of parameters."""
    return sum(op.params for op in ops)
