"""The table of activations: the names that spaces use, and the forms in torch, numpy, oneDNN and ONNX.

No torch here, and numpy is imported where arrays are, so that platforms and shapes do without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class OnnxGraph(Protocol):
    """An ONNX graph under construction; each method appends to it and returns the name of the new tensor."""

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node."""

    def constant(self, values: npt.NDArray[np.float32]) -> str:
        """Append constant values."""


@dataclass(frozen=True)
class Activation:
    """An activation function, with its name in each library."""

    module: str
    """Name of its class in `torch.nn`; the class takes `inplace`."""
    onnx: Callable[[OnnxGraph, str], str]
    """Appends it to a graph, applied to the tensor of the given name; returns the name of its output."""
    array: Callable[[npt.NDArray[np.float32]], object]
    """Applies it to an array in place."""
    onednn: str | None = None
    """Name under which oneDNN fuses it into a convolution; None: not fused, or only with parameters."""
    in_spaces: bool = True
    """True: the YAML of a space may name it. False: only squeeze-and-excitation uses it."""


def _relu(x: npt.NDArray[np.float32]) -> None:
    import numpy as np

    np.maximum(x, 0, out=x)


def _h_sigmoid(x: npt.NDArray[np.float32]) -> None:
    x += 3
    x.clip(0, 6, out=x)
    x *= 1 / 6


def _h_swish(x: npt.NDArray[np.float32]) -> None:
    gate = x.copy()
    _h_sigmoid(gate)
    x *= gate


def _swish(x: npt.NDArray[np.float32]) -> None:
    import numpy as np

    gate = np.tanh(x * 0.5)  # the sigmoid, without an exponential that overflows
    gate += 1
    gate *= 0.5
    x *= gate


def _clip(graph: OnnxGraph, x: str) -> str:
    import numpy as np

    return graph.node("Clip", x, *(graph.constant(np.array(bound, dtype=np.float32)) for bound in (0, 6)))


ACTIVATIONS = {
    "none": Activation("Identity", lambda graph, x: x, lambda x: None),
    "relu": Activation("ReLU", lambda graph, x: graph.node("Relu", x), _relu, "relu"),
    "relu6": Activation("ReLU6", _clip, lambda x: x.clip(0, 6, out=x)),
    "h_swish": Activation("Hardswish", lambda graph, x: graph.node("HardSwish", x), _h_swish, "hardswish"),
    "swish": Activation("SiLU", lambda graph, x: graph.node("Mul", x, graph.node("Sigmoid", x)), _swish, "swish"),
    "h_sigmoid": Activation(
        "Hardsigmoid", lambda graph, x: graph.node("HardSigmoid", x, alpha=1 / 6, beta=0.5), _h_sigmoid, in_spaces=False
    ),
}
