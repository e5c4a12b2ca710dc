"""The tables of block kinds and of activations: one entry a name, and each entry means the same to all who read it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from ofa.measure.fast_inference import ONEDNN_NAMES, FusedConv
from ofa.nets.elastic_blocks import ELASTIC_BLOCKS
from ofa.nets.plain import PLAIN_BLOCKS, activation
from ofa.space.activations import ACTIVATIONS
from ofa.space.kinds import KINDS

VALUES = torch.linspace(-8, 8, 257)


def test_a_kind_of_block_has_a_shape_a_plain_and_an_elastic_module() -> None:
    assert ELASTIC_BLOCKS.keys() == KINDS.keys()
    assert PLAIN_BLOCKS.keys() == KINDS.keys() | {"stem", "head"}


class OneNodeAfterTheOther:
    """An ONNX graph that is computed while it is made; tensors are named by their number."""

    def __init__(self, x: npt.NDArray[np.float32]) -> None:
        self.tensors: dict[str, Any] = {"x": x}

    def constant(self, values: npt.NDArray[np.float32]) -> str:
        return self._add(values)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        made = helper.make_node(kind, list(inputs), ["y"], **attributes)
        given = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, self.tensors[name].shape)
            for name in dict.fromkeys(inputs)
        ]
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        model = helper.make_model(helper.make_graph([made], kind, given, [y]), opset_imports=[helper.make_opsetid("", 17)])
        return self._add(ReferenceEvaluator(model).run(None, {name: self.tensors[name] for name in inputs})[0])

    def _add(self, values: npt.NDArray[np.float32]) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = values
        return name


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_onnx_computes_what_torch_does(name: str) -> None:
    graph = OneNodeAfterTheOther(VALUES.numpy())
    found = graph.tensors[ACTIVATIONS[name].onnx(graph, "x")]
    np.testing.assert_allclose(found, activation(name)(VALUES.clone()).numpy(), atol=1e-6)


@pytest.mark.parametrize("name", [name for name, known in ACTIVATIONS.items() if known.onednn])
def test_onednn_computes_what_torch_does(name: str) -> None:
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        pytest.skip("this build of PyTorch has no oneDNN")
    module = activation(name)
    assert type(module) in ONEDNN_NAMES
    conv = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.bias.fill_(0)
        x = VALUES.view(1, 1, 1, -1)
        torch.testing.assert_close(FusedConv(conv, module)(x), module(x.clone()), atol=1e-5, rtol=1e-5)
