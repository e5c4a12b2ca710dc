"""The best subnet for each device of a fleet: one Pareto surface per platform and set of limited costs, then lookups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from latency_tables.metrics import METRICS
from ofa.space.search_space import Genes
from search.arrays import Floats, Indices
from search.fleet.surface import Surface, find_surface
from search.problem.problem import Problem

COST_COLUMNS = tuple(METRICS)
"""The columns of every matrix of bounds or costs in `search.fleet`."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Devices and their limits, as columns."""

    devices: tuple[str, ...]
    """Names of the devices; two may share a name."""
    platforms: tuple[str, ...]
    """The distinct platforms."""
    platform: Indices
    """The platform of each device, an index into `platforms`, int64[n]."""
    bounds: Floats
    """Upper limits, float64[n, COST_COLUMNS]; infinite where a cost is not limited."""
    confidence: Floats
    """The confidence with which latency and energy meet their limits, float64[n]; NaN: their estimates meet them."""
    lines: Indices
    """The line of each device in the file, int64[n]."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Devices that one surface answers."""

    platform: str
    confidence: float | None
    surface: Surface
    rows: Indices
    """The devices, as rows of the fleet."""


@dataclass(frozen=True, kw_only=True)
class FleetAnswer:
    """The subnet of each device, or the attainable costs where there is none."""

    fleet: Fleet
    groups: tuple[Group, ...]
    subnets: Genes
    """The distinct subnets chosen, int8[subnets, genes]."""
    top1: Floats
    """Their predicted top-1, float64[subnets]."""
    chosen: Indices
    """The subnet of each device, an index into `subnets`, int64[n]; -1 where no subnet meets its limits."""
    attainable: Floats
    """`Surface.attainable` of each device without a subnet, float64[n, COST_COLUMNS]; NaN elsewhere."""


def answer(
    fleet: Fleet,
    problem: Callable[[str, float | None], Problem],
    rng: np.random.Generator,
    budget: int,
    exact: bool = True,
    progress: Callable[[Indices], Iterable[int]] = iter,
) -> FleetAnswer:
    """The subnet with the highest predicted accuracy within the limits of each device.

    Args:
        fleet: the devices.
        problem: returns the problem without limits for a platform (out of `fleet.platforms`) and a confidence; called once
            for each pair.
        rng: source of randomness for surfaces that are searched.
        budget: most predictions for each surface that is searched.
        exact: True: surfaces are computed exactly where that is possible. False: all are searched.
        progress: wraps the numbers of the groups, int64[groups] (a progress bar).
    """
    groups = tuple(_groups(fleet, problem, rng, budget, exact, progress))
    picked = np.full(len(fleet.devices), -1, dtype=np.int64)  # indices into the rows of all surfaces together
    attainable = np.full((len(fleet.devices), len(COST_COLUMNS)), np.nan)
    offset = 0
    for group in groups:
        columns = np.array([COST_COLUMNS.index(metric) for metric, _ in group.surface.pairs])
        cells = group.rows[:, None], columns
        bounds, inverse = np.unique(fleet.bounds[cells], axis=0, return_inverse=True)
        found = group.surface.lookup(bounds)
        missing = np.full(bounds.shape, np.nan)
        for i in np.flatnonzero(found < 0):
            missing[i] = group.surface.attainable(bounds[i])
        inverse = inverse.reshape(-1)
        picked[group.rows] = np.where(found < 0, -1, found + offset)[inverse]
        attainable[cells] = missing[inverse]
        offset += len(group.surface.genes)
    genes = np.concatenate([group.surface.genes for group in groups])
    top1 = np.concatenate([group.surface.top1 for group in groups])
    used, at = np.unique(picked[picked >= 0], return_inverse=True)
    subnets, first, same = np.unique(genes[used], axis=0, return_index=True, return_inverse=True)
    chosen = np.full(len(picked), -1, dtype=np.int64)
    chosen[picked >= 0] = same.reshape(-1)[at.reshape(-1)]
    return FleetAnswer(
        fleet=fleet, groups=groups, subnets=subnets, top1=top1[used][first], chosen=chosen, attainable=attainable
    )


def _groups(
    fleet: Fleet,
    problem: Callable[[str, float | None], Problem],
    rng: np.random.Generator,
    budget: int,
    exact: bool,
    progress: Callable[[Indices], Iterable[int]],
) -> Iterator[Group]:
    """One group per platform, confidence and set of limited costs; an exact surface also serves subsets of its costs."""
    limited = np.isfinite(fleet.bounds)
    keys = np.column_stack([fleet.platform, np.nan_to_num(fleet.confidence, nan=0.0), limited])
    distinct, inverse = np.unique(keys, axis=0, return_inverse=True)
    most_first = np.lexsort((-distinct[:, 2:].sum(axis=1), distinct[:, 1], distinct[:, 0]))
    asked: Problem | None = None
    before: tuple[str, float | None] | None = None
    complete: list[Surface] = []
    for i in progress(most_first):
        platform, sure = fleet.platforms[int(distinct[i, 0])], float(distinct[i, 1]) or None
        if asked is None or before != (platform, sure):
            asked, before, complete = problem(platform, sure), (platform, sure), []
        name = next(iter(asked.costs))
        pairs = tuple((metric, name) for metric, used in zip(COST_COLUMNS, distinct[i, 2:], strict=True) if used)
        surface = next((known for known in complete if set(pairs) <= set(known.pairs)), None)
        if surface is None:
            surface = find_surface(asked, pairs, rng, budget, exact)
            if surface.exact:
                complete.append(surface)
        yield Group(platform=platform, confidence=sure, surface=surface, rows=np.flatnonzero(inverse.reshape(-1) == i))
