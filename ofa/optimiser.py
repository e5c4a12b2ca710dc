"""The optimiser of a supernet, and its momenta by the names of the parameters, as a checkpoint holds them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ofa.recipe import OptimiserConfig


def make_optimiser(net: nn.Module, config: OptimiserConfig) -> torch.optim.SGD:
    """For a supernet or a plain net: SGD whose weight decay spares norms, biases and kernel transforms."""
    spared: list[Tensor] = []
    decayed: list[Tensor] = []
    for name, parameter in net.named_parameters():
        (spared if parameter.ndim == 1 or ".transform_" in name else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, nesterov=config.momentum > 0)


def momenta(net: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The momentum of every parameter that has one."""
    buffers = {}
    for name, parameter in net.named_parameters():
        buffer = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            buffers[name] = buffer
    return buffers


def set_momenta(net: nn.Module, optimiser: torch.optim.Optimizer, values: Mapping[str, Tensor]) -> None:
    """The inverse of `momenta`."""
    for name, parameter in net.named_parameters():
        if name in values:
            optimiser.state[parameter]["momentum_buffer"] = values[name].clone()
