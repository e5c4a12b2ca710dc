"""Channel sorting: before narrower choices are opened, the most important channels are moved to the front.

Importance is the L1 norm of the weights that read a channel (OFA, section 3.3; Li et al., 2017). The widths that are open
already divide the channels into groups, and channels move only inside a group, so open subnets compute the same as before.
This holds for the hidden channels of squeeze-and-excitation too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ofa.nets.elastic_layers import ElasticConv, ElasticConvNorm, ElasticNorm, ElasticSqueezeExcite
from ofa.space.ops import se_channels

GROUP_OFFSET = 1e5


def sort_between(reader: ElasticConv, writers: Sequence[ElasticConvNorm], bounds: Sequence[int]) -> Tensor:
    """Sort the channels that `reader` reads and `writers` write, in place; returns the order, int64[channels].

    `bounds` are the numbers of channels that open choices use, ascending.
    """
    order = _order(_importance(reader), bounds)
    _permute_inputs(reader, order)
    for writer in writers:
        _permute_outputs(writer.conv, order)
        _permute_norm(writer.norm, order)
    return order


def sort_squeeze_excite(se: ElasticSqueezeExcite, order: Tensor, bounds: Sequence[int]) -> None:
    """Reorder a gate's channels by `order`, and sort its hidden channels; `bounds` are of its channels."""
    _permute_inputs(se.reduce, order)
    _permute_outputs(se.expand, order)
    hidden = _order(_importance(se.expand), sorted({se_channels(bound) for bound in bounds}))
    _permute_inputs(se.expand, hidden)
    _permute_outputs(se.reduce, hidden)


def _importance(reader: ElasticConv) -> Tensor:
    """L1 norm of the weights on each input channel."""
    return reader.weight.abs().sum((0, 2, 3))


def _order(importance: Tensor, bounds: Sequence[int]) -> Tensor:
    """Indices by falling importance inside each group [bound, next bound).

    Groups are kept apart by an offset, as in the published package. Outside the first group, the offset also rounds
    importance to 1/64 (float32), which makes ties; that is kept for equality with the package, and hardly changes the order.
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
