"""The weights of a plain network in the order in which a graph of its shapes asks for them, batch norm folded in."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from torch import nn

from ofa.deploy.formats.onnx_graph import Arrays, Weights
from ofa.measure.shared_starts import pieces
from ofa.nets.plain import Net, fold_batch_norm
from ofa.space.shapes import OpShape


def net_weights(net: Net) -> Weights:
    """The weights of a network in eval mode, for `build_network`; the network stays as it is."""
    return module_weights(pieces(net))


def convolutions(block: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """The convolutions and linear layers of a block in the order of `BlockShape.ops`: the shortcut's first."""
    found = [(name, child) for name, child in block.named_modules() if isinstance(child, (nn.Conv2d, nn.Linear))]
    found.sort(key=lambda named: not named[0].startswith("shortcut"))
    return [child for _, child in found]


def module_weights(blocks: Iterable[nn.Module]) -> Weights:
    """The weights of blocks that run one after the other."""
    arrays: list[Arrays] = []
    for block in blocks:
        folded = copy.deepcopy(block)
        fold_batch_norm(folded)
        tensors = [tensor for conv in convolutions(folded) for tensor in (conv.weight, conv.bias) if tensor is not None]
        arrays += [tensor.detach().float().cpu().numpy() for tensor in tensors]
    given = iter(arrays)

    def weights(op: OpShape, shape: tuple[int, ...]) -> Arrays:
        array = next(given)
        if array.shape != shape:
            raise ValueError(f"the network has a tensor of shape {array.shape} where {op} needs {shape}")
        return array

    return weights
