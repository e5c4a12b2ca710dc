"""A subnet on an analog array: noise on its weights, batch norm recalibrated under it, inputs of few bits."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ofa.measure.evaluator import SubnetEvaluator
from ofa.measure.fast_inference import ProductConv, speed_up
from ofa.nets.plain import ConvNorm, Net
from ofa.numerics.rounding import rounded
from ofa.numerics.stated import Analog
from ofa.numerics.weight_noise import add_weight_noise, generator_of_draw
from ofa.space.subnet import Subnet

OPERATIONS = (ConvNorm, ProductConv, nn.Linear)
"""Modules of a network after `speed_up` that are operations of an array; every weight is in one of them."""


@torch.inference_mode()
def correct_under_noise(
    evaluator: SubnetEvaluator,
    subnet: Subnet,
    analog: Analog,
    draws: int,
    seed: int,
    split: str = "validation",
) -> npt.NDArray[np.bool_]:
    """For each draw of the noise and each image, whether the top-1 prediction is its label, bool[draws, images].

    Each draw is a chip that the weights are programmed into.
    """
    rows = []
    for draw in range(draws):
        net = noisy_net(evaluator, subnet, analog, generator_of_draw(seed, draw))
        speed_up(net)
        if analog.activation_bits is not None:
            round_inputs(net, analog.activation_bits, evaluator.recalibration_images(subnet.resolution))
        rows.append(evaluator.classified(net, subnet.resolution, split))
    return np.stack(rows)


def noisy_net(evaluator: SubnetEvaluator, subnet: Subnet, analog: Analog, generator: torch.Generator) -> Net:
    """The subnet as a plain network in eval mode, with a draw of the noise on its weights.

    Its batch-norm statistics are those of the noisy network; recalibration is done anyway, so this costs nothing.
    """
    net = evaluator.extracted(subnet)
    add_weight_noise(net, analog.weight_noise, analog.relative_to, generator)
    evaluator.recalibrate(net, subnet.resolution)
    net.eval()
    return net


def round_inputs(net: nn.Module, bits: int, batches: Iterable[Tensor]) -> None:
    """Round the inputs of all operations of a net after `speed_up` from now on, between their extremes on `batches`."""
    limits: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def observe(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        low, high = inputs[0].aminmax()
        if module in limits:
            low, high = torch.minimum(low, limits[module][0]), torch.maximum(high, limits[module][1])
        limits[module] = low, high

    def limit(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return rounded(inputs[0], bits, *limits[module]), *inputs[1:]

    hooks = [child.register_forward_pre_hook(observe) for child in net.modules() if isinstance(child, OPERATIONS)]
    for batch in batches:
        net(batch)
    for hook in hooks:
        hook.remove()
    for module in limits:
        module.register_forward_pre_hook(limit)
