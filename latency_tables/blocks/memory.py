"""Peak activation memory and weight storage, exactly, from the graph of a block. 1 kB is 1024 bytes. No torch here.

The rules are those of a runtime that plans its memory in advance and runs one image at a time. Operations run in the order
of `BlockShape.ops` (the shortcut's first). A tensor lives from the operation that writes it to the last one that reads it:
an operation's inputs and output are alive together, and the input of a residual block stays alive until the sum. Batch norm
and activations are part of their convolution. A residual sum and the product of squeeze-and-excitation overwrite their input
(in place). Scratch buffers (im2col, Winograd) differ between runtimes and are not counted. Biases of int8 layers are int32.
"""

from __future__ import annotations

from dataclasses import dataclass

from ofa.space.shapes import CONVOLUTIONS, BlockShape, OpShape

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int16": 2, "int8": 1}
"""Bytes of an activation or a weight, by precision."""
BYTES_PER_KB = 1024


@dataclass(frozen=True, slots=True)
class _Step:
    """One operation, by the numbers of the tensors: those it reads, and the one it writes (one of them, if in place)."""

    reads: tuple[int, ...]
    writes: int


def peak_elements(block: BlockShape) -> int:
    """The most activation elements alive at once while a block runs on one image."""
    sizes, steps = _graph(block)
    last_use = {tensor: i for i, step in enumerate(steps) for tensor in (*step.reads, step.writes)}
    alive, peak = {0}, 0
    for i, step in enumerate(steps):
        alive.add(step.writes)
        peak = max(peak, sum(sizes[tensor] for tensor in alive))
        alive = {tensor for tensor in alive if last_use[tensor] > i}
    return peak


def peak_kb(block: BlockShape, precision: str) -> float:
    """Peak activation memory of a block on one image, in kB."""
    return peak_elements(block) * BYTES[precision] / BYTES_PER_KB


def weights_kb(block: BlockShape, precision: str) -> float:
    """Storage of a block's weights and biases, batch norm folded, in kB."""
    bias_bytes = 4 if precision == "int8" else BYTES[precision]
    total = 0
    for op in block.ops:
        if op.kind in CONVOLUTIONS:
            biases = op.out_channels if op.norm or op.bias else 0
            total += op.kernel**2 * op.in_channels // op.groups * op.out_channels * BYTES[precision] + biases * bias_bytes
    return total / BYTES_PER_KB


def _graph(block: BlockShape) -> tuple[list[int], list[_Step]]:
    """Sizes of the tensors (number 0 is the block's input) and the operations on them."""
    first = block.main[0]
    sizes = [first.in_channels * first.in_size**2]
    steps: list[_Step] = []

    def run(op: OpShape, source: int) -> int:
        sizes.append(op.out_channels * op.out_size**2)
        steps.append(_Step((source,), len(sizes) - 1))
        return len(sizes) - 1

    side = 0  # what the block's sum adds: the shortcut's output, or the block's input
    for op in block.shortcut:
        side = run(op, side)
    current = before = gated = 0
    for op in block.main:
        if op.kind == "add":  # inside a stem: the input of the convolution before it
            steps.append(_Step((current, side if block.residual else before), current))
        elif op.kind == "scale":
            steps.append(_Step((current, gated), gated))
            current = gated
        else:
            if op.kind == "global_pool":
                gated = current
            current, before = run(op, current), current
    return sizes, steps
