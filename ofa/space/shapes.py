"""The one traversal of a subnet: from a choice to the shapes of its operations.

Everything that costs something reads these shapes: operations, parameters, memory, latency tables, profiling; and
plain modules are built from them. A `BlockShape` is what runs as one piece (and what a latency table measures); an `OpShape`
is one operation of it. Both are frozen and hashable: they are the keys of tables. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ofa.space.search_space import SearchSpace, make_divisible
from ofa.space.subnet import Block, Stem, Subnet

CONVOLUTIONS = ("conv", "linear")


@dataclass(frozen=True, slots=True)
class OpShape:
    """One operation on square feature maps; sizes are sides in pixels.

    `kind` is `conv` (groups equal to channels: depthwise), `linear`, `max_pool`, `avg_pool`, `global_pool`, `scale`
    (squeeze-excite's product) or `add` (a residual sum).
    """

    kind: str
    in_channels: int
    out_channels: int
    in_size: int
    out_size: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    norm: bool = False
    """Followed by batch norm, which a runtime folds into the convolution."""
    bias: bool = False
    activation: str = "none"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image; pools, sums and activations count as none, as in the published package."""
        if self.kind not in CONVOLUTIONS:
            return 0
        weights = self.kernel**2 * self.in_channels // self.groups * self.out_channels
        return weights * self.out_size**2

    @property
    def params(self) -> int:
        """Weights, biases, and batch norm's scale and shift."""
        if self.kind not in CONVOLUTIONS:
            return 0
        weights = self.kernel**2 * self.in_channels // self.groups * self.out_channels
        return weights + self.out_channels * (self.bias + 2 * self.norm)


@dataclass(frozen=True, slots=True)
class BlockShape:
    """A piece of a subnet: its operations in order, and what runs beside them.

    `shortcut` are the operations of the parallel branch of a residual block whose shapes differ; with `residual` the sum of
    both branches (`main[-1]` is then the `add`) holds the block's input until the end.
    """

    kind: str
    """`stem`, `mbconv`, `bottleneck` or `head`."""
    main: tuple[OpShape, ...]
    shortcut: tuple[OpShape, ...] = ()
    residual: bool = False

    @property
    def ops(self) -> tuple[OpShape, ...]:
        """All operations: the shortcut's first, then the main branch."""
        return self.shortcut + self.main


def walk(space: SearchSpace, subnet: Subnet) -> Iterator[OpShape]:
    """The operations of a subnet, in order; any resolution the strides allow, also one not in the space."""
    for block in walk_blocks(space, subnet):
        yield from block.ops


def walk_blocks(space: SearchSpace, subnet: Subnet) -> Iterator[BlockShape]:
    """The pieces of a subnet, in order: stem, the blocks of every stage, head."""
    stem = stem_shape(space, subnet.stem, subnet.resolution)
    yield stem
    width, size = subnet.stem.width, stem.main[-1].out_size
    for s, stage in enumerate(subnet.stages):
        for b, block in enumerate(stage.blocks):
            shape = stage_block_shape(space, s, b, block, width, stage.width, size)
            yield shape
            width, size = stage.width, shape.main[-1].out_size
    yield head_shape(space, width, size)


def stem_shape(space: SearchSpace, stem: Stem, resolution: int) -> BlockShape:
    """The stem: one convolution, or a deep stem of two or three of which the middle one of three is residual."""
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
            ops.append(_add(width, size))
    if choices.pool:
        ops.append(OpShape("max_pool", channels, channels, size, -(-size // 2), 3, 2))
    return BlockShape("stem", tuple(ops))


def stage_block_shape(
    space: SearchSpace, stage: int, index: int, block: Block, in_width: int, out_width: int, in_size: int
) -> BlockShape:
    """Block `index` of stage `stage`: it maps `in_width` channels of `in_size` pixels to `out_width` channels."""
    if space.block == "bottleneck":
        return _bottleneck_shape(space, stage, index, block, in_width, out_width, in_size)
    choices = space.stages[stage]
    stride = choices.stride if index == 0 else 1
    residual = is_residual(space, stage, index)
    ops = []
    hidden = in_width
    if choices.expands_channels:
        hidden = hidden_channels(space, block.expand, in_width, out_width)
        ops.append(conv(in_width, hidden, 1, in_size, 1, choices.activation))
    ops.append(conv(hidden, hidden, block.kernel, in_size, stride, choices.activation, groups=hidden))
    size = ops[-1].out_size
    if choices.se:
        squeezed = se_channels(hidden)
        ops += [
            OpShape("global_pool", hidden, hidden, size, 1),
            OpShape("conv", hidden, squeezed, 1, 1, bias=True, activation="relu"),
            OpShape("conv", squeezed, hidden, 1, 1, bias=True, activation="h_sigmoid"),
            OpShape("scale", hidden, hidden, size, size),
        ]
    ops.append(conv(hidden, out_width, 1, size, 1, "none"))
    if residual:
        ops.append(_add(out_width, size))
    return BlockShape("mbconv", tuple(ops), residual=residual)


def _bottleneck_shape(
    space: SearchSpace, stage: int, index: int, block: Block, in_width: int, out_width: int, in_size: int
) -> BlockShape:
    choices = space.stages[stage]
    stride = choices.stride if index == 0 else 1
    hidden = hidden_channels(space, block.expand, in_width, out_width)
    reduce = conv(in_width, hidden, 1, in_size, 1, choices.activation)
    middle = conv(hidden, hidden, block.kernel, in_size, stride, choices.activation)
    size = middle.out_size
    main = (reduce, middle, conv(hidden, out_width, 1, size, 1, "none"), _add(out_width, size, choices.activation))
    shortcut: tuple[OpShape, ...] = ()
    if not is_residual(space, stage, index):
        if stride > 1:
            shortcut += (OpShape("avg_pool", in_width, in_width, in_size, size, stride, stride),)
        shortcut += (conv(in_width, out_width, 1, size, 1, "none"),)
    return BlockShape("bottleneck", main, shortcut, residual=True)


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
    """Channels between a block's 1x1 convolutions: of mbconv by its input, of a bottleneck by its output."""
    base = out_width if space.block == "bottleneck" else in_width
    return make_divisible(round(base * expand))


def se_channels(hidden: int) -> int:
    """Channels inside squeeze-and-excitation: a quarter, rounded."""
    return make_divisible(hidden // 4)


def in_widths(space: SearchSpace, stage: int, index: int) -> tuple[int, ...]:
    """Every number of input channels that a block can see."""
    if index > 0:
        return space.stages[stage].widths
    return space.stages[stage - 1].widths if stage > 0 else space.stem.widths


def is_residual(space: SearchSpace, stage: int, index: int) -> bool:
    """Whether a block's shortcut is the identity. A property of the space, the same for all of its subnets."""
    if index > 0:
        return True
    inputs = in_widths(space, stage, index)
    return space.stages[stage].stride == 1 and inputs == space.stages[stage].widths and len(inputs) == 1


def conv(
    in_channels: int, out_channels: int, kernel: int, in_size: int, stride: int, activation: str, groups: int = 1
) -> OpShape:
    """A convolution with batch norm and `kernel // 2` pixels of padding."""
    out_size = (in_size - 1) // stride + 1
    return OpShape("conv", in_channels, out_channels, in_size, out_size, kernel, stride, groups, True, False, activation)


def _add(channels: int, size: int, activation: str = "none") -> OpShape:
    return OpShape("add", channels, channels, size, size, activation=activation)


# -- totals --------------------------------------------------------------------------------------------------------------


def macs(ops: Iterable[OpShape]) -> int:
    """Multiply-accumulates of one image."""
    return sum(op.macs for op in ops)


def params(ops: Iterable[OpShape]) -> int:
    """Parameters."""
    return sum(op.params for op in ops)
