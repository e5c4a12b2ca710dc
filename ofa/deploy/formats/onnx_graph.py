"""Build ONNX graphs of blocks and whole networks from their shapes, with batch norm folded.

The height and width of a block's input are symbolic, so that blocks at different resolutions share one graph; a runtime gets
their values when it opens the graph. This module imports neither torch nor onnxruntime, and onnx only inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.space.activations import ACTIVATIONS
from ofa.space.shapes import CONVOLUTIONS, BlockShape, OpShape

Arrays = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageInput:
    """The form of a network's input images: square, channels last."""

    side: int
    mean: tuple[float, ...]
    """Mean of each channel, for values in [0, 1]; `std` likewise."""
    std: tuple[float, ...]
    as_uint8: bool = True
    """True: values are uint8 in 0 to 255. False: float32 in 0 to 1."""

    @property
    def dtype(self) -> type[np.uint8] | type[np.float32]:
        """The type of the values."""
        return np.uint8 if self.as_uint8 else np.float32


Weights = Callable[[OpShape, tuple[int, ...]], Arrays]
"""Returns the weight or bias of an operation with a given shape; a bias has one dimension."""

OPSET = 17
"""ONNX operator set of 2022, which ONNX Runtime 1.13 and later read."""
IR_VERSION = 8
NOISE_PERIOD = 251
"""Number of values after which `noise` repeats, which keeps zip files small; prime, so that no two channels are equal."""


def build_graph(blocks: Sequence[BlockShape], batch: int, weights: Weights) -> Any:
    """An `onnx.ModelProto` that runs blocks one after the other.

    Its input `x` is float32[batch, channels, height, width], its output `y`.

    Raises:
        UserError: the package `onnx` is not installed.
    """
    onnx = _import_onnx()
    graph = _Graph(onnx.helper, weights)
    current = "x"
    for block in blocks:
        current = _block(graph, block, current)
    graph.nodes[-1].output[0] = "y"
    kind, helper = onnx.TensorProto.FLOAT, onnx.helper
    first, last = blocks[0].main[0], blocks[-1].main[-1]
    inputs = [helper.make_tensor_value_info("x", kind, [batch, first.in_channels, "height", "width"])]
    sizes = [] if last.kind == "linear" else ["out_height", "out_width"]
    outputs = [helper.make_tensor_value_info("y", kind, [batch, last.out_channels, *sizes])]
    made = helper.make_graph(graph.nodes, "blocks", inputs, outputs, graph.initializers)
    return _model(helper, made, "ofa profile")


def build_network(blocks: Sequence[BlockShape], weights: Weights, image: ImageInput, facts: Mapping[str, str]) -> Any:
    """An `onnx.ModelProto` of a whole network, with the normalisation of its input images inside.

    Its input `images` is [batch, side, side, channels], uint8 in 0 to 255 or float32 in 0 to 1; its output `logits` is
    float32[batch, classes]; the batch size is dynamic. `weights` are as from `module_weights`, `facts` the model's metadata.

    Raises:
        UserError: the package `onnx` is not installed.
    """
    onnx = _import_onnx()
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = _Graph(helper, weights)
    current = graph.normalise("images", image)
    for block in blocks:
        current = _block(graph, block, current)
    graph.nodes[-1].output[0] = "logits"
    shape = ["batch", image.side, image.side, len(image.mean)]
    inputs = [helper.make_tensor_value_info("images", kinds.UINT8 if image.as_uint8 else kinds.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("logits", kinds.FLOAT, ["batch", blocks[-1].main[-1].out_channels])]
    model = _model(helper, helper.make_graph(graph.nodes, "subnet", inputs, outputs, graph.initializers), "ofa export")
    helper.set_model_props(model, dict(sorted(facts.items())))
    return model


def build_empty(batch: int) -> Any:
    """An identity model from `x` to `y`, float32[batch, 1, height, width], to time the overhead of a call."""
    onnx = _import_onnx()
    helper = onnx.helper
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, 1, "height", "width"]) for name in "xy")
    made = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "empty", [x], [y])
    return _model(helper, made, "ofa profile")


def noise(rng: np.random.Generator) -> Weights:
    """Random weights that keep the scale of feature maps (He et al., 2015), repeating after `NOISE_PERIOD` values."""
    period = rng.standard_normal(NOISE_PERIOD).astype(np.float32)

    def weights(op: OpShape, shape: tuple[int, ...]) -> Arrays:
        if len(shape) == 1:
            return np.zeros(shape, dtype=np.float32)
        fan_in = int(np.prod(shape[1:]))
        return np.resize(period, shape) * np.float32((2 / fan_in) ** 0.5)

    return weights


# -- nodes -----------------------------------------------------------------------------------------------------------------


@dataclass
class _Graph:
    """A graph under construction; every method appends to it and returns the name of its output."""

    helper: Any
    weights: Weights
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node."""
        place = len(self.nodes)
        output = f"t{place}"
        self.nodes.append(self.helper.make_node(kind, list(inputs), [output], name=f"{kind}_{place}", **attributes))
        return output

    def constant(self, values: Arrays) -> str:
        """Append a tensor of constant values."""
        name = f"w{len(self.initializers)}"
        raw = np.ascontiguousarray(values, dtype="<f4").tobytes()
        self.initializers.append(self.helper.make_tensor(name, 1, values.shape, raw, raw=True))  # 1: float32
        return name

    def convolution(self, op: OpShape, x: str) -> str:
        """A convolution with its folded batch norm, and its activation."""
        shape = (op.out_channels, op.in_channels // op.groups, op.kernel, op.kernel)
        constants = [self.constant(self.weights(op, shape))]
        if op.norm or op.bias:
            constants.append(self.constant(self.weights(op, (op.out_channels,))))
        sides = {"kernel_shape": [op.kernel] * 2, "strides": [op.stride] * 2, "pads": [op.kernel // 2] * 4}
        return ACTIVATIONS[op.activation].onnx(self, self.node("Conv", x, *constants, group=op.groups, **sides))

    def normalise(self, images: str, image: ImageInput) -> str:
        """Convert images, channels last, to the stem's input: normalised float32, channels first."""
        scale = 255 if image.as_uint8 else 1
        mean, std = np.array(image.mean).reshape(1, -1, 1, 1), np.array(image.std).reshape(1, -1, 1, 1)
        x = self.node("Cast", images, to=1) if image.as_uint8 else images
        x = self.node("Transpose", x, perm=[0, 3, 1, 2])
        x = self.node("Mul", x, self.constant((1 / (std * scale)).astype(np.float32)))
        return self.node("Add", x, self.constant((-mean / std).astype(np.float32)))

    def linear(self, op: OpShape, x: str) -> str:
        """A linear layer on flattened features."""
        constants = [self.constant(self.weights(op, (op.out_channels, op.in_channels)))]
        if op.bias:
            constants.append(self.constant(self.weights(op, (op.out_channels,))))
        return self.node("Gemm", self.node("Flatten", x), *constants, transB=1)


def _block(graph: _Graph, block: BlockShape, x: str) -> str:
    beside = _chain(graph, block.shortcut, x, x)
    return _chain(graph, block.main, x, beside if block.kind != "stem" else None)


def _chain(graph: _Graph, ops: Iterable[OpShape], x: str, beside: str | None) -> str:
    """Operations in order; `add` adds `beside`, the other branch, or if that is None the input of the convolution before."""
    before = pooled = x
    for op in ops:
        given = x
        if op.kind in CONVOLUTIONS:
            x = graph.convolution(op, x) if op.kind == "conv" else graph.linear(op, x)
        elif op.kind == "global_pool":
            pooled = x
            x = graph.node("GlobalAveragePool", x)
        elif op.kind == "scale":
            x = graph.node("Mul", pooled, x)
        elif op.kind == "add":
            x = ACTIVATIONS[op.activation].onnx(graph, graph.node("Add", x, before if beside is None else beside))
        elif op.kind == "max_pool":
            x = graph.node("MaxPool", x, kernel_shape=[op.kernel] * 2, strides=[op.stride] * 2, pads=[op.kernel // 2] * 4)
        else:
            assert op.kind == "avg_pool", op.kind
            x = graph.node("AveragePool", x, kernel_shape=[op.kernel] * 2, strides=[op.stride] * 2, ceil_mode=1)
        before = given
    return x


def _model(helper: Any, graph: Any, producer: str) -> Any:
    versions = {"opset_imports": [helper.make_opsetid("", OPSET)], "ir_version": IR_VERSION}
    return helper.make_model(graph, producer_name=producer, **versions)


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.helper
    except ImportError:
        raise UserError("the package onnx is not installed; install it with: pip install 'ofa-energy[onnx]'") from None
    return onnx
