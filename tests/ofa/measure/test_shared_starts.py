"""What subnets have in common at their start is computed once, changes no answer, and is never out of date."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ofa.measure.shared_starts
from ofa import Supernet, extract, recalibrate_batch_norm
from ofa.measure.evaluator import SubnetEvaluator
from ofa.measure.memory import USUAL, Caches
from ofa.measure.shared_starts import ImagesSeen, SharedStarts, pieces
from ofa.runs.recipe import load_recipe
from ofa.runs.run_directory import RunDirectory
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet
from ofa.training.trainer import Trainer
from tests.space_toys import toy_space
from tests.tiny import write_recipe

PLENTY = 2**24


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[nn.Module]]:
    """What has been recalibrated."""
    plain, seen = ofa.measure.shared_starts._prepare, []
    record = lambda piece, images: [seen.append(piece), plain(piece, images)][1]  # noqa: E731
    monkeypatch.setattr("ofa.measure.shared_starts._prepare", record)
    return seen  # type: ignore[return-value]


def batches(space: SearchSpace, *sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(sizes))
    images = [torch.randn(size, space.in_channels, 24, 24, generator=generator) for size in sizes]
    return [batch.contiguous(memory_format=torch.channels_last) for batch in images]


def supernet_of(space: SearchSpace) -> Supernet:
    return Supernet(space, torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last).eval()


def guess(starts: SharedStarts, supernet: Supernet, subnet: Subnet, source: str = "a") -> Tensor:
    space = supernet.space
    seen = ImagesSeen(batches(space, 9, 7), batches(space, 8, 5))
    with torch.inference_mode():
        return starts.predictions(
            extract(supernet, subnet), seen, source, starts.ends(space, replace(subnet, resolution=24), 29)
        )


def subnets_of(space: SearchSpace, count: int) -> list[Subnet]:
    return space.decode(space.sample(count, np.random.default_rng(0)))


@pytest.mark.parametrize("name", ["tiny", "wide", "deep"])
def test_the_guesses_are_those_of_the_plain_network(name: str) -> None:
    space = toy_space(name)
    supernet, starts = supernet_of(space), SharedStarts(PLENTY)
    for subnet in subnets_of(space, 6):
        plain = extract(supernet, subnet)
        recalibrate_batch_norm(plain, batches(space, 9, 7))
        with torch.inference_mode():
            logits = torch.cat([plain.eval()(images) for images in batches(space, 8, 5)])
        sure = logits.topk(2).values.diff().abs().squeeze() > 1e-3 * logits.std()
        assert sure.sum() > 8
        assert torch.equal(guess(starts, supernet, subnet)[sure], logits.argmax(1)[sure])
    assert 0 < starts.bytes_kept() <= PLENTY


def test_a_start_is_computed_once(prepared: list[nn.Module]) -> None:
    supernet, starts = supernet_of(toy_space("wide")), SharedStarts(PLENTY)
    largest, smallest = supernet.space.largest(), supernet.space.smallest()
    first = guess(starts, supernet, largest)
    assert len(prepared) > 2
    kept = starts.bytes_kept()
    prepared.clear()
    assert torch.equal(guess(starts, supernet, largest), first)
    assert len(prepared) == 1  # what comes behind
    assert starts.bytes_kept() == kept
    prepared.clear()
    other = replace(largest, stages=(*largest.stages[:-1], smallest.stages[-1]))
    assert torch.equal(guess(starts, supernet, other), guess(SharedStarts(PLENTY), supernet, other))
    assert len(prepared[0]) < len(pieces(extract(supernet, other)))  # type: ignore[arg-type]


def test_other_weights_or_other_images_share_nothing(prepared: list[nn.Module]) -> None:
    supernet, starts = supernet_of(toy_space("wide")), SharedStarts(PLENTY)
    largest = supernet.space.largest()
    before = guess(starts, supernet, largest)
    whole = len(prepared)
    guess(starts, supernet, largest, source="b")
    assert len(prepared) == 2 * whole
    supernet.stem.first.conv.weight.data.neg_()  # as an optimiser may, without a trace in the tensor's version
    after = guess(starts, supernet, largest)
    assert len(prepared) == 3 * whole
    assert torch.equal(after, guess(SharedStarts(PLENTY), supernet, largest))
    assert not torch.equal(after, before)


def test_memory_is_bounded(prepared: list[nn.Module]) -> None:
    supernet = supernet_of(toy_space("wide"))
    subnets = subnets_of(supernet.space, 12)
    right = [guess(SharedStarts(PLENTY), supernet, subnet) for subnet in subnets]
    limit = 1_100_000  # a little more than four times what the widest stem makes
    starts = SharedStarts(limit)
    for subnet, expected in zip(subnets, right, strict=True):
        assert torch.equal(guess(starts, supernet, subnet), expected)
        assert 0 < starts.bytes_kept() <= limit
    prepared.clear()
    nothing = SharedStarts(1000)
    assert torch.equal(guess(nothing, supernet, subnets[0]), right[0])
    assert nothing.bytes_kept() == 0
    assert len(prepared) == 1  # the whole net at once


def test_an_evaluator_shares_between_calls_and_lets_go_after_a_list(tmp_path: Path, prepared: list[nn.Module]) -> None:
    run = RunDirectory.create(tmp_path / "run", *load_recipe(write_recipe(tmp_path)))
    evaluator: SubnetEvaluator = Trainer(run, quiet=True).evaluator
    evaluator.caches = USUAL  # a training's own share nothing
    evaluator.top1([])
    subnets = run.space.decode(np.unique(run.space.sample(8, np.random.default_rng(0)), axis=0))
    alone = []
    for subnet in subnets:
        evaluator._starts.clear()
        alone.append(evaluator.correct(subnet))
    apart = len(prepared)
    prepared.clear()
    assert all((evaluator.correct(subnet) == value).all() for subnet, value in zip(subnets, alone, strict=True))
    assert len(prepared) < apart
    assert evaluator._starts.bytes_kept() > 0
    assert evaluator.top1(subnets).tolist() == [value.mean() for value in alone]
    assert evaluator._starts.bytes_kept() == 0


def test_prepared_images_take_so_much_memory_and_no_more(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", *load_recipe(write_recipe(tmp_path)))
    subnets = [replace(run.space.smallest(), resolution=side) for side in (12, 8, 12)]
    plain, bounded = (Trainer(run, quiet=True).evaluator for _ in range(2))
    expected = plain.top1(subnets)

    def held(evaluator: SubnetEvaluator) -> int:
        return sum(batch.nbytes for images in evaluator._cache.values() for batch in images)

    both = 4 * 100 * 12**2  # 40 images for recalibration and 60 to look at, at the larger resolution
    assert held(plain) > both
    bounded.caches = Caches(all_images=both)
    for subnet, value in zip(subnets, expected, strict=True):
        assert bounded.top1([subnet]) == value
        assert 0 < held(bounded) <= both
