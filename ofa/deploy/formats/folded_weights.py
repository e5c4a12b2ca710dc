"""The weights of a plain network with batch norm folded in, in the order in which `build_network` asks for them."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from torch import nn

from ofa.deploy.formats.onnx_graph import Arrays, Weights
from ofa.nets.plain import Net, fold_batch_norm
from ofa.space.shapes import OpShape


def net_weights(net: Net) -> Weights:
    """The weights of a network in eval mode, for `build_network`; the network is not changed."""
    blocks = [block for stage in net.stages for block in stage.children()]
    return module_weights([net.stem, *blocks, net.head])


def module_weights(modules: Iterable[nn.Module]) -> Weights:
    """The weights of consecutive blocks; within a block, those of the shortcut come first."""
    arrays: list[Arrays] = []
    for module in modules:
        folded = copy.deepcopy(module)
        fold_batch_norm(folded)
        convs = [(name, child) for name, child in folded.named_modules() if isinstance(child, (nn.Conv2d, nn.Linear))]
        convs.sort(key=lambda named: not named[0].startswith("shortcut"))
        tensors = [tensor for _, conv in convs for tensor in (conv.weight, conv.bias) if tensor is not None]
        arrays += [tensor.detach().float().cpu().numpy() for tensor in tensors]
    given = iter(arrays)

    def weights(op: OpShape, shape: tuple[int, ...]) -> Arrays:
        array = next(given)
        if array.shape != shape:
            raise ValueError(f"the network has a tensor of shape {array.shape} where {op} needs {shape}")
        return array

    return weights
