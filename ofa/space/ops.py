"""Shapes of operations and of blocks, and the rules by which channels are rounded. No torch here.

A `BlockShape` is what runs as one piece (and what a latency table measures); an `OpShape` is one operation of it. Both are
frozen and hashable: they are the keys of tables.
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


def conv(
    in_channels: int, out_channels: int, kernel: int, in_size: int, stride: int, activation: str, groups: int = 1
) -> OpShape:
    """A convolution with batch norm and `kernel // 2` pixels of padding."""
    out_size = (in_size - 1) // stride + 1
    return OpShape("conv", in_channels, out_channels, in_size, out_size, kernel, stride, groups, True, False, activation)


def add(channels: int, size: int, activation: str = "none") -> OpShape:
    """A residual sum."""
    return OpShape("add", channels, channels, size, size, activation=activation)


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never below 90% of `value` (MobileNetV2's rule, used by the published spaces)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * value else rounded + divisor


def se_channels(hidden: int) -> int:
    """Channels inside squeeze-and-excitation: a quarter, rounded."""
    return make_divisible(hidden // 4)
