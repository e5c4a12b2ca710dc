"""Channel sorting: most important first, and every function already opened stays."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ofa import Subnet, Supernet
from ofa.errors import UserError
from ofa.space.ops import se_channels
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.shapes import hidden_channels
from ofa.space.subspace import largest_only
from tests.space_toys import deep_space, tiny_space, toy_space, wide_space


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scrambled(space: SearchSpace, seed: int) -> Supernet:
    """float64, in eval mode, with channels of very different importance, norm entries and statistics."""
    net = Supernet(space, seeded(seed)).eval()
    generator = seeded(seed + 1)
    for name, value in net.state_dict().items():
        if name.endswith(("running_var", "norm.weight")):
            value.uniform_(0.7, 1.3, generator=generator)
        elif value.dim() == 1:
            value.add_(torch.randn(value.shape, generator=generator), alpha=0.1)
        elif value.dim() == 4:
            value.mul_(torch.rand((1, value.shape[1], 1, 1), generator=generator) + 0.5)
    return net.double()


def difference(space: SearchSpace, before: Supernet, after: Supernet, subnets: Sequence[Subnet]) -> list[float]:
    """Per subnet: the largest change of a logit over the largest logit."""
    images = torch.randn(2, space.in_channels, 32, 32, generator=seeded(9), dtype=torch.float64)
    with torch.inference_mode():
        logits = [(before(images, subnet), after(images, subnet)) for subnet in subnets]
    return [((b - a).abs().max() / b.abs().max()).item() for b, a in logits]


def sample(space: SearchSpace, n: int, seed: int = 0) -> list[Subnet]:
    return [space.largest(), space.smallest(), *space.decode(space.sample(n, np.random.default_rng(seed)))]


@pytest.mark.parametrize("opened", [(6.0,), (6.0, 4.0), (6.0, 4.0, 3.0)], ids=str)
@pytest.mark.parametrize(("name", "seed"), [("small-rgb-64", 0), ("small-rgb-64", 1), ("mbv3-w1.0", 2)])
def test_every_width_opened_is_preserved_with_squeeze_excite(name: str, opened: tuple[float, ...], seed: int) -> None:
    """On values of our own: where the published package changes nets with SE, from the second width on, ours does not."""
    space = load_space(name)
    net = scrambled(space, seed)
    before = copy.deepcopy(net)
    net.sort_channels(opened)
    part = space.restrict(expands=opened)
    assert max(difference(space, before, net, sample(part, 3, seed))) < 1e-9
    if len(opened) < 3:
        assert difference(space, before, net, [space.smallest()])[0] > 1e-6, "what is not open may change, and should"


@pytest.mark.parametrize("opened", [(0.35,), (0.35, 0.25)], ids=str)
def test_resnets_widths_opened_are_preserved(opened: tuple[float, ...]) -> None:
    space = load_space("resnet50")
    net = scrambled(space, 2)
    before = copy.deepcopy(net)
    net.sort_channels(opened)
    full = space.restrict(expands=opened, widths=1)  # a list speaks of expand ratios: stage widths are at their largest
    assert max(difference(space, before, net, sample(full, 2))) < 1e-9


@pytest.mark.parametrize("widths", [1, 2])
@pytest.mark.parametrize("make", [deep_space, wide_space], ids=["deep", "wide"])
def test_a_part_of_the_space_is_preserved_stage_widths_included(make, widths: int) -> None:
    space: SearchSpace = make()
    expands = space.stages[-1].expands[-1:] + space.stages[0].expands[-1:]
    net = scrambled(space, 3)
    before = copy.deepcopy(net)
    part = space.restrict(widths=widths, expands=expands)
    net.sort_channels(part)
    assert max(difference(space, before, net, sample(part, 12))) < 1e-9
    assert max(difference(space, before, net, sample(space, 12))) > 1e-6


def test_resnet_with_widths_opened_is_preserved() -> None:
    space = load_space("resnet50")
    part = space.restrict(expands=[0.25], widths=2)
    net = scrambled(space, 4)
    before = copy.deepcopy(net)
    net.sort_channels(part)
    assert max(difference(space, before, net, sample(part, 3))) < 1e-9


def test_the_whole_space_opened_leaves_every_subnet_as_it_is() -> None:
    for space in (wide_space(), deep_space(), tiny_space()):
        net = scrambled(space, 5)
        before = copy.deepcopy(net)
        net.sort_channels(space)
        assert max(difference(space, before, net, sample(space, 20))) < 1e-9


def importance(net: Supernet, name: str) -> Tensor:
    """L1 norm of the weights that read each channel."""
    return net.get_submodule(name).conv.weight.detach().abs().sum((0, 2, 3))


def test_channels_fall_in_importance_inside_each_group() -> None:
    space = wide_space()
    net = scrambled(space, 6)
    net.sort_channels([6.0])
    values = importance(net, "stages.2.1.project")
    assert (values.diff() <= 0).all(), "with only the largest opened there is one group"

    net = scrambled(space, 6)
    bound = hidden_channels(space, 3.0, 32, 32)
    unsorted = importance(net, "stages.2.1.project")
    net.sort_channels([6.0, 3.0])
    values = importance(net, "stages.2.1.project")
    assert torch.equal(values[:bound], unsorted[:bound].sort(descending=True).values)
    torch.testing.assert_close(values[bound:].sort().values, unsorted[bound:].sort().values, rtol=0, atol=0)
    assert (values[bound:].diff() <= 1 / 64).all(), "the published offset rounds to 1/64 behind the first group"
    assert values[bound:].max() > values[:bound].min(), "a channel that could have crossed the border"


def test_squeeze_excites_hidden_channels_are_sorted_inside_width_groups() -> None:
    """By the norm of the weights that read them: of the layer that expands."""
    space = wide_space()
    net = scrambled(space, 7)
    reads = net.get_submodule("stages.2.1.se").expand
    unsorted = reads.weight.abs().sum((0, 2, 3))
    bound = se_channels(hidden_channels(space, 3.0, 32, 32))
    assert bound < len(unsorted)
    net.sort_channels([6.0, 3.0])
    values = reads.weight.abs().sum((0, 2, 3))
    torch.testing.assert_close(values[:bound], unsorted[:bound].sort(descending=True).values)
    assert (values[bound:].diff() <= 1 / 64).all()


def test_narrow_subnets_keep_the_important_channels() -> None:
    """The point of sorting: half the channels of a block read as much as possible of what the whole does."""
    space = wide_space()
    net = scrambled(space, 8)
    unsorted = importance(net, "stages.1.0.project")
    net.sort_channels([6.0])
    values = importance(net, "stages.1.0.project")
    half = len(values) // 2
    assert values[:half].sum().item() == pytest.approx(unsorted.topk(half).values.sum().item())
    assert values[:half].sum() > unsorted[:half].sum()


def test_bottlenecks_sort_both_inner_widths() -> None:
    space = deep_space()
    net = scrambled(space, 9)
    net.sort_channels(largest_only(space))
    assert (importance(net, "stages.1.1.project").diff() <= 0).all()
    assert (importance(net, "stages.1.1.middle").diff() <= 1e-12).all()


def test_sorting_twice_changes_nothing_more() -> None:
    net = scrambled(wide_space(), 10)
    net.sort_channels([6.0])
    once = {name: value.clone() for name, value in net.state_dict().items()}
    net.sort_channels([6.0])
    assert all(torch.equal(value, once[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("name", ["fmnist", "tiny"])
def test_stages_without_the_ratio_opened_keep_their_largest(name: str) -> None:
    space = toy_space(name)
    opened = [max(expand for stage in space.stages for expand in stage.expands)]
    net = scrambled(space, 11)
    before = copy.deepcopy(net)
    net.sort_channels(opened)
    assert difference(space, before, net, [space.largest()])[0] < 1e-9


def test_what_cannot_be_sorted_by() -> None:
    space = wide_space()
    net = Supernet(space)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(UserError, match=r"wide: expand ratio 5 is in no stage; known are \[1\.0, 2\.0, 3\.0, 6\.0\]"):
        net.sort_channels([6, 5])
    with pytest.raises(UserError, match="deep is not a subspace of wide; give a restriction of the supernet's space"):
        net.sort_channels(deep_space())
    longer = replace(space, stages=(*space.stages, space.stages[-1]))
    with pytest.raises(UserError, match="wide is not a subspace of wide"):
        net.sort_channels(longer)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
