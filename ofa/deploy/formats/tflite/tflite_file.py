"""Rewrites .tflite files: without names that cost flash, and with a plan of the memory for microcontrollers."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ofa.deploy.formats.tflite.memory_plan import Buffer, plan_memory

ALIGNMENT = 16
"""Alignment of buffers in TensorFlow Lite Micro's arena, and of weights in the file, which it reads in place."""
PLAN = b"OfflineMemoryAllocation"
"""Name of the metadata in which TensorFlow Lite Micro looks for a plan."""
PLANNED_BY_RUNTIME = -1
NEEDED = (b"min_runtime_version",)
"""Metadata that are kept."""
FILE_IDENTIFIER = b"TFL3"
CHANNEL_AXES = {"CONV_2D": 0, "FULLY_CONNECTED": 0, "DEPTHWISE_CONV_2D": 3}
"""Operations with weights and a bias, and the dimension of the weights that has the output channels."""
INT8_MOST = 127
ROOM_FOR_BIAS = 2**30
"""Greatest bias of an int8 layer; as much again is left for the sum of its products."""


def rewrite(content: bytes, planned: bool) -> bytes:
    """A model of one subgraph without names of tensors and with all weights inside the flatbuffer.

    The converter names tensors after modules, a quarter of a small file; and it puts the weights of a large file behind the
    flatbuffer, where TensorFlow Lite Micro does not find them. `planned` adds a plan of the memory: TensorFlow Lite Micro's
    own planner leaves gaps, up to a third of the memory.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    for tensor in graph.tensors:
        tensor.name = None
    model.description = None
    model.metadata = [entry for entry in model.metadata or [] if entry.name in NEEDED]
    data = [_data(buffer, content) for buffer in model.buffers]
    if planned:
        plan = schema.MetadataT()
        plan.name, plan.buffer = PLAN, len(data)
        model.metadata.append(plan)
        data.append(np.frombuffer(_plan(schema, model, data).tobytes(), np.uint8))
    holders = [*graph.tensors, *model.metadata]
    kept = sorted({0, *(holder.buffer for holder in holders)})  # the first is that of tensors without constant values
    for holder in holders:
        holder.buffer = kept.index(holder.buffer)
    model.buffers = [AlignedBuffer(schema, data[i]) for i in kept]
    return packed(model)


def with_room_for_biases(content: bytes, scales: Mapping[str, float]) -> bytes:
    """A float model whose biases will not overflow when it is quantised.

    A bias becomes an int32 in units of (scale of the input) x (scale of the channel's weights). Where training has shrunk
    the weights of a channel to nothing, as in a squeeze-and-excitation that decayed, that unit is so small that the bias
    overflows. There the largest weight is lifted to what the bias needs, less than a ten-thousandth of it in the output.

    Args:
        content: a .tflite file of floats with one subgraph.
        scales: of the tensors that int8 will hold, by name.
    """
    from ai_edge_litert import schema_py_generated as schema

    model, lifted = schema.ModelT.InitFromPackedBuf(content, 0), False
    tensors, data = model.subgraphs[0].tensors, [_data(buffer, content) for buffer in model.buffers]
    for op in model.subgraphs[0].operators:
        if _name(schema, model, op) not in CHANNEL_AXES or len(op.inputs) < 3 or op.inputs[2] < 0:
            continue
        image, weights, bias = (tensors[i] for i in op.inputs[:3])
        scale, raw, raw_bias = scales.get(image.name.decode()), data[weights.buffer], data[bias.buffer]
        if scale is None or raw is None or raw_bias is None:
            continue
        values = raw.view(np.float32).reshape([int(size) for size in weights.shape]).copy()
        rows = np.moveaxis(values, CHANNEL_AXES[_name(schema, model, op)], 0)
        least = INT8_MOST * np.abs(raw_bias.view(np.float32)) / (ROOM_FOR_BIAS * scale)
        for channel in np.flatnonzero(np.abs(rows).reshape(len(rows), -1).max(1) < least):
            row = rows[channel]
            row[np.unravel_index(np.abs(row).argmax(), row.shape)] = least[channel]
            lifted = True
        data[weights.buffer] = values.reshape(-1).view(np.uint8)
    if not lifted:
        return content
    model.buffers = [AlignedBuffer(schema, values) for values in data]
    return packed(model)


def operations(content: bytes) -> list[str]:
    """The operations of a model in order, by their names in the schema."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    return [_name(schema, model, op) for op in model.subgraphs[0].operators]


def tensor_count(content: bytes) -> int:
    """Number of tensors of a model, constant ones included."""
    from ai_edge_litert import schema_py_generated as schema

    count: int = schema.Model.GetRootAs(content, 0).Subgraphs(0).TensorsLength()
    return count


def _data(buffer: Any, content: bytes) -> npt.NDArray[np.uint8] | None:
    if buffer.offset > 1:  # behind the flatbuffer; 0 and 1 mean inside
        return np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
    array: npt.NDArray[np.uint8] | None = buffer.data
    return array


class AlignedBuffer:
    """Replaces `BufferT`, whose `Pack` ignores the alignment that the schema demands."""

    def __init__(self, schema: Any, data: npt.NDArray[np.uint8] | None) -> None:
        self.schema, self.data = schema, data

    def Pack(self, builder: Any) -> int:  # noqa: N802
        """Write this buffer as the schema's own class would, but aligned; returns its offset."""
        if self.data is not None:
            builder.StartVector(1, self.data.size, ALIGNMENT)
            builder.head -= self.data.size
            builder.Bytes[builder.head : builder.head + self.data.size] = self.data.tobytes()
            vector = builder.EndVector()
        self.schema.BufferStart(builder)
        if self.data is not None:
            self.schema.BufferAddData(builder, vector)
        offset: int = self.schema.BufferEnd(builder)
        return offset


def packed(model: Any) -> bytes:
    """The bytes of a model, a `ModelT` of the schema."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def _name(schema: Any, model: Any, op: Any) -> str:
    code = model.operatorCodes[op.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return str(next(name for name, value in vars(schema.BuiltinOperator).items() if value == number))


def _plan(schema: Any, model: Any, data: list[npt.NDArray[np.uint8] | None]) -> npt.NDArray[np.int32]:
    """The metadata: version, subgraphs, number of tensors, then an offset of each tensor; -1 where it has no buffer."""
    graph = model.subgraphs[0]
    placed = [i for i, tensor in enumerate(graph.tensors) if data[tensor.buffer] is None]
    lifetimes = _lifetimes(graph)
    buffers = [Buffer(_bytes(schema, graph.tensors[i]), *lifetimes[i]) for i in placed]
    offsets = plan_memory(buffers + _scratch(schema, model), ALIGNMENT)  # scratch is placed by the runtime, in the gaps left
    plan = np.full(len(graph.tensors), PLANNED_BY_RUNTIME, np.int32)
    plan[placed] = offsets[: len(placed)]
    return np.concatenate([np.array([0, 1, len(plan)], np.int32), plan])


def _lifetimes(graph: Any) -> dict[int, tuple[int, int]]:
    """First and last operation that uses a tensor, counted from 1; inputs exist at 0, outputs until the end."""
    found = {int(i): (0, 0) for i in graph.inputs}
    for time, op in enumerate(graph.operators, start=1):
        for i in map(int, (*op.inputs, *op.outputs)):
            found[i] = (found.get(i, (time, time))[0], time)
    for i in map(int, graph.outputs):
        found[i] = (found[i][0], len(graph.operators))
    return found


def _bytes(schema: Any, tensor: Any) -> int:
    width = {schema.TensorType.INT8: 1, schema.TensorType.UINT8: 1, schema.TensorType.INT32: 4, schema.TensorType.FLOAT32: 4}
    return _aligned(prod(map(int, tensor.shape)) * width[tensor.type])


def _scratch(schema: Any, model: Any) -> list[Buffer]:
    """Memory that the kernel of a mean asks for: an int32 per output, the place in the input, the axes."""
    graph, found = model.subgraphs[0], []
    for time, op in enumerate(graph.operators, start=1):
        if _name(schema, model, op) in ("MEAN", "SUM"):
            source, axes, result = (graph.tensors[i] for i in (*op.inputs, *op.outputs))
            counts = prod(map(int, result.shape)), len(source.shape), prod(map(int, axes.shape))
            found.append(Buffer(sum(_aligned(4 * count) for count in counts), time, time))
    return found


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
