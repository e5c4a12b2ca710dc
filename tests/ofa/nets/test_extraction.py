"""The central promise: an extracted subnet computes what the supernet does, bit by bit, and shares nothing with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ofa import Subnet, Supernet, extract
from ofa.errors import UserError
from ofa.nets.plain import build_net
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Block, Stage
from tests.space_toys import SHIPPED, toy_space, wide_space

SPACES = [*SHIPPED, "tiny", "wide", "deep"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scrambled(space: SearchSpace, seed: int) -> Supernet:
    """A supernet in eval mode whose every entry is random: a swapped or forgotten one would show."""
    net = Supernet(space, seeded(seed)).eval()
    generator = seeded(seed + 1)
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.7, 1.3, generator=generator)
        elif "transform_" in name:
            value.add_(torch.randn(value.shape, generator=generator), alpha=0.05)
        elif value.dim() == 1 and value.is_floating_point():
            value.add_(torch.randn(value.shape, generator=generator), alpha=0.1)
    return net


def subnets_of(space: SearchSpace, n: int, seed: int) -> list[Subnet]:
    return [space.smallest(), space.largest(), *space.decode(space.sample(n, np.random.default_rng(seed)))]


def images_for(space: SearchSpace, seed: int) -> Tensor:
    """Small, of odd sides: nothing may depend on the resolutions trained."""
    side = min(49, space.resolutions[0] + 1)
    return torch.randn(2, space.in_channels, side, side - 2, generator=seeded(seed))


@pytest.mark.parametrize("name", SPACES)
def test_extracted_nets_are_bit_equal_to_the_supernet(name: str) -> None:
    space = toy_space(name)
    net = scrambled(space, 5)
    images = images_for(space, 6)
    outputs = set()
    for subnet in subnets_of(space, 3, seed=7):
        module = extract(net, subnet)
        with torch.inference_mode():
            for x in (images, images.contiguous(memory_format=torch.channels_last)):
                expected = net(x, subnet)
                assert torch.isfinite(expected).all()
                assert torch.equal(module(x), expected)
        outputs.add(tuple(expected.flatten().tolist()))
    assert len(outputs) > 3, "different subnets must give different logits, or equality shows nothing"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["fmnist", "wide", "deep", "cifar"])
def test_weights_in_channels_last_and_other_precisions_too(name: str, dtype: torch.dtype) -> None:
    space = toy_space(name)
    net = scrambled(space, 0).to(dtype).to(memory_format=torch.channels_last)
    images = images_for(space, 1).to(dtype)
    for subnet in subnets_of(space, 2, seed=2):
        module = extract(net, subnet)
        assert {parameter.dtype for parameter in module.parameters()} == {dtype}
        with torch.inference_mode():
            for x in (images, images.contiguous(memory_format=torch.channels_last)):
                assert torch.equal(module(x), net(x, subnet))


@pytest.mark.parametrize("name", ["wide", "deep"])
def test_nothing_is_shared(name: str) -> None:
    space = toy_space(name)
    net = scrambled(space, 0)
    module = extract(net, space.largest())
    ours = {value.untyped_storage().data_ptr() for value in net.state_dict().values()}
    theirs = {value.untyped_storage().data_ptr() for value in module.state_dict().values()}
    assert not ours & theirs
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.no_grad():
        for value in module.state_dict().values():
            value.fill_(3)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_no_random_number_is_drawn_and_nothing_is_left_unset() -> None:
    space = wide_space()
    net = scrambled(space, 0)
    state = torch.get_rng_state()
    first, again = (extract(net, space.smallest()).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert all(value.item() == 0 for key, value in first.items() if key.endswith("num_batches_tracked"))


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_structure_are_those_of_a_plain_net(training: bool) -> None:
    space = wide_space(norm_eps=1e-3)
    subnet = space.smallest()
    module = extract(Supernet(space).train(training), subnet)
    assert {child.training for child in module.modules()} == {training}
    assert {child.eps for child in module.modules() if isinstance(child, nn.BatchNorm2d)} == {1e-3}
    assert [(k, v.shape) for k, v in module.state_dict().items()] == [
        (k, v.shape) for k, v in build_net(space, subnet).state_dict().items()
    ]
    assert not [child for child in module.modules() if "Elastic" in type(child).__name__]
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_training_an_extracted_net_gives_the_supernets_gradients() -> None:
    """Without dropout and transforms, the gradient of a slice is the gradient of the plain net's weight."""
    space = replace(wide_space(kernel_transforms=False), head=replace(wide_space().head, dropout=0.0))
    net = scrambled(space, 3).double().train()
    subnet = space.largest()
    module = extract(net, subnet)
    images = torch.randn(4, 2, 16, 16, generator=seeded(0), dtype=torch.float64)
    net(images, subnet).square().sum().backward()
    module(images).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-9, atol=1e-9)


def test_subnets_of_another_space_are_refused() -> None:
    space = wide_space()
    net = Supernet(space)
    subnet = space.largest()
    extract(net, replace(subnet, resolution=999))  # resolution belongs to data and costs
    wide = Stage(20, subnet.stages[2].blocks)
    with pytest.raises(UserError, match=r"wide: stages\[2\]\.width is 20; allowed are \[24, 32\]"):
        extract(net, replace(subnet, stages=(*subnet.stages[:2], wide)))
    deep = Stage(32, (Block(3, 3.0),) * 5)
    with pytest.raises(UserError, match=r"wide: stages\[2\]\.depth is 5; allowed are \[2\]"):
        extract(net, replace(subnet, stages=(*subnet.stages[:2], deep)))
