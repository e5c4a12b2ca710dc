"""Recalibration: what it computes, what it leaves alone, what happens when it fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from ofa import Supernet, extract, recalibrate_batch_norm
from ofa.errors import UserError
from tests.space_toys import wide_space


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny_net() -> nn.Sequential:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    with torch.no_grad():
        for i, value in enumerate(net.state_dict().values()):
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=seeded(i)) + 0.5)
    return net


def batches(*sizes: int) -> list[Tensor]:
    return [torch.randn(n, 2, 6, 6, generator=seeded(i)) * (i + 1) + i for i, n in enumerate(sizes)]


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(module: nn.Module, before: dict[str, Tensor]) -> None:
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def modes(module: nn.Module) -> list[bool]:
    return [child.training for child in module.modules()]


@pytest.mark.parametrize("sizes", [(5,), (4, 4, 4), (6, 2, 3)])
def test_statistics_are_averages_of_batch_mean_and_biased_variance(sizes: tuple[int, ...]) -> None:
    """By hand, layer after layer; batches count by their images. The second layer sees what batch statistics normalise."""
    net, data = tiny_net(), batches(*sizes)
    recalibrate_batch_norm(net, data)
    first, norm, _, second, last = net
    expected: dict[nn.Module, list[Tensor]] = {norm: [], last: []}
    with torch.no_grad():
        for x in data:
            hidden = first(x)
            mean, var = hidden.mean((0, 2, 3)), hidden.var((0, 2, 3), unbiased=False)
            expected[norm].append(torch.stack([mean, var]))
            scaled = (hidden - mean[:, None, None]) / (var[:, None, None] + norm.eps).sqrt()
            out = second((scaled * norm.weight[:, None, None] + norm.bias[:, None, None]).relu())
            expected[last].append(torch.stack([out.mean((0, 2, 3)), out.var((0, 2, 3), unbiased=False)]))
    weights = torch.tensor(sizes) / sum(sizes)
    for layer, values in expected.items():
        mean, var = (torch.stack(values) * weights[:, None, None]).sum(0)
        torch.testing.assert_close(layer.running_mean, mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(layer.running_var, var, rtol=1e-5, atol=1e-6)


def test_previous_statistics_and_the_order_of_batches_do_not_matter() -> None:
    plain, other = tiny_net(), tiny_net()
    other[1].running_mean.fill_(100.0)
    other[4].running_var.fill_(1e-3)
    recalibrate_batch_norm(plain, batches(4, 4))
    recalibrate_batch_norm(other, batches(4, 4))
    assert_same(other, snapshot(plain))
    recalibrate_batch_norm(other, batches(4, 4)[::-1])
    for name, value in other.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_only_statistics_change_and_modes_come_back(training: bool) -> None:
    space = wide_space()
    net = Supernet(space, seeded(0)).train(training)
    module = extract(net, space.largest())
    module.stages[0].train(not training)  # a mixture, to be restored as it is
    before, before_net, before_modes = snapshot(module), snapshot(net), modes(module)
    data = [torch.randn(4, 2, 16, 16, generator=seeded(i)) for i in range(2)]
    kept = [batch.clone() for batch in data]
    recalibrate_batch_norm(module, iter(data))
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.endswith(("running_mean", "running_var"))}
    assert modes(module) == before_modes
    assert_same(net, before_net)
    assert all(torch.equal(a, b) for a, b in zip(data, kept, strict=True))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
    assert not any(child._forward_pre_hooks for child in module.modules())


def test_it_makes_evaluation_normalise_the_batch_it_saw() -> None:
    net, x = tiny_net(), batches(64)[0]
    recalibrate_batch_norm(net, [x])
    with torch.no_grad():
        net[4].weight.fill_(1)
        net[4].bias.fill_(0)
        y = net.eval()(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var((0, 2, 3), unbiased=False), torch.ones(2), atol=1e-3, rtol=0)


class BrokenError(RuntimeError):
    """Raised inside."""


def broken_iterator() -> Iterator[Tensor]:
    yield batches(4)[0]
    raise BrokenError


def interrupted() -> Iterator[Tensor]:
    yield batches(4)[0]
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (lambda: [batches(4)[0], torch.zeros(2, 5, 6, 6), batches(4)[0]], RuntimeError),  # a batch of other channels
        (broken_iterator, BrokenError),
        (interrupted, KeyboardInterrupt),
        (lambda: [], UserError),
    ],
    ids=["middle batch", "iterator", "interrupt", "no batches"],
)
@pytest.mark.parametrize("training", [True, False])
def test_after_an_exception_everything_is_as_it_was(data, error: type[BaseException], training: bool) -> None:
    net = tiny_net().train(training)
    net[1].train(not training)
    before, before_modes = snapshot(net), modes(net)
    with pytest.raises(error):
        recalibrate_batch_norm(net, data())
    assert_same(net, before)
    assert modes(net) == before_modes
    assert not any(child._forward_pre_hooks for child in net.modules())
    other = tiny_net()
    recalibrate_batch_norm(net, batches(4))  # and no other network, nor the next call, is touched
    recalibrate_batch_norm(other, batches(4))
    assert_same(net, snapshot(other))


def test_no_images_is_an_error_that_says_so() -> None:
    with pytest.raises(UserError, match="batch-norm recalibration got no images; give at least one batch"):
        recalibrate_batch_norm(tiny_net(), [])
