"""Noise of programmed weights: normal, in proportion to the largest weight of a column or of a layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

_DRAW = 5  # part of each seed, so that the random stream differs from others of the same numbers


def array_weights(module: nn.Module) -> Iterator[Tensor]:
    """The weights that an array holds: those of convolutions and linear layers. Biases and batch norms are digital."""
    for child in module.modules():
        if isinstance(child, (nn.Conv2d, nn.Linear)):
            yield child.weight


def largest(weight: Tensor, relative_to: str) -> Tensor:
    """The largest magnitude of a layer's weights, a scalar; or that of each column, out x 1 x ... x 1."""
    magnitude = weight.detach().abs()
    if relative_to == "layer":
        return magnitude.amax()
    return magnitude.flatten(1).amax(1).view(-1, *[1] * (weight.dim() - 1))


@torch.no_grad()
def add_weight_noise(module: nn.Module, noise: float, relative_to: str, generator: torch.Generator) -> None:
    """Add a draw of the noise to a module's weights, in place.

    Args:
        module: a plain network whose batch norm is not folded.
        noise: standard deviation, as a fraction of the largest weight of the column or layer.
        relative_to: `column` or `layer`.
        generator: source of the draw, on the CPU, so that it is the same on every device.
    """
    for weight in array_weights(module):
        draw = torch.randn(weight.shape, generator=generator).to(weight)
        weight.add_(draw * (noise * largest(weight, relative_to)))


def generator_of_draw(seed: int, draw: int) -> torch.Generator:
    """The generator of one draw of the noise, on the CPU."""
    words = np.random.SeedSequence((seed, draw, _DRAW)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))
