"""Op shapes: they follow from the space, and are what the plain modules really do."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.nets.plain import build_block, build_net, empty_net
from ofa.space import shapes
from ofa.space.ops import conv, se_channels
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.shapes import OpShape, hidden_channels, walk, walk_blocks
from ofa.space.subnet import Block, Stage, Stem, Subnet
from tests.space_toys import SHIPPED, deep_space, tiny_space, toy_space, wide_space

TOYS = ("tiny", "wide", "deep")


def random_subnets(space: SearchSpace, n: int, seed: int = 0) -> list[Subnet]:
    return space.decode(space.sample(n, np.random.default_rng(seed)))


def layers_run(space: SearchSpace, subnet: Subnet, resolution: int) -> list[OpShape]:
    """The convolutions and linear layers of the plain net as its hooks see them, without activations."""
    net = build_net(space, subnet).eval()
    seen: list[OpShape] = []
    normed = {name.removesuffix(".norm") for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, norm: bool) -> None:
        channels, bias = (inputs[0].shape[1], output.shape[1]), layer.bias is not None
        if isinstance(layer, nn.Conv2d):
            sizes = inputs[0].shape[-1], output.shape[-1], layer.kernel_size[0], layer.stride[0], layer.groups
            seen.append(OpShape("conv", *channels, *sizes, norm, bias))
        else:
            seen.append(OpShape("linear", *channels, 1, 1, norm=norm, bias=bias))

    for name, module in net.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(partial(record, norm=name.removesuffix(".conv") in normed))
    with torch.inference_mode():
        net(torch.zeros(1, space.in_channels, resolution, resolution))
    return seen


@pytest.mark.parametrize("name", [*TOYS, "fmnist", "mbv3-w1.0", "resnet50"])
def test_walk_lists_what_the_plain_net_runs(name: str) -> None:
    """Every convolution's channels, sizes, kernel, stride, groups, norm and bias, as seen by hooks."""
    space = toy_space(name)
    for subnet in [space.smallest(), *random_subnets(space, 3)]:
        resolution = subnet.resolution if name in TOYS or name == "fmnist" else 33
        ran = layers_run(space, subnet, resolution)
        ops = [op for op in walk(space, replace(subnet, resolution=resolution)) if op.kind in shapes.CONVOLUTIONS]
        listed = [replace(op, activation="none") for op in ops]
        assert sorted(ran, key=repr) == sorted(listed, key=repr)


@pytest.mark.parametrize("name", [*TOYS, *SHIPPED])
def test_params_are_those_of_the_plain_net(name: str) -> None:
    space = toy_space(name)
    for subnet in [space.smallest(), *random_subnets(space, 2, seed=1)]:
        net = empty_net(space, subnet)
        assert shapes.params(walk(space, subnet)) == sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("name", [*TOYS, "fmnist"])
def test_blocks_fit_together_and_build_modules_of_their_shapes(name: str) -> None:
    space = toy_space(name)
    for subnet in [space.largest(), *random_subnets(space, 3)]:
        blocks = list(walk_blocks(space, subnet))
        assert [op for block in blocks for op in block.ops] == list(walk(space, subnet))
        assert [block.kind for block in blocks] == ["stem"] + [space.block] * (len(blocks) - 2) + ["head"]
        assert len(blocks) == 2 + sum(len(stage.blocks) for stage in subnet.stages)
        x = torch.zeros(2, space.in_channels, subnet.resolution, subnet.resolution)
        for block in blocks:
            first, last = block.main[0], block.main[-1]
            assert x.shape == (2, first.in_channels, first.in_size, first.in_size)
            x = build_block(block).eval()(x)
            if block.kind != "head":
                assert x.shape == (2, last.out_channels, last.out_size, last.out_size)
        assert x.shape == (2, space.classes)


def test_a_squeeze_excite_block_op_by_op() -> None:
    """By hand: 16 channels, expand 6, kernel 5, stride 2, 13 pixels: 7 after it."""
    space = wide_space()
    block = shapes.stage_block_shape(space, 1, 0, Block(5, 6.0), Stage(24, ()), 16, 13)
    assert [(op.kind, op.in_channels, op.out_channels, op.in_size, op.out_size, op.kernel) for op in block.main] == [
        ("conv", 16, 96, 13, 13, 1),
        ("conv", 96, 96, 13, 7, 5),
        ("global_pool", 96, 96, 7, 1, 1),
        ("conv", 96, 24, 1, 1, 1),
        ("conv", 24, 96, 1, 1, 1),
        ("scale", 96, 96, 7, 7, 1),
        ("conv", 96, 24, 7, 7, 1),
    ]
    assert not block.residual
    macs = 16 * 96 * 169 + 25 * 96 * 49 + 96 * 24 * 2 + 96 * 24 * 49
    params = 16 * 96 + 25 * 96 + (96 * 24 + 24) + (24 * 96 + 96) + 96 * 24 + 2 * (96 + 96 + 24)
    assert (shapes.macs(block.ops), shapes.params(block.ops)) == (macs, params)
    second = shapes.stage_block_shape(space, 1, 1, Block(3, 2.0), Stage(24, ()), 24, 7)
    assert second.residual
    assert second.main[-1] == OpShape("add", 24, 24, 7, 7)


def test_a_bottleneck_op_by_op() -> None:
    space = deep_space()
    block = shapes.stage_block_shape(space, 1, 0, Block(3, 0.5), Stage(48, ()), 32, 7)
    assert [(op.kind, op.in_channels, op.out_channels, op.in_size, op.out_size, op.stride) for op in block.shortcut] == [
        ("avg_pool", 32, 32, 7, 4, 2),
        ("conv", 32, 48, 4, 4, 1),
    ]
    assert [(op.kind, op.in_channels, op.out_channels, op.out_size, op.activation) for op in block.main] == [
        ("conv", 32, 24, 7, "relu"),
        ("conv", 24, 24, 4, "relu"),
        ("conv", 24, 48, 4, "none"),
        ("add", 48, 48, 4, "relu"),
    ]
    assert block.residual
    assert not shapes.stage_block_shape(space, 1, 1, Block(3, 0.5), Stage(48, ()), 48, 4).shortcut


def test_the_deep_stem() -> None:
    space = deep_space()
    three = shapes.stem_shape(space, Stem(24, 3, 8), 31)
    kinds = [(op.kind, op.in_channels, op.out_channels, op.out_size) for op in three.main]
    assert kinds == [("conv", 3, 8, 16), ("conv", 8, 8, 16), ("add", 8, 8, 16), ("conv", 8, 24, 16), ("max_pool", 24, 24, 8)]
    two = shapes.stem_shape(space, Stem(24, 2, 8), 31)
    assert [op.kind for op in two.main] == ["conv", "conv", "max_pool"]


def test_sizes_round_up_as_padding_does() -> None:
    """Against torch, for every small size: convolutions, the stem's max pool and the shortcut's average pool."""
    for size in range(1, 20):
        x = torch.zeros(1, 1, size, size)
        for kernel in (1, 3, 5, 7):
            for stride in (1, 2):
                expected = F.conv2d(x, torch.zeros(1, 1, kernel, kernel), stride=stride, padding=kernel // 2).shape[-1]
                assert conv(1, 1, kernel, size, stride, "none").out_size == expected
        assert -(-size // 2) == F.max_pool2d(x, 3, 2, 1).shape[-1] == F.avg_pool2d(x, 2, 2, ceil_mode=True).shape[-1]


def test_residuals_are_a_property_of_the_space() -> None:
    space = wide_space()
    assert [shapes.is_residual(space, 0, 0), shapes.is_residual(space, 0, 1)] == [False, True]  # the stem has two widths
    assert shapes.in_widths(space, 0, 0) == (8, 16)
    assert shapes.in_widths(space, 1, 0) == (16,)
    assert shapes.in_widths(space, 1, 1) == (16, 24)
    same = tiny_space(stem=replace(space.stem, widths=(8,)))
    assert shapes.is_residual(same, 0, 0)
    assert not shapes.is_residual(same, 1, 0)


@pytest.mark.parametrize("name", SHIPPED)
def test_larger_choices_cost_more(name: str) -> None:
    space = load_space(name)
    small, large = (list(walk(space, subnet)) for subnet in (space.smallest(), space.largest()))
    assert shapes.macs(small) < shapes.macs(large)
    assert shapes.params(small) < shapes.params(large)
    subnet = space.largest()
    for s, stage in enumerate(subnet.stages):
        if len(stage.blocks) > space.stages[s].depths[0]:
            shallower = Stage(stage.width, stage.blocks[:-1])
            stages = (*subnet.stages[:s], shallower, *subnet.stages[s + 1 :])
            assert shapes.macs(walk(space, replace(subnet, stages=stages))) < shapes.macs(large)


def test_channel_rules() -> None:
    mbconv, bottleneck = load_space("mbv3-w1.0"), load_space("resnet50")
    assert hidden_channels(mbconv, 3.0, 40, 80) == 120
    assert hidden_channels(bottleneck, 0.35, 64, 256) == 88  # of the output's channels: 89.6
    assert [se_channels(hidden) for hidden in (72, 120, 240)] == [24, 32, 64]
