"""Gradients are the mean over ranks, to the bit; on GPUs they are exchanged while the last backward pass computes."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ofa.distributed import reduction
from ofa.distributed.world import World
from ofa.nets.supernet import Supernet
from ofa.runs.recipe import Recipe, load_recipe, opened_spaces
from ofa.space.search_space import SearchSpace
from ofa.training.step import GradientStep
from ofa.training.synchronised_norm import synchronise_norms
from tests.tiny import write_recipe

RANKS = 2
VARIANTS: dict[str, dict[str, Any]] = {
    "several subnets": {},
    "one subnet": {"phase": 1},
    "recomputed blocks": {"activation_checkpointing": True},
    "bf16": {"precision": "bf16"},
    "norms of the whole batch": {"synchronise_norms": True},
    "noisy weights": {"weight_noise": 0.05, "drop_connect": 0.2},
}


class Apart(World):
    """Ranks that keep their own gradients."""

    @contextmanager
    def averaging(self, net: nn.Module, loss: Tensor, total: Tensor) -> Iterator[None]:
        yield


class During(World):
    """Ranks that exchange gradients as GPUs do."""

    @contextmanager
    def averaging(self, net: nn.Module, loss: Tensor, total: Tensor) -> Iterator[None]:
        with reduction.averaged_during(net, loss, total, self.size, nullcontext):
            yield


def gradients(world: World, recipe: Recipe, space: SearchSpace, phase: int) -> tuple[dict[str, Tensor], Tensor]:
    """The gradients of one step, and its loss."""
    net = Supernet(space, torch.Generator().manual_seed(0)).train()
    if recipe.synchronise_norms:
        synchronise_norms(net, world)
    step = GradientStep.of_phase(net, recipe, phase, opened_spaces(recipe, space)[phase], world=world)
    draw = torch.Generator().manual_seed(world.rank)
    images, labels = torch.randn(10, 1, 12, 12, generator=draw), torch.randint(3, (10,), generator=draw)
    loss = step(3, images, labels)
    return {name: value.grad for name, value in net.named_parameters() if value.grad is not None}, loss


def compare(rank: int, folder: Path) -> None:
    """A rank: every variant's averaged gradients against the mean of the ranks' own."""
    torch.set_num_threads(1)
    reduction.BUCKET_BYTES = 2000
    recipe, space = load_recipe(folder / "tiny.yaml")
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=RANKS)
    world = World(rank, RANKS, rank, dist.new_group(backend="gloo"))
    apart, during = (kind(**{item.name: getattr(world, item.name) for item in fields(world)}) for kind in (Apart, During))
    for name, change in VARIANTS.items():
        phase = change.get("phase", 3)
        own = replace(recipe, **{key: value for key, value in change.items() if key != "phase"})
        everyones = world.gather(gradients(apart, own, space, phase))
        for ranks in (world, during):
            averaged, loss = gradients(ranks, own, space, phase)
            assert all(found.keys() == averaged.keys() for found, _ in everyones), name
            for key, value in averaged.items():
                assert torch.equal(value, sum(found[key] for found, _ in everyones) / RANKS), (name, key)
            assert torch.allclose(loss, sum(found for _, found in everyones) / RANKS), name
    dist.destroy_process_group()


def test_gradients_are_the_mean_over_ranks(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    ranks = [multiprocessing.get_context("fork").Process(target=compare, args=(rank, tmp_path)) for rank in range(RANKS)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .*is multi-threaded, use of fork", DeprecationWarning)
        for process in ranks:
            process.start()
    for process in ranks:
        process.join(300)
    assert [process.exitcode for process in ranks] == [0] * RANKS


@pytest.fixture
def lonely_group(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("lonely_group")
def test_exchanges_begin_as_soon_as_gradients_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6)))
    begun: list[tuple[int, int]] = []  # of each exchange: its tensors, and how many gradients there were

    class Watched(reduction.Exchange):
        def __init__(self, tensors: list[Tensor]) -> None:
            super().__init__(tensors)
            begun.append((len(tensors), sum(value.grad is not None for value in layers.parameters())))

    monkeypatch.setattr(reduction, "Exchange", Watched)
    monkeypatch.setattr(reduction, "BUCKET_BYTES", 4 * (16 + 4))  # a layer
    layers[5](torch.ones(1, 4)).sum().backward()
    loss = layers[:5](torch.ones(1, 4)).sum()
    with reduction.averaged_during(layers, loss, torch.zeros(()), 1, nullcontext):
        loss.backward()
    assert begun[0] == (3, 2)  # the last layer and the loss, before the backward pass
    assert begun[1:] == [(2, 2 + 2 * number) for number in range(1, 6)]  # then layer after layer


@pytest.mark.usefixtures("lonely_group")
def test_a_failed_backward_pass_leaves_no_hooks() -> None:
    layer = nn.Linear(2, 2)
    loss = layer(torch.ones(1, 2)).sum()
    with pytest.raises(KeyError), reduction.averaged_during(layer, loss, torch.zeros(()), 1, nullcontext):
        raise KeyError
    loss.backward()  # begins no exchange
    assert layer.weight.grad is not None
    assert not layer.weight._post_accumulate_grad_hooks
