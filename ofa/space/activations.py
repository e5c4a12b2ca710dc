"""The one table of activations: what spaces may name, and how torch, oneDNN and ONNX call it. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class OnnxGraph(Protocol):
    """An ONNX graph in the making; each method appends to it and returns the name of a tensor."""

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node."""

    def constant(self, values: npt.NDArray[np.float32]) -> str:
        """Append constant values."""


@dataclass(frozen=True)
class Activation:
    """An activation function, by the names that others have for it."""

    module: str
    """Class of `torch.nn`; takes `inplace`."""
    onnx: Callable[[OnnxGraph, str], str]
    """Appends it to a graph behind the tensor named."""
    onednn: str | None = None
    """Name under which oneDNN's convolution applies it to what it writes; None: it cannot, or not without parameters."""
    in_spaces: bool = True
    """May be named in the YAML of a space; else only squeeze-and-excitation uses it."""


def _clip(graph: OnnxGraph, x: str) -> str:
    return graph.node("Clip", x, *(graph.constant(np.array(bound, dtype=np.float32)) for bound in (0, 6)))


ACTIVATIONS = {
    "none": Activation("Identity", lambda graph, x: x),
    "relu": Activation("ReLU", lambda graph, x: graph.node("Relu", x), "relu"),
    "relu6": Activation("ReLU6", _clip),
    "h_swish": Activation("Hardswish", lambda graph, x: graph.node("HardSwish", x), "hardswish"),
    "swish": Activation("SiLU", lambda graph, x: graph.node("Mul", x, graph.node("Sigmoid", x)), "swish"),
    "h_sigmoid": Activation(
        "Hardsigmoid", lambda graph, x: graph.node("HardSigmoid", x, alpha=1 / 6, beta=0.5), in_spaces=False
    ),
}
