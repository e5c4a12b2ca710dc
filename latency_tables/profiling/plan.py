"""The plan of `ofa profile`: every distinct block of a space, in chains like those in networks, and random whole subnets.

Space and settings alone decide the plan, so that it can be made again to match a device's results with their shapes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated

import numpy as np

from latency_tables.costs.factors import ShapeGrid
from latency_tables.on_device.timing import EMPTY_MODEL, VISITS, Item, TimingPlan
from ofa.files import schema
from ofa.files.bounds import AtLeast, AtMost, Bounded, WholeNumber
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import BlockShape, OpShape, walk_blocks
from ofa.space.subnet import Subnet

Networks = Annotated[int, AtLeast(1), AtMost(10_000)]
EMPTY_ITEM = f"{EMPTY_MODEL}@1"


@dataclass(frozen=True, kw_only=True)
class Settings(Bounded):
    """Choices that, with the space, decide a plan."""

    runs: Annotated[int, AtLeast(1), AtMost(1_000_000)] = 50
    """Least number of timed runs of each block and network, over all visits."""
    batch: Annotated[int, AtLeast(1), AtMost(65_536)] = 1
    """Images per inference."""
    fit_networks: Networks = 10
    """Random whole subnets on which the correction of the sum of blocks is fitted."""
    test_networks: Networks = 20
    """Further random subnets, on which the error of the corrected sum is reported."""
    seed: WholeNumber = 0
    """Seed of the subnets, the order and the weights."""


@dataclass(frozen=True, kw_only=True)
class SpacePlan:
    """A plan with the shapes behind its names."""

    space: SearchSpace
    settings: Settings
    blocks: dict[str, BlockShape]
    """Every distinct block, by its item's name."""
    networks: dict[str, Subnet]
    """Whole subnets, by their item's name: first those for the fit, then the held-out ones."""
    models: dict[str, tuple[BlockShape, ...]]
    """Blocks that a model runs, by the model's name, with the sizes of one of its items. The empty model runs nothing."""
    timing: TimingPlan

    @classmethod
    def of(cls, space: SearchSpace, settings: Settings) -> SpacePlan:
        """The plan of a space."""
        grid = ShapeGrid.of(space)
        models: dict[str, tuple[BlockShape, ...]] = {EMPTY_MODEL: ()}
        names: dict[BlockShape, str] = {}
        items = {EMPTY_ITEM: Item(EMPTY_MODEL, 1, 1)}
        blocks: dict[str, BlockShape] = {}
        for shape in grid.distinct():
            op = shape.main[0]
            model = names.setdefault(_without_sizes(shape), f"b{len(names)}")
            models.setdefault(model, (shape,))
            item = f"{model}@{op.in_size}"
            blocks[item], items[item] = shape, Item(model, op.in_channels, op.in_size)
        genes = space.sample(settings.fit_networks + settings.test_networks, np.random.default_rng(settings.seed))
        networks: dict[str, Subnet] = {}
        for i, subnet in enumerate(space.decode(genes)):
            item = f"n{i}@{subnet.resolution}"
            models[f"n{i}"] = tuple(walk_blocks(space, subnet))
            networks[item], items[item] = subnet, Item(f"n{i}", space.in_channels, subnet.resolution)
        named = {shape: item for item, shape in blocks.items()}
        chains = [(EMPTY_ITEM,), *(tuple(named[shape] for shape in chain) for chain in cover(grid))]
        chains += [(item,) for item in networks]
        facts = {
            "space": space.fingerprint,
            "settings": schema.to_plain(settings),
            "visits": VISITS,
            "chains": chains,
            "models": {name: schema.to_plain(shapes) for name, shapes in models.items()},
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        runs = -(-settings.runs // VISITS)
        timing = TimingPlan(digest, items, tuple(chains), settings.batch, runs, settings.seed)
        return cls(space=space, settings=settings, blocks=blocks, networks=networks, models=models, timing=timing)


def cover(grid: ShapeGrid) -> Iterator[list[BlockShape]]:
    """Chains of blocks, each taking the output of the one before, that together hold every distinct block of a space.

    Each chain is the path through the stages, at one resolution, with the most blocks that are in no chain yet (dynamic
    programming over stages and widths), cut to begin and end with such a block.
    """
    unmet = set(grid.distinct())
    for r in range(len(grid.stem)):
        while chain := _best_way(grid, r, unmet):
            met = [i for i, shape in enumerate(chain) if shape in unmet]
            yield chain[met[0] : met[-1] + 1]
            unmet.difference_update(chain)


def _best_way(grid: ShapeGrid, r: int, unmet: set[BlockShape]) -> list[BlockShape]:
    """The path at resolution `r` with the most unmet blocks; empty where every block is met."""

    @cache
    def rest(s: int, width: int) -> tuple[int, tuple[BlockShape, ...]]:
        """Find the path from stage `s` on, entered at a width, with the most unmet blocks: their number, and the path."""
        if s == len(grid.first):
            head: BlockShape = grid.head[r, width]
            return int(head in unmet), (head,)
        ways = []
        for out in range(grid.first[s].shape[2]):
            choices = list(grid.first[s][r, width, out].flat)
            first = next((shape for shape in choices if shape in unmet), choices[0])
            later = grid.later[s]
            repeats = list(dict.fromkeys(later[r, out].flat)) if later is not None else []
            others = [shape for shape in repeats if shape in unmet and shape != first]
            others = others[: grid.space.stages[s].depths[-1] - 1]
            found, way = rest(s + 1, out)
            ways.append((int(first in unmet) + len(others) + found, (first, *others, *way)))
        return max(ways, key=lambda found_and_way: found_and_way[0])

    ways = []
    for width in range(grid.stem.shape[1]):
        choices = list(grid.stem[r, width].flat)
        stem = next((shape for shape in choices if shape in unmet), choices[0])
        found, way = rest(0, width)
        ways.append((int(stem in unmet) + found, [stem, *way]))
    most, way_there = max(ways, key=lambda found_and_way: found_and_way[0])
    return way_there if most else []


def _without_sizes(shape: BlockShape) -> BlockShape:
    def clear(ops: tuple[OpShape, ...]) -> tuple[OpShape, ...]:
        return tuple(replace(op, in_size=0, out_size=0) for op in ops)

    return replace(shape, main=clear(shape.main), shortcut=clear(shape.shortcut))
