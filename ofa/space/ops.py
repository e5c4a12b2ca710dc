"""Shapes of operations and of blocks, and the rules by which channels are rounded. No torch here.

A `BlockShape` is a block, the unit that a latency table measures; an `OpShape` is one operation of a block. Both are frozen
and hashable, because they are the keys of tables.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """True: batch norm follows, which a runtime folds into the convolution."""
    bias: bool = False
    activation: str = "none"

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight of a `conv` or `linear`."""
        channels = self.out_channels, self.in_channels // self.groups
        return channels if self.kind == "linear" else (*channels, self.kernel, self.kernel)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image; pools, sums and activations count as 0, as in the published package."""
        if self.kind not in CONVOLUTIONS:
            return 0
        weights = self.kernel**2 * self.in_channels // self.groups * self.out_channels
        return weights * self.out_size**2

    @property
    def params(self) -> int:
        """Number of weights, biases, and scales and shifts of batch norm."""
        if self.kind not in CONVOLUTIONS:
            return 0
        weights = self.kernel**2 * self.in_channels // self.groups * self.out_channels
        return weights + self.out_channels * (self.bias + 2 * self.norm)


@dataclass(frozen=True, slots=True)
class BlockShape:
    """A block of a subnet: the operations of its main branch in order, and those of its shortcut.

    `shortcut` has operations where input and output of a bottleneck differ in shape. With `residual`, `main[-1]` is the
    `add` of the two branches, and the block's input (or the shortcut's output) stays in memory until then.
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


def conv(
    in_channels: int, out_channels: int, kernel: int, in_size: int, stride: int, activation: str, groups: int = 1
) -> OpShape:
    """A convolution with batch norm and `kernel // 2` pixels of padding."""
    out_size = (in_size - 1) // stride + 1
    return OpShape("conv", in_channels, out_channels, in_size, out_size, kernel, stride, groups, True, False, activation)


def add(channels: int, size: int, activation: str = "none") -> OpShape:
    """A residual sum."""
    return OpShape("add", channels, channels, size, size, activation=activation)


def make_divisible(value: float) -> int:
    """Round to a multiple of 8, never below 90% of `value` (MobileNetV2's rule, used by the published spaces)."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * value else rounded + 8


def se_channels(hidden: int) -> int:
    """Hidden channels of squeeze-and-excitation: a quarter of the channels, rounded."""
    return make_divisible(hidden // 4)
