"""Channel sorting: before narrower choices are opened, the most important channels go first.

Importance is the L1 norm of the weights that read a channel (OFA, section 3.3; Li et al., 2017). Channels move only inside
the groups that opened choices delimit, so every function already opened stays; squeeze-excite's hidden channels too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ofa.errors import UserError
from ofa.nets.elastic_layers import ElasticConv, ElasticConvNorm, ElasticNorm, ElasticSqueezeExcite
from ofa.nets.supernet import ElasticBottleneck, ElasticMBConv, Supernet
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import hidden_channels, in_widths, se_channels
from ofa.space.subspace import is_part

GROUP_OFFSET = 1e5


@torch.no_grad()
def sort_channels(supernet: Supernet, opened: SearchSpace | Sequence[float]) -> None:
    """Sort the hidden channels of every block, most important first, in place.

    Args:
        supernet: the supernet.
        opened: what is trained already: a part of the space, or its expand ratios (`[6]`: the largest only).

    Raises:
        UserError: an expand ratio that no stage has, or a space that is no part of the supernet's.
    """
    space = supernet.space
    if isinstance(opened, SearchSpace):
        if not is_part(opened, space):
            raise UserError(f"{opened.name} is no part of {space.name}; give a restriction of the supernet's own space")
    else:
        known = sorted({expand for stage in space.stages for expand in stage.expands})
        for expand in opened:
            if expand not in known:
                raise UserError(f"{space.name}: expand ratio {expand!r} is in no stage; known are {known}")
    for s, blocks in enumerate(supernet.stages):
        assert isinstance(blocks, nn.ModuleList)
        for b, block in enumerate(blocks):
            bounds = _bounds(space, opened, s, b)
            if isinstance(block, ElasticMBConv) and block.expand is not None:
                _sort_mbconv(block, bounds)
            elif isinstance(block, ElasticBottleneck):
                _sort_between(block.project.conv, [block.middle], bounds)
                _sort_between(block.middle.conv, [block.reduce], bounds)


def _bounds(space: SearchSpace, opened: SearchSpace | Sequence[float], stage: int, index: int) -> list[int]:
    """The numbers of hidden channels of a block that opened choices use, ascending."""
    if isinstance(opened, SearchSpace):
        part, expands = opened, opened.stages[stage].expands
        pairs = [(i, o) for i in in_widths(part, stage, index) for o in part.stages[stage].widths]
    else:
        expands = tuple(expand for expand in space.stages[stage].expands if expand in opened)
        pairs = [(in_widths(space, stage, index)[-1], space.stages[stage].widths[-1])]
    return sorted({hidden_channels(space, expand, i, o) for expand in expands for i, o in pairs})


def _sort_mbconv(block: ElasticMBConv, bounds: list[int]) -> None:
    assert block.expand is not None
    order = _sort_between(block.project.conv, [block.depthwise, block.expand], bounds)
    if isinstance(block.se, ElasticSqueezeExcite):
        _permute_inputs(block.se.reduce, order)
        _permute_outputs(block.se.expand, order)
        hidden = _order(_importance(block.se.expand), sorted({se_channels(bound) for bound in bounds}))
        _permute_inputs(block.se.expand, hidden)
        _permute_outputs(block.se.reduce, hidden)


def _sort_between(reader: ElasticConv, writers: list[ElasticConvNorm], bounds: list[int]) -> Tensor:
    """Sort the channels that `reader` reads and `writers` write; returns the order."""
    order = _order(_importance(reader), bounds)
    _permute_inputs(reader, order)
    for writer in writers:
        _permute_outputs(writer.conv, order)
        _permute_norm(writer.norm, order)
    return order


def _importance(reader: ElasticConv) -> Tensor:
    """L1 norm of the weights on each input channel."""
    return reader.weight.abs().sum((0, 2, 3))


def _order(importance: Tensor, bounds: list[int]) -> Tensor:
    """Indices by falling importance inside each group [bound, next bound).

    Groups are kept apart by an offset, as in the published package; in float32 the offset also rounds importance to 1/64
    outside the first group, which decides ties there. Kept for equality with the package; it moves no channel that matters.
    """
    offset = torch.zeros_like(importance)
    for bound in bounds:
        if bound < len(importance):
            offset[bound:] -= GROUP_OFFSET if offset[-1] < 0 else 2 * GROUP_OFFSET
    return (importance + offset).sort(descending=True).indices


def _permute_inputs(conv: ElasticConv, order: Tensor) -> None:
    conv.weight.copy_(conv.weight[:, order])


def _permute_outputs(conv: ElasticConv, order: Tensor) -> None:
    conv.weight.copy_(conv.weight[order])
    if conv.bias is not None:
        conv.bias.copy_(conv.bias[order])


def _permute_norm(norm: ElasticNorm, order: Tensor) -> None:
    for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert values is not None
        values.copy_(values[order])
