"""Noise of programmed weights has the stated deviation, falls on weights alone, and is that of its generator."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from ofa.numerics.rounding import rounded
from ofa.numerics.weight_noise import add_weight_noise, array_weights, generator_of_draw


def layers() -> nn.Sequential:
    """A convolution whose columns differ in size, batch norm, and a linear layer."""
    net = nn.Sequential(nn.Conv2d(300, 4, 3), nn.BatchNorm2d(4), nn.Linear(2000, 3))
    with torch.no_grad():
        for child in (net[0], net[2]):
            child.weight.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
        net[0].weight *= torch.tensor([1.0, 2.0, 4.0, 8.0]).view(-1, 1, 1, 1)
    return net


@pytest.mark.parametrize("relative_to", ["column", "layer"])
def test_the_noise_has_the_stated_deviation(relative_to: str) -> None:
    before = layers()
    net = deepcopy(before)
    add_weight_noise(net, 0.05, relative_to, generator_of_draw(0, 0))
    noise = (net[0].weight - before[0].weight).flatten(1)
    reach = before[0].weight.abs().flatten(1).amax(1)
    expected = 0.05 * (reach if relative_to == "column" else reach.max().expand(4))
    torch.testing.assert_close(noise.std(1), expected, rtol=0.05, atol=0)
    torch.testing.assert_close(noise.mean(1) / expected, torch.zeros(4), rtol=0, atol=0.1)
    assert not torch.equal(net[2].weight, before[2].weight)
    for name in ("0.bias", "2.bias", "1.weight", "1.bias", "1.running_mean"):
        torch.testing.assert_close(net.state_dict()[name], before.state_dict()[name])


def test_a_draw_repeats_and_draws_differ() -> None:
    weights = []
    for seed, draw in ((1, 0), (1, 0), (1, 1), (2, 0)):
        net = layers()
        add_weight_noise(net, 0.02, "column", generator_of_draw(seed, draw))
        weights.append(torch.cat([weight.flatten() for weight in array_weights(net)]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])


@pytest.mark.parametrize(
    ("low", "high", "bits", "levels"),
    [(0.0, 6.0, 2, [0, 2, 4, 6]), (-3.0, 1.5, 2, [-3, 0, 3]), (-1.0, 7.0, 4, list(range(-7, 8))), (0.0, 0.0, 8, [0])],
)
def test_rounded_values_are_the_nearest_levels(low: float, high: float, bits: int, levels: list[int]) -> None:
    x = torch.linspace(low, high, 1001)
    limits = torch.tensor(low), torch.tensor(high)
    found: Tensor = rounded(x, bits, *limits)
    known = torch.tensor(levels, dtype=torch.float32)
    nearest = (x[:, None] - known).abs().amin(1)
    torch.testing.assert_close((found - x).abs(), nearest, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rounded(10 * x, bits, *limits).abs().max(), known.abs().max())  # limited
