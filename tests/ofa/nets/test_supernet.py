"""The elastic layers and the supernet's forward and backward pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ofa import Supernet
from ofa.errors import UserError
from ofa.nets.elastic_layers import ElasticConv, ElasticNorm, ElasticSqueezeExcite
from ofa.nets.plain import build_net, initialise
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.subnet import Block, Stage
from tests.space_toys import deep_space, tiny_space, wide_space


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_smaller_kernel_is_the_centre_of_a_fresh_larger_one() -> None:
    conv = Supernet(wide_space(), seeded(0)).stages[1][0].depthwise.conv
    assert conv.kernels == (3, 5, 7)
    for kernel in (3, 5, 7):
        crop = conv.weight[:24, :, 3 - kernel // 2 : 4 + kernel // 2, 3 - kernel // 2 : 4 + kernel // 2]
        assert torch.equal(conv.weight_for(24, 24, kernel), crop), "transforms must start as identities"


def test_kernel_transforms_are_applied_in_a_chain() -> None:
    """By hand: the centre 5x5 of 7x7 through one matrix, its centre 3x3 through the other."""
    conv = ElasticConv(4, 4, (3, 5, 7), depthwise=True, transforms=True)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(parameter.numel())))
    names = dict(conv.named_parameters())
    assert set(names) == {"weight", "transform_7to5", "transform_5to3"}
    five = torch.stack([names["transform_7to5"] @ w[0, 1:6, 1:6].flatten() for w in conv.weight]).view(4, 1, 5, 5)
    three = torch.stack([names["transform_5to3"] @ w[0, 1:4, 1:4].flatten() for w in five]).view(4, 1, 3, 3)
    torch.testing.assert_close(conv.weight_for(4, 4, 5), five)
    torch.testing.assert_close(conv.weight_for(4, 4, 3), three)
    assert torch.equal(conv.weight_for(4, 4, 7), conv.weight)


def test_without_transforms_there_are_no_matrices() -> None:
    net = Supernet(wide_space(kernel_transforms=False))
    assert not [name for name in net.state_dict() if "transform" in name]
    assert [n for n in Supernet(wide_space()).state_dict() if "transform" in n]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_maps_smaller_than_the_kernel_train_as_they_evaluate(size: int, stride: int, kernel: int) -> None:
    """Training takes another route there, for speed: same output, same gradients."""
    conv = ElasticConv(6, 6, (3, 5, 7), stride, depthwise=True)
    initialise(conv, seeded(0))
    x = torch.randn(2, 6, size, size, generator=seeded(1))
    results = []
    for training in (True, False):
        conv.train(training).zero_grad()
        leaf = x.clone().requires_grad_()
        y = conv(leaf, 6, kernel)
        (y * torch.arange(y.numel()).view_as(y)).sum().backward()
        assert conv.weight.grad is not None
        results.append((y.detach(), conv.weight.grad.clone(), leaf.grad))
    for trained, evaluated in zip(*results, strict=True):
        torch.testing.assert_close(trained, evaluated, rtol=1e-5, atol=1e-4)


def test_training_updates_only_the_leading_statistics() -> None:
    norm = ElasticNorm(8)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.randn(16, 3, 4, 4, generator=seeded(0)) * 2 + 5
    y = norm(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(norm.running_mean[:3], 0.1 * x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var[:3], 0.9 + 0.1 * x.var((0, 2, 3)))
    for name in ("running_mean", "running_var"):
        assert torch.equal(norm.state_dict()[name][3:], before[name][3:])
    norm.eval()
    after = norm.running_mean.clone()
    norm(x)
    assert torch.equal(norm.running_mean, after)


def test_a_training_step_touches_statistics_of_used_layers_only() -> None:
    space = wide_space()
    net = Supernet(space, seeded(0)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(torch.randn(4, 2, 12, 12, generator=seeded(1)), space.smallest(), seeded(2))
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.endswith(("running_mean", "running_var")) for name in changed)
    assert not [name for name in changed if name.startswith("stages.1.1.")], "an absent block"
    assert "stages.1.0.expand.norm.running_var" in changed
    tail = net.get_submodule("stages.1.0.expand.norm").running_var[16:]  # expand 2 of 8 or 16 input channels
    assert torch.equal(tail[16:], torch.ones_like(tail[16:]))


@pytest.mark.parametrize("space", [wide_space(), deep_space(), tiny_space()], ids=lambda space: space.name)
def test_gradients_flow_only_into_the_slices_used(space: SearchSpace) -> None:
    """A subnet's gradient is non-zero exactly inside its leading channels, and its blocks."""
    net = Supernet(space, seeded(0)).train()
    subnet = space.smallest()
    images = torch.randn(8, space.in_channels, 16, 16, generator=seeded(1))
    net(images, subnet, seeded(2)).square().sum().backward()
    plain = dict(build_net(space, subnet).named_parameters())
    for name, parameter in net.named_parameters():
        if "transform_" in name:
            continue
        if name not in plain:
            assert parameter.grad is None or not parameter.grad.any(), f"{name} belongs to no layer of the subnet"
            continue
        assert parameter.grad is not None, name
        used = plain[name].shape
        inside = parameter.grad[tuple(slice(0, n) for n in used)]
        if (parameter.dim() == 4 and "depthwise" in name) or name.endswith("middle.conv.weight"):
            start = (parameter.shape[-1] - used[-1]) // 2
            inside = parameter.grad[: used[0], : used[1], start : start + used[2], start : start + used[3]]
        assert inside.any(), name
        assert inside.count_nonzero() == parameter.grad.count_nonzero(), f"{name}: a gradient outside the slice"


def test_kernel_transforms_learn_only_from_smaller_kernels() -> None:
    space = wide_space()
    images = torch.randn(4, 2, 16, 16, generator=seeded(1))
    for kernel, learning in {7: set(), 5: {"7to5"}, 3: {"7to5", "5to3"}}.items():
        net = Supernet(space, seeded(0)).train()
        stage = space.largest().stages[1]
        blocks = tuple(replace(block, kernel=kernel) for block in stage.blocks)
        stages = (space.largest().stages[0], replace(stage, blocks=blocks), space.largest().stages[2])
        net(images, replace(space.largest(), stages=stages), seeded(2)).sum().backward()
        conv = net.get_submodule("stages.1.0.depthwise.conv")
        learned = {n for n, p in conv.named_parameters() if "transform" in n and p.grad is not None and p.grad.any()}
        assert learned == {f"transform_{name}" for name in learning}


def test_dropout_draws_from_the_generator_given_and_from_nothing_else() -> None:
    space = wide_space(head=replace(wide_space().head, dropout=0.5))
    net = Supernet(space, seeded(0)).train()
    images = torch.randn(4, 2, 16, 16, generator=seeded(1))
    state = torch.get_rng_state()
    first, again, other = (net(images, space.largest(), seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    net.eval()
    assert torch.equal(net(images, space.largest(), seeded(3)), net(images, space.largest()))


def test_dropout_keeps_the_mean_and_drops_the_share_asked_for() -> None:
    space = tiny_space(head=replace(tiny_space().head, dropout=0.25))
    head = Supernet(space, seeded(0)).head.train()
    with torch.no_grad():
        head.classifier.weight.zero_()
        head.classifier.weight[0, 0] = 1
        head.classifier.bias.zero_()
    values = head(torch.ones(20_000, 24, 1, 1), seeded(1))[:, 0]
    assert values.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert values.mean().item() == pytest.approx(1, abs=0.02)


def test_fresh_weights_come_from_the_generator_given() -> None:
    space = wide_space()
    state = torch.get_rng_state()
    first, again, other = (Supernet(space, seeded(seed)).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert all(torch.isfinite(value).all() for value in first.values())


def test_squeeze_excite_by_hand() -> None:
    layer = ElasticSqueezeExcite(64)  # 16 hidden channels
    initialise(layer, seeded(1))
    torch.nn.init.normal_(layer.reduce.bias, generator=seeded(2))
    torch.nn.init.normal_(layer.expand.bias, generator=seeded(3))
    x = torch.randn(2, 32, 3, 3, generator=seeded(0))  # 32 channels need 8
    reduce, expand = layer.reduce, layer.expand
    hidden = F.relu(x.mean((2, 3)) @ reduce.weight[:8, :32, 0, 0].T + reduce.bias[:8])
    gate = F.relu6(hidden @ expand.weight[:32, :8, 0, 0].T + expand.bias[:32] + 3) / 6
    torch.testing.assert_close(layer(x), x * gate[:, :, None, None])


def test_what_the_supernet_refuses() -> None:
    space = wide_space()
    net = Supernet(space).eval()
    subnet = space.largest()
    images = torch.zeros(1, 2, 16, 16)
    with pytest.raises(UserError, match="wide: images have 3 channels; expected 2"):
        net(torch.zeros(1, 3, 16, 16), subnet)
    with pytest.raises(UserError, match="wide: images have 1 channels; expected 2"):
        net(torch.zeros(1, 1, 16, 16), subnet)
    deeper = Stage(32, (Block(3, 3.0),) * 3)
    with pytest.raises(UserError, match=r"wide: stages\[2\]\.depth is 3; allowed are \[2\]"):
        net(images, replace(subnet, stages=(*subnet.stages[:2], deeper)))
    foreign = Stage(32, (Block(3, 4.0),) * 2)
    with pytest.raises(UserError, match=r"wide: stages\[2\]\.blocks\[0\]\.expand is 4\.0; allowed are \[3\.0, 6\.0\]"):
        net(images, replace(subnet, stages=(*subnet.stages[:2], foreign)))
    with pytest.raises(UserError, match="wide: the subnet has 2 stages; the space has 3"):
        net(images, replace(subnet, stages=subnet.stages[:2]))


def test_any_size_of_image_and_any_resolution_of_subnet() -> None:
    space = load_space("fmnist")
    net = Supernet(space, seeded(0)).eval()
    subnet = space.smallest()
    images = torch.randn(2, 1, 37, 23, generator=seeded(1))
    with torch.inference_mode():
        logits: Tensor = net(images, subnet)
        assert logits.shape == (2, 10)
        assert torch.equal(logits, net(images, replace(subnet, resolution=999))), "resolution belongs to data and costs"


def test_a_subnet_is_an_argument_and_leaves_no_trace() -> None:
    space = wide_space()
    net = Supernet(space, seeded(0)).eval()
    images = torch.randn(2, 2, 16, 16, generator=seeded(1))
    subnets = space.decode(space.sample(20, np.random.default_rng(0)))
    with torch.inference_mode():
        alone = [net(images, subnet) for subnet in subnets]
        backwards = [net(images, subnet) for subnet in reversed(subnets)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(alone, backwards, strict=True))
    assert len({tuple(logits.flatten().tolist()) for logits in alone}) == len(set(subnets)) > 15
