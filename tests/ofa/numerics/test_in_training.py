"""A net in training that computes as a chip: what is changed, that gradients pass, and that nothing is left behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ofa import Supernet
from ofa.errors import UserError
from ofa.nets.elastic_layers import ElasticConv
from ofa.nets.plain import Linear
from ofa.numerics.in_training import ChipInTraining, computing_as
from tests.space_toys import toy_space

CHIPS = {
    "noise": ChipInTraining(weight_noise=0.1),
    "int8": ChipInTraining(fake_quantisation="int8"),
    "int4": ChipInTraining(fake_quantisation="int4_weights"),
    "all": ChipInTraining(0.05, "layer", "int8"),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear() -> Linear:
    layer = Linear(40, 3)
    with torch.no_grad():
        layer.weight.normal_(generator=seeded(0)).mul_(torch.tensor([[1.0], [2.0], [3.0]]))
        layer.bias.zero_()
    return layer


def used_weight(layer: nn.Module, chip: ChipInTraining, inputs: int, *choice: int) -> Tensor:
    """The weight [out, in] that a layer without bias computes with, seen from outside: its output for unit vectors."""
    images = torch.eye(inputs) if isinstance(layer, nn.Linear) else torch.eye(inputs)[:, :, None, None]
    with computing_as(layer, chip, seed=5), torch.no_grad():
        out: Tensor = layer(images, *choice)
    return out.flatten(1).T


@pytest.mark.parametrize(("name", "levels"), [("int8", 255), ("int4", 15)])
def test_weights_have_the_levels_of_their_bits_in_each_column(name: str, levels: int) -> None:
    layer = linear()
    weight = used_weight(layer, CHIPS[name], 40)
    step = layer.weight.detach().abs().amax(1, keepdim=True) / (levels // 2)
    torch.testing.assert_close(weight / step, (weight / step).round(), rtol=0, atol=1e-3)
    assert 0 < float(((weight - layer.weight.detach()) / step).abs().max()) <= 0.501
    assert float((weight / step).abs().max()) == pytest.approx(levels // 2)


def test_noise_is_in_proportion_to_the_columns_of_the_slice_that_is_used() -> None:
    conv = ElasticConv(600, 4)
    with torch.no_grad():
        conv.weight.uniform_(-1, 1, generator=seeded(1))
        conv.weight[:, 300:] *= 100  # not used below
    change = used_weight(conv, CHIPS["noise"], 300, 2) - conv.weight[:2, :300, 0, 0].detach()
    torch.testing.assert_close(change.std(1), torch.full((2,), 0.1), rtol=0.15, atol=0)


@pytest.mark.parametrize("name", CHIPS)
def test_gradients_pass_straight_through(name: str) -> None:
    """Of a loss linear in the weights, the gradient does not depend on them; the input's is that of the changed weight."""
    layer, x = linear(), torch.randn(5, 40, generator=seeded(2)).round(decimals=1).requires_grad_()
    with computing_as(layer, CHIPS[name], seed=5):
        out = layer(x)
        out.sum().backward()
    assert layer.weight.grad is not None
    assert x.grad is not None
    rounded_x = CHIPS[name].input(x).detach().sum(0).expand(3, 40)
    torch.testing.assert_close(layer.weight.grad, rounded_x, rtol=1e-4, atol=1e-5)
    weight = CHIPS[name].weight(layer.weight, seed=5).detach()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(5, 40))
    torch.testing.assert_close(out, CHIPS[name].input(x) @ weight.T)


def gradients(net: Supernet, chip: ChipInTraining, seed: int, checkpointing: bool = False) -> list[Tensor]:
    net.zero_grad(set_to_none=True)
    images = torch.randn(6, net.space.in_channels, 12, 12, generator=seeded(3))
    with computing_as(net, chip, seed):
        net(images, net.space.smallest(), seeded(4), activation_checkpointing=checkpointing).square().sum().backward()
    return [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("name", CHIPS)
def test_a_supernet_repeats_a_seed_with_and_without_activation_checkpointing(name: str) -> None:
    net, chip = Supernet(toy_space("wide"), seeded(0)).train(), CHIPS[name]
    first = gradients(net, chip, 1)
    exact = gradients(net, ChipInTraining(), 1)
    assert len(first) == len(exact)
    assert not all(map(torch.equal, first, exact))
    for again in (gradients(net, chip, 1), gradients(net, chip, 1, checkpointing=True)):
        for one, other in zip(first, again, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    if chip.weight_noise:
        assert not all(map(torch.equal, first, gradients(net, chip, 2)))


def test_nothing_is_left_behind() -> None:
    layer, x = linear(), torch.randn(5, 40, generator=seeded(2))
    expected = layer(x)
    with pytest.raises(UserError):
        _fail_inside(layer, x, expected)
    assert torch.equal(layer(x), expected)
    with computing_as(layer, ChipInTraining(), 0):
        assert torch.equal(layer(x), expected)


def _fail_inside(layer: nn.Module, x: Tensor, expected: Tensor) -> None:
    with computing_as(layer, CHIPS["all"], 0):
        assert not torch.equal(layer(x), expected)
        raise UserError("stop")
