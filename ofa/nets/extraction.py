"""A subnet out of a supernet, as a plain module with copied weights."""

from __future__ import annotations

import torch
from torch import nn

from ofa.nets.plain import Net, empty_net
from ofa.nets.slices import subnet_tensors
from ofa.nets.supernet import Supernet
from ofa.space.subnet import Subnet


def extract(supernet: Supernet, subnet: Subnet) -> Net:
    """A plain `nn.Module` that computes the same as `supernet(images, subnet)`; in eval mode the same bits.

    It shares no memory with the supernet; its device, precision, memory format and mode (training or eval) are the
    supernet's. Its batch-norm statistics are copied too; they are a mixture over subnets, so call `recalibrate_batch_norm`
    before use.

    Raises:
        UserError: the subnet is not in the supernet's space (its resolution does not matter here).
    """
    supernet.space.check(subnet)
    parameter = next(supernet.parameters())
    net = empty_net(supernet.space, subnet, parameter.device).to(parameter.dtype)
    if _is_channels_last(supernet):  # the format decides the order of sums
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.load_state_dict(subnet_tensors(supernet.state_dict(), supernet.space, subnet))
    return net.train(supernet.training)


def _is_channels_last(module: nn.Module) -> bool:
    # By strides, because 1x1 and one-channel weights are contiguous in both formats, and a net may have no others.
    weights = [parameter for parameter in module.parameters() if parameter.dim() == 4 and parameter.shape[1] > 1]
    return bool(weights) and all(weight.stride(1) == 1 and weight.stride(3) == weight.shape[1] for weight in weights)
