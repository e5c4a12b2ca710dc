"""Operations that a runtime executes for a block, after fusion, with their work and traffic. No torch here.

Batch norm and activations are part of the convolution before them. The residual sum is too, where the runtime fuses it: the
convolution then also reads the other branch.
"""

from __future__ import annotations

from dataclasses import dataclass

from ofa.space.shapes import BlockShape, OpShape

OP_KINDS = ("conv_1x1", "conv_kxk", "depthwise", "linear", "pool", "elementwise")
"""`linear` also covers 1x1 convolutions on a single pixel (in squeeze-and-excitation, in the head): matrix times vector."""


@dataclass(frozen=True, slots=True)
class FusedOp:
    """One executed operation on one image; sizes in elements, not bytes."""

    kind: str
    macs: int
    weights: int
    """Weights and biases read; batch norm is folded into them."""
    activations: int
    """Elements read and written."""
    outputs: int
    """Elements written."""


def fuse(block: BlockShape, fuse_add: bool = True) -> list[FusedOp]:
    """The executed operations of a block, in order; `fuse_add`: residual sums are part of the convolution before them."""
    fused: list[FusedOp] = []
    for op in block.ops:
        read, written = op.in_channels * op.in_size**2, op.out_channels * op.out_size**2
        if op.kind == "add":
            if fuse_add and fused:
                last = fused[-1]
                fused[-1] = FusedOp(last.kind, last.macs, last.weights, last.activations + written, last.outputs)
                continue
            read *= 2
        elif op.kind == "scale":
            read += op.in_channels
        fused.append(FusedOp(op_kind(op), op.macs, stored_weights(op), read + written, written))
    return fused


def op_kind(op: OpShape) -> str:
    """Kind of an operation, one of `OP_KINDS`."""
    if op.kind in ("max_pool", "avg_pool", "global_pool"):
        return "pool"
    if op.kind in ("add", "scale"):
        return "elementwise"
    if op.kind == "linear" or (op.kernel == 1 and op.out_size == 1 and op.in_size == 1):
        return "linear"
    if op.groups > 1 and op.groups == op.in_channels:
        return "depthwise"
    return "conv_1x1" if op.kernel == 1 else "conv_kxk"


def stored_weights(op: OpShape) -> int:
    """Weights and biases as deployed: batch norm leaves one bias per channel."""
    return op.params - op.out_channels if op.norm and not op.bias else op.params
