"""The optimiser of a supernet, and its momentum buffers by parameter name, as a checkpoint holds them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ofa.runs.recipe import OptimiserConfig


def make_optimiser(net: nn.Module, config: OptimiserConfig, fused: bool | None = None) -> torch.optim.SGD:
    """SGD for a net that is on its device already; norms, biases and kernel transforms have no weight decay.

    `fused`: use PyTorch's fused SGD kernel; None: yes on CUDA, no elsewhere.
    """
    spared: list[Tensor] = []
    decayed: list[Tensor] = []
    for name, parameter in net.named_parameters():
        (spared if parameter.ndim == 1 or ".transform_" in name else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    if fused is None:
        fused = next(net.parameters()).device.type == "cuda"
    momentum = config.momentum
    optimiser = torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=momentum > 0, fused=fused or None)
    if fused and momentum > 0:
        # The first subnets give only some parameters a gradient, and PyTorch's fused step needs buffers for all or none.
        for parameter in net.parameters():
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def momenta(net: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The momentum buffers by parameter name; parameters without a buffer are left out."""
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
            # In the parameter's memory format; with another one, optimisers on a GPU are slow or fail.
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(values[name])
