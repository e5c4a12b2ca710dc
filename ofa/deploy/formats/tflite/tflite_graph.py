"""Write float32 .tflite files of blocks and whole networks from their shapes, with the operations of the exported ones.

`ofa profile --runtime litert` measures these files. LiteRT-Torch, with which `ofa export` converts, takes seconds for each
block, and a gigabyte on the disk; this module needs `ai-edge-litert`, and neither torch nor TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from ofa.deploy.formats.onnx_graph import Arrays, ImageInput, Weights
from ofa.deploy.formats.tflite.tflite_file import AlignedBuffer, packed
from ofa.errors import UserError
from ofa.space.shapes import CONVOLUTIONS, BlockShape, OpShape

FUSED = {"relu": 1, "relu6": 3, "h_sigmoid": 3}
"""Number in the schema of the activation that is part of a convolution or sum."""
SAME, VALID = 0, 1
VERSION = 3
FULLY_CONNECTED_VERSION = 5
"""The version of the operation that LiteRT-Torch writes; the others have version 1."""


def build_tflite(blocks: Sequence[BlockShape], batch: int, weights: Weights, image: ImageInput | None = None) -> bytes:
    """A .tflite file that runs blocks one after the other at the size of the first.

    Its input is float32[batch, size, size, channels]; with `image`, images in its form, normalised inside.

    Args:
        blocks: the blocks; with `image`, all of a network, from stem to head.
        batch: images per inference.
        weights: the weights, in the order of the ONNX graph's (`onnx_graph.build_network`).
        image: form of the images that a whole network takes.

    Raises:
        UserError: the package `ai-edge-litert` is not installed.
    """
    graph = _Graph(weights)
    first = blocks[0].main[0]
    shape = (batch, first.in_size, first.in_size, first.in_channels)
    source = x = graph.tensor(shape, np.uint8 if image is not None and image.as_uint8 else np.float32)
    if image is not None:
        x = graph.normalise(x, image)
    for block in blocks:
        x = _block(graph, block, x)
    return graph.packed(source, x)


def build_empty_tflite(batch: int) -> bytes:
    """A .tflite file that copies float32[batch, 1, 1, 1], to time the overhead of a call."""
    graph = _Graph(lambda op, shape: np.zeros(shape, np.float32))
    source = graph.tensor((batch, 1, 1, 1))
    to = graph.constant(np.array([batch, 1, 1, 1], np.int32))
    return graph.packed(source, graph.op("RESHAPE", (source, to), (batch, 1, 1, 1)))


class _Graph:
    """A graph under construction; methods append to it and return the number of their output tensor."""

    def __init__(self, weights: Weights) -> None:
        self._schema = schema = _import_schema()
        self.weights = weights
        kinds = schema.TensorType
        self._types: dict[np.dtype[Any], int] = {
            np.dtype(np.float32): kinds.FLOAT32,
            np.dtype(np.int32): kinds.INT32,
            np.dtype(np.uint8): kinds.UINT8,
        }
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._data: list[npt.NDArray[np.uint8] | None] = [None]  # the first buffer is that of tensors without values
        self._codes: dict[str, int] = {}

    def tensor(self, shape: Sequence[int], kind: npt.DTypeLike = np.float32, buffer: int = 0) -> int:
        """Append a tensor."""
        made = self._schema.TensorT()
        made.shape, made.type, made.buffer = list(shape), self._types[np.dtype(kind)], buffer
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def constant(self, values: npt.NDArray[Any]) -> int:
        """Append a tensor of constant values."""
        self._data.append(np.frombuffer(values.tobytes(), np.uint8))
        return self.tensor(values.shape, values.dtype, len(self._data) - 1)

    def op(self, kind: str, inputs: Sequence[int], shape: Sequence[int], options: str = "", **fields: Any) -> int:
        """Append an operation with one output; `options` is the class of its options, `fields` their values."""
        made = self._schema.OperatorT()
        made.opcodeIndex = self._codes.setdefault(kind, len(self._codes))
        made.inputs, made.outputs = list(inputs), [self.tensor(shape)]
        if options:
            made.builtinOptionsType = getattr(self._schema.BuiltinOptions, options)
            made.builtinOptions = getattr(self._schema, f"{options}T")()
            for name, value in fields.items():
                setattr(made.builtinOptions, name, value)
        self._graph.operators.append(made)
        return int(made.outputs[0])

    def shape(self, x: int) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self._graph.tensors[x].shape)

    def packed(self, source: int, result: int) -> bytes:
        """The file."""
        schema = self._schema
        model = schema.ModelT()
        self._graph.inputs, self._graph.outputs = [source], [result]
        model.version, model.subgraphs, model.operatorCodes = VERSION, [self._graph], []
        for kind in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = FULLY_CONNECTED_VERSION if kind == "FULLY_CONNECTED" else 1
            model.operatorCodes.append(code)
        model.buffers = [AlignedBuffer(schema, data) for data in self._data]
        return packed(model)

    def normalise(self, images: int, image: ImageInput) -> int:
        """The means of the channels taken off pixels, as float32; the deviations are part of the stem."""
        shape = self.shape(images)
        scale = 255 if image.as_uint8 else 1
        x = self.op("CAST", (images,), shape, "CastOptions") if image.as_uint8 else images
        ones, shift = np.ones((1, 1, 1, shape[3]), np.float32), -scale * np.array(image.mean, np.float32)
        into = {"padding": VALID, "strideW": 1, "strideH": 1, "depthMultiplier": 1}
        inputs = (x, self.constant(ones), self.constant(shift))
        self._deviations = np.array(image.std, np.float32).reshape(1, -1, 1, 1) * scale
        return self.op("DEPTHWISE_CONV_2D", inputs, shape, "DepthwiseConv2DOptions", **into)

    _deviations: Arrays | None = None
    """Those by which the weights of the next convolution are divided."""

    def convolution(self, op: OpShape, x: int) -> int:
        """A convolution with its folded batch norm and its activation."""
        weight = self.weights(op, op.weight_shape)
        if self._deviations is not None:
            weight, self._deviations = weight / self._deviations, None
        bias = self.weights(op, (op.out_channels,)) if op.norm or op.bias else np.zeros(op.out_channels, np.float32)
        if op.activation == "h_sigmoid":  # (x + 3) clipped to 0 and 6, over 6
            bias = bias + 3
        if op.stride == 2 and op.in_size % 2 == 0 and op.kernel > 1:  # as in `CameraNet`
            weight = np.pad(weight, ((0, 0), (0, 0), (0, 1), (0, 1)))
        depthwise = op.groups == op.in_channels
        weight = weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1)).astype(np.float32)
        inputs = (x, self.constant(np.ascontiguousarray(weight)), self.constant(bias.astype(np.float32)))
        fields = {"padding": SAME if op.kernel > 1 else VALID, "strideW": op.stride, "strideH": op.stride}
        fields["fusedActivationFunction"] = FUSED.get(op.activation, 0)
        shape = (self.shape(x)[0], op.out_size, op.out_size, op.out_channels)
        if depthwise:
            multiplier = op.out_channels // op.in_channels
            kind, options = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
            y = self.op(kind, inputs, shape, options, depthMultiplier=multiplier, **fields)
        else:
            y = self.op("CONV_2D", inputs, shape, "Conv2DOptions", **fields)
        return self._activated(op.activation, y)

    def _activated(self, activation: str, x: int) -> int:
        shape = self.shape(x)
        if activation == "h_swish":
            return self.op("HARD_SWISH", (x,), shape, "HardSwishOptions")
        if activation == "swish":
            return self.op("MUL", (x, self.op("LOGISTIC", (x,), shape)), shape, "MulOptions")
        if activation == "h_sigmoid":
            return self.op("MUL", (x, self.constant(np.array(1 / 6, np.float32))), shape, "MulOptions")
        return x

    def linear(self, op: OpShape, x: int) -> int:
        """A linear layer."""
        inputs = [x, self.constant(np.ascontiguousarray(self.weights(op, op.weight_shape)))]
        if op.bias:
            inputs.append(self.constant(self.weights(op, (op.out_channels,))))
        return self.op("FULLY_CONNECTED", inputs, (self.shape(x)[0], op.out_channels), "FullyConnectedOptions")

    def mean(self, op: OpShape, x: int, keep: bool) -> int:
        """Mean of each channel."""
        batch = self.shape(x)[0]
        shape = (batch, 1, 1, op.out_channels) if keep else (batch, op.out_channels)
        axes = self.constant(np.array([1, 2], np.int32))
        return self.op("MEAN" if op.in_size > 1 else "SUM", (x, axes), shape, "ReducerOptions", keepDims=keep)

    def pool(self, op: OpShape, x: int) -> int:
        """A max pool with `kernel // 2` pixels of padding, or a mean pool of fewer pixels at the edge of an odd map."""
        batch, side, _, channels = self.shape(x)
        shape = (batch, op.out_size, op.out_size, channels)
        fields = {"strideW": op.stride, "strideH": op.stride, "filterWidth": op.kernel, "filterHeight": op.kernel}
        if op.kind == "max_pool":
            same = op.in_size % 2 == 1  # PyTorch and TensorFlow pad an odd map alike
            if not same:
                edges, lowest = [op.kernel // 2] * 2, self.constant(np.array(np.finfo(np.float32).min, np.float32))
                x = self._padded("PADV2", x, edges, (lowest,))
            return self.op("MAX_POOL_2D", (x,), shape, "Pool2DOptions", padding=SAME if same else VALID, **fields)
        missing = op.out_size * op.stride - side
        x = self._padded("PAD", x, [0, missing]) if missing else x
        x = self.op("AVERAGE_POOL_2D", (x,), shape, "Pool2DOptions", padding=VALID, **fields)
        if not missing:
            return x
        share = np.ones(op.out_size, np.float32)
        share[-1] = op.stride / (op.stride - missing)
        of_all = np.outer(share, share).reshape(1, op.out_size, op.out_size, 1)
        return self.op("MUL", (x, self.constant(of_all)), shape, "MulOptions")

    def _padded(self, kind: str, x: int, edges: list[int], value: tuple[int, ...] = ()) -> int:
        batch, side, _, channels = self.shape(x)
        by = self.constant(np.array([[0, 0], edges, edges, [0, 0]], np.int32))
        side += sum(edges)
        options = "PadOptions" if kind == "PAD" else "PadV2Options"
        return self.op(kind, (x, by, *value), (batch, side, side, channels), options)

    def add(self, op: OpShape, x: int, beside: int) -> int:
        """A sum and its activation."""
        fused = {"fusedActivationFunction": FUSED.get(op.activation, 0)}
        return self._activated(op.activation, self.op("ADD", (x, beside), self.shape(x), "AddOptions", **fused))


def _block(graph: _Graph, block: BlockShape, x: int) -> int:
    beside = _chain(graph, block.shortcut, x, x)
    return _chain(graph, block.main, x, beside if block.kind != "stem" else None)


def _chain(graph: _Graph, ops: Iterable[OpShape], x: int, beside: int | None) -> int:
    """Operations in order; `add` adds `beside`, the other branch, or if that is None the input of the convolution before."""
    before = pooled = x
    listed = list(ops)
    for op, after in zip_longest(listed, listed[1:]):
        given = x
        if op.kind in CONVOLUTIONS:
            x = graph.convolution(op, x) if op.kind == "conv" else graph.linear(op, x)
        elif op.kind == "global_pool":
            pooled = x
            x = graph.mean(op, x, keep=after is None or after.kind != "linear")
        elif op.kind == "scale":
            x = graph.op("MUL", (pooled, x), graph.shape(pooled), "MulOptions")
        elif op.kind == "add":
            x = graph.add(op, x, before if beside is None else beside)
        else:
            x = graph.pool(op, x)
        before = given
    return x


def _import_schema() -> Any:
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        raise UserError("the package ai-edge-litert is not installed; install it with: pip install ai-edge-litert") from None
    return schema_py_generated
