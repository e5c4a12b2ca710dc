"""The fast way to measure a plain network computes what the plain way does, and is really taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ofa import Supernet, extract, recalibrate_batch_norm
from ofa.measure.evaluator import SubnetEvaluator
from ofa.measure.fast_inference import FusedConv, ProductConv, speed_up, statistics_behind, widens
from ofa.measure.recalibration import batch_statistics
from ofa.nets.plain import ConvNorm, Net
from ofa.runs.recipe import load_recipe
from ofa.runs.run_directory import RunDirectory
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet
from ofa.training.trainer import Trainer
from tests.space_toys import toy_space, wide_space
from tests.tiny import write_recipe


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net_of(space: SearchSpace) -> Net:
    """The largest net, with scattered batch norms, in eval mode and channels-last."""
    supernet = Supernet(space, seeded(0)).to(memory_format=torch.channels_last)
    for tensor in (*supernet.parameters(), *supernet.buffers()):
        if tensor.ndim == 1 and tensor.is_floating_point():
            tensor.data.uniform_(0.5, 1.5, generator=seeded(tensor.numel()))
    return extract(supernet.eval(), space.largest())


def images_for(space: SearchSpace, count: int = 6, size: int = 32, seed: int = 1) -> Tensor:
    images = torch.randn(count, space.in_channels, size, size, generator=seeded(seed))
    return images.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("space", [wide_space(), toy_space("deep")], ids=["mbconv", "bottleneck"])
def test_the_fast_network_is_the_plain_one_up_to_rounding(space: SearchSpace) -> None:
    """Of large maps (fused convolutions) and of small ones (products)."""
    plain, fast = net_of(space), net_of(space)
    speed_up(fast)
    kinds = {type(child) for child in fast.modules()}
    assert FusedConv in kinds
    assert nn.BatchNorm2d not in kinds
    assert (ProductConv in kinds) == (space.block == "mbconv")
    for size in (32, 16):
        with torch.inference_mode():
            images = images_for(space, size=size)
            expected = plain(images)
            torch.testing.assert_close(fast(images), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_a_net_of_other_precision_is_only_folded() -> None:
    space = wide_space()
    plain, fast = net_of(space).double(), net_of(space).double()
    speed_up(fast)
    assert not any(isinstance(child, FusedConv) for child in fast.modules())
    torch.testing.assert_close(fast(images_for(space).double()), plain(images_for(space).double()))


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_statistics_follow_from_the_input_of_a_1x1_convolution(memory_format: torch.memory_format) -> None:
    conv = nn.Conv2d(6, 24, 1, bias=False)
    nn.init.normal_(conv.weight, generator=seeded(0))
    x = torch.randn(5, 6, 8, 8, generator=seeded(1)) * 3 + 2
    with torch.no_grad():
        found = statistics_behind(conv, x.contiguous(memory_format=memory_format))
        y = conv(x)
        expected = y.mean((0, 2, 3)), y.var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(batch_statistics(y.contiguous(memory_format=memory_format)), expected)


def check_statistics_of_large_maps(memory_format: torch.memory_format, device: str) -> None:
    x = torch.randn(33, 8, 96, 96, generator=seeded(0)).to(device) + 3
    exact = x.double()
    mean, var = batch_statistics(x.contiguous(memory_format=memory_format))
    expected = exact.var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(var.double(), expected, rtol=5e-6, atol=0)
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), rtol=5e-6, atol=0)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_statistics_of_large_maps_are_exact(memory_format: torch.memory_format) -> None:
    """A float32 sum over all pixels in a row would be off by 1e-4."""
    check_statistics_of_large_maps(memory_format, "cpu")


def test_a_gpu_is_asked_for_statistics_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def statistics(x: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        asked.append(len(x))
        return x.new_empty(8), x.new_empty(8)

    monkeypatch.setattr(torch, "batch_norm_update_stats", statistics)
    batch_statistics(torch.empty(33, 8, 96, 96, device="meta"))
    assert asked == [33]


def test_recalibration_by_way_of_inputs_is_the_plain_one_up_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    space = wide_space()
    fast, plain = net_of(space), net_of(space)
    assert any(widens(child) for child in fast.modules())
    batches = [images_for(space, count=4 + i, seed=i) for i in range(3)]
    seen = []
    for child in fast.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.register_forward_hook(lambda *_: seen.append(1))
    recalibrate_batch_norm(fast, batches)
    monkeypatch.setattr("ofa.measure.recalibration.widens", lambda _: False)
    recalibrate_batch_norm(plain, batches)
    norms = sum(isinstance(child, nn.BatchNorm2d) for child in plain.modules())
    assert 0 < len(seen) < 3 * norms  # some norms were never reached
    for (name, value), (_, expected) in zip(fast.state_dict().items(), plain.state_dict().items(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5, msg=name)
    assert not any("forward" in vars(child) for child in fast.modules())


def test_the_way_by_inputs_is_left_after_an_exception() -> None:
    space = wide_space()
    net = net_of(space)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(RuntimeError):
        recalibrate_batch_norm(net, [images_for(space), torch.zeros(2, 7, 32, 32)])
    assert not any("forward" in vars(child) for child in net.modules() if isinstance(child, ConvNorm))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_evaluator_guesses_what_the_plain_network_guesses(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", *load_recipe(write_recipe(tmp_path)))
    evaluator: SubnetEvaluator = Trainer(run, quiet=True).evaluator

    def logits(subnet: Subnet, fast: bool) -> Tensor:
        module = evaluator.module(subnet)
        if fast:
            speed_up(module)
        return torch.cat([module(images) for images in evaluator._images("validation", subnet.resolution)])

    space = run.space
    for subnet in (space.largest(), space.smallest()):
        with torch.inference_mode():
            plain = logits(subnet, fast=False)
            torch.testing.assert_close(logits(subnet, fast=True), plain, rtol=1e-4, atol=1e-5)
        labels = torch.from_numpy(evaluator.data.labels("validation"))[:60]
        sure = plain.topk(2).values.diff().abs().squeeze() > 1e-3  # not a tie up to rounding
        assert sure.sum() > 40
        guessed = torch.from_numpy(evaluator.correct(subnet))
        assert torch.equal(guessed[sure], (plain.argmax(1) == labels)[sure])
