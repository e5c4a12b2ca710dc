"""Memory of a subnet in TensorFlow Lite Micro: the operations of its int8 .tflite file, and the arena and flash they need.

The arena has two parts. Feature maps and the kernels' scratch memory share the first; `ofa export` plans it such that it is
no larger than what is alive at once, which is a maximum over blocks. Structures of operations and tensors stay in the second
until the end; they are a sum. Kernels are the reference kernels; those of a vendor may ask for more scratch memory. No torch
here.

Everything was compared with the interpreter itself: `benchmarks/microcontroller_memory.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from latency_tables.blocks.memory import BYTES_PER_KB
from ofa.space.shapes import BlockShape, OpShape

ALIGNMENT = 16
OWN_OPERATION = {"h_swish": ("HARD_SWISH",), "swish": ("LOGISTIC", "MUL"), "h_sigmoid": ("MUL",)}
"""Activations that are operations of their own; others are part of the convolution or the sum before them."""
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
POOLS = ("MEAN", "SUM", "AVERAGE_POOL_2D", "MAX_POOL_2D")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Bytes of the interpreter's structures, for one size of pointers."""

    convolution: int
    """Bytes of a convolution with its tensors; fitted to the interpreter's own report, like the next four."""
    hard_swish: int
    pool: int
    other: int
    network: int
    tensor_plan: int
    """Bytes of a tensor while memory is planned (`AllocationInfo` in micro_allocation_info.h)."""

    def kept_bytes(self, op: TfliteOp) -> int:
        """Bytes that an operation occupies until the end: 8 for each output channel, and its structures."""
        channels = 2 * aligned(4 * op.channels)  # per channel, an int32 multiplier and an int32 shift
        if op.name in CONVOLUTIONS:
            return self.convolution + channels
        return self.hard_swish if op.name == "HARD_SWISH" else self.pool if op.name in POOLS else self.other

    def planning_bytes(self, op: TfliteOp) -> int:
        """Bytes that an operation's tensors occupy while the memory is planned, in place of feature maps."""
        tensors, scratch = (3 if op.name in CONVOLUTIONS else 1), (3 if op.scratch else 0)
        return self.tensor_plan * (tensors + scratch) + BUFFER_PLAN * (1 + scratch)


BUFFER_PLAN = 40
"""Bytes of a buffer while the memory is planned (`per_buffer_size` in greedy_memory_planner.h)."""
INTERPRETERS = {
    4: Interpreter(convolution=162, hard_swish=58, pool=80, other=119, network=435, tensor_plan=24),
    8: Interpreter(convolution=242, hard_swish=104, pool=115, other=176, network=902, tensor_plan=40),
}
"""Interpreters by the bytes of a pointer: 4 on microcontrollers, 8 in the Python package."""
MICROCONTROLLER = INTERPRETERS[4]
FLASH_PER_CHANNEL = 28
"""Bytes of an output channel in the file: bias (4), scale and zero point (12) of the weights and of the bias (12)."""
FLASH_PER_OP, FLASH_PER_NETWORK = 223, 2080
"""Bytes of an operation and its tensors in the file, and of what every file has; fitted to files."""


@dataclass(frozen=True, slots=True)
class TfliteOp:
    """An operation, by the numbers of the tensors that it reads and of the one that it writes."""

    name: str
    reads: tuple[int, ...]
    writes: int
    weights: int = 0
    channels: int = 0
    """Output channels, for a convolution or a linear layer."""
    scratch: int = 0
    """Bytes that its kernel asks for while it runs."""


@dataclass(frozen=True, slots=True)
class TfliteGraph:
    """The operations of a block, in the order in which they run; tensor 0 is its input."""

    ops: tuple[TfliteOp, ...]
    sizes: tuple[int, ...]
    """Bytes of each tensor, aligned."""

    def kept_bytes(self, interpreter: Interpreter = MICROCONTROLLER) -> int:
        """Bytes of the arena that stay taken."""
        return sum(interpreter.kept_bytes(op) for op in self.ops)

    def planning_bytes(self, interpreter: Interpreter = MICROCONTROLLER) -> int:
        """Bytes that planning takes in place of feature maps."""
        return sum(interpreter.planning_bytes(op) for op in self.ops)

    @property
    def flash_bytes(self) -> int:
        """Bytes of the block in the file, names of tensors left out."""
        return sum(op.weights + FLASH_PER_CHANNEL * op.channels + FLASH_PER_OP for op in self.ops)

    @property
    def peak_bytes(self) -> int:
        """The most bytes of feature maps and scratch memory that are in use at once."""
        last_use = {tensor: i for i, op in enumerate(self.ops) for tensor in (*op.reads, op.writes)}
        alive, peak = {0}, 0
        for i, op in enumerate(self.ops):
            alive.add(op.writes)
            peak = max(peak, op.scratch + sum(self.sizes[tensor] for tensor in alive))
            alive = {tensor for tensor in alive if last_use[tensor] > i}
        return peak


class _Builder:
    def __init__(self, elements: int) -> None:
        self.ops: list[TfliteOp] = []
        self.sizes = [aligned(elements)]

    def append(self, name: str, reads: tuple[int, ...], elements: int, **more: int) -> int:
        self.sizes.append(aligned(elements))
        self.ops.append(TfliteOp(name, reads, len(self.sizes) - 1, **more))
        return len(self.sizes) - 1

    def activate(self, activation: str, tensor: int, elements: int) -> int:
        """Append the operations of an activation; returns the number of its output."""
        gate = tensor
        for name in OWN_OPERATION.get(activation, ()):
            of_swish = activation == "swish" and name == "MUL"
            gate = self.append(name, (tensor, gate) if of_swish else (gate,), elements)
        return gate

    def run(self, op: OpShape, tensor: int) -> int:
        """Append an operation with one input and its activation."""
        elements = op.out_channels * op.out_size**2
        if op.kind in ("conv", "linear"):
            kernel = op.kernel + 1 if padded_kernel(op) else op.kernel
            depthwise = op.groups > 1 or (op.kind == "conv" and op.in_channels == 1)
            name = "FULLY_CONNECTED" if op.kind == "linear" else "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
            weights = kernel**2 * op.in_channels // op.groups * op.out_channels
            written = self.append(name, (tensor,), elements, weights=weights, channels=op.out_channels)
            return self.activate(op.activation, written, elements)
        if op.kind == "global_pool":
            scratch = aligned(4 * op.out_channels) + 2 * ALIGNMENT
            return self.append("MEAN" if op.in_size > 1 else "SUM", (tensor,), elements, scratch=scratch)
        if op.kind == "max_pool":
            if op.in_size % 2 == 0:  # as with convolutions, TensorFlow pads an odd map as PyTorch does, and an even one not
                tensor = self.append("PADV2", (tensor,), op.in_channels * (op.in_size + 2 * (op.kernel // 2)) ** 2)
            return self.append("MAX_POOL_2D", (tensor,), elements)
        assert op.kind == "avg_pool", op.kind
        if op.in_size % op.stride == 0:
            return self.append("AVERAGE_POOL_2D", (tensor,), elements)
        padded = self.append("PAD", (tensor,), op.in_channels * (op.out_size * op.stride) ** 2)
        pooled = self.append("AVERAGE_POOL_2D", (padded,), elements)
        return self.append("MUL", (pooled,), elements)  # at the edge, the mean is of fewer pixels


def tflite_graph(block: BlockShape) -> TfliteGraph:
    """The operations that `ofa export` makes of a block."""
    first = block.main[0]
    elements = first.in_channels * first.in_size**2
    graph = _Builder(elements)
    tensor = 0
    if block.kind == "stem" and first.in_channels > 1:  # each channel has a mean of its own
        tensor = graph.append("DEPTHWISE_CONV_2D", (0,), elements, weights=first.in_channels, channels=first.in_channels)
    before = pooled = gate = tensor
    for op in block.main:
        given = tensor
        if op.kind == "add":
            beside = _shortcut(graph, block) if block.kind != "stem" else before
            size = op.out_channels * op.out_size**2
            tensor = graph.activate(op.activation, graph.append("ADD", (tensor, beside), size), size)
        elif op.kind == "scale":
            tensor = graph.append("MUL", (pooled, gate), op.out_channels * op.out_size**2)
        else:
            pooled = tensor if op.kind == "global_pool" else pooled
            tensor = gate = graph.run(op, tensor)
        before = given
    return TfliteGraph(tuple(graph.ops), tuple(graph.sizes))


def _shortcut(graph: _Builder, block: BlockShape) -> int:
    tensor = 0
    for op in block.shortcut:
        tensor = graph.run(op, tensor)
    return tensor


def padded_kernel(op: OpShape) -> bool:
    """True where `ofa export` adds a row and a column of zeros to a kernel (see `ofa.deploy.formats.camera_net`)."""
    return op.kind == "conv" and op.stride == 2 and op.in_size % 2 == 0 and op.kernel > 1


def aligned(size: int) -> int:
    """A number of bytes rounded up to the arena's alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Arena:
    """Contributions of a block to the parts of an arena, in kB: `kept` stays, `planning` and `peak` share memory in turn."""

    peak: Callable[[BlockShape], float]
    """Feature maps and scratch memory in use at once."""
    planning: Callable[[BlockShape], float]
    """The block's share of the data that are there while memory is planned, before the feature maps."""
    kept: Callable[[BlockShape], float]
    """The block's share of the data that stay."""
    constant: float
    """Data that stay, whatever the network."""


def arena_of(interpreter: Interpreter) -> Arena:
    """The arena of an interpreter."""
    return Arena(
        peak=lambda shape: tflite_graph(shape).peak_bytes / BYTES_PER_KB,
        planning=lambda shape: tflite_graph(shape).planning_bytes(interpreter) / BYTES_PER_KB,
        kept=lambda shape: tflite_graph(shape).kept_bytes(interpreter) / BYTES_PER_KB,
        constant=interpreter.network / BYTES_PER_KB,
    )


def arena_kb(blocks: Iterable[BlockShape], interpreter: Interpreter) -> float:
    """The arena that a whole network needs, in kB."""
    arena, shapes = arena_of(interpreter), list(blocks)
    beside = max(max(map(arena.peak, shapes)), sum(map(arena.planning, shapes)))
    return arena.constant + sum(map(arena.kept, shapes)) + beside


ARENA = arena_of(MICROCONTROLLER)
"""The arena on a microcontroller, with pointers of 32 bits."""
