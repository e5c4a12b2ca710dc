"""A net that computes in training as a chip will: noise on its weights, weights and inputs of few bits.

Gradients pass through noise and rounding unchanged (a straight-through estimator, Bengio et al., arXiv:1308.3432).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ofa.nets.plain import Conv, Linear
from ofa.numerics.rounding import rounded, rounded_columns
from ofa.numerics.stated import BITS
from ofa.numerics.weight_noise import largest


@dataclass(frozen=True)
class ChipInTraining:
    """Numerics of convolutions and linear layers in the forward pass of training."""

    weight_noise: float = 0.0
    """Standard deviation of the noise, as a fraction of the largest weight of the column or layer."""
    relative_to: str = "column"
    fake_quantisation: str | None = None
    """A name in `BITS`; None: nothing is rounded."""

    @property
    def is_exact(self) -> bool:
        """True where a net computes exactly."""
        return self.weight_noise == 0 and self.fake_quantisation is None

    def weight(self, weight: Tensor, seed: int) -> Tensor:
        """The weight that a layer computes with; equal seeds draw equal noise."""
        change = torch.zeros_like(weight)
        with torch.no_grad():
            if self.fake_quantisation is not None:
                change += rounded_columns(weight, BITS[self.fake_quantisation][0]) - weight
            if self.weight_noise > 0:
                generator = torch.Generator(weight.device).manual_seed(seed)
                draw = torch.randn(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)
                change += draw * (self.weight_noise * largest(weight, self.relative_to))
        return weight + change

    def input(self, x: Tensor) -> Tensor:
        """The input that a layer computes with, rounded between the extremes of its batch."""
        bits = None if self.fake_quantisation is None else BITS[self.fake_quantisation][1]
        if bits is None:
            return x
        with torch.no_grad():
            change = rounded(x, bits, *x.aminmax()) - x
        return x + change


@contextmanager
def computing_as(net: nn.Module, chip: ChipInTraining, seed: int) -> Iterator[None]:
    """Run a block in which the layers of a net compute as on a chip, forward and, where it is recomputed, backward.

    Every layer draws from a generator of its own, so that a block which activation checkpointing computes again draws the
    same noise.

    Args:
        net: a `Supernet`, or a net of plain layers; noise falls on the weights of the subnet that is used.
        chip: the chip.
        seed: seed of the noise; equal seeds draw equal noise.
    """
    layers = [] if chip.is_exact else [child for child in net.modules() if isinstance(child, (Conv, Linear))]
    hooks = [layer.register_forward_pre_hook(lambda _, inputs: (chip.input(inputs[0]), *inputs[1:])) for layer in layers]
    try:
        for index, layer in enumerate(layers):
            layer.weight_rule = partial(chip.weight, seed=seed + index)
        yield
    finally:
        for layer in layers:
            layer.weight_rule = None
        for hook in hooks:
            hook.remove()
