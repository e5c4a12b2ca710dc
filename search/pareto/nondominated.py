"""The dominance kernel: one score (higher is better) against any number of costs (lower is better), for millions of points.

A point dominates another when its score is at least as high and every cost at most as high; of equal points, the first
dominates the others. `search.pareto.domination.front` brings objectives that are all minimised into this form.
"""

from __future__ import annotations

import numpy as np

from search.arrays import Floats, Indices, Mask

FIRST_BLOCK, BLOCK = 128, 512
"""Points compared at once, with each other and with those kept: sizes of the first and the largest block; they double."""
SMALL = {1: 500, 2: 20_000}
"""Most points, by the number of costs, for which sorting all of them is as fast as a rough selection first."""
BINS = {1: (1 << 16) - 1, 2: 300}
"""Bins of scores in the rough selection, by the number of costs."""


def nondominated(score: Floats, costs: Floats) -> Indices:
    """Indices of the nondominated points, best score first; of equal points the first.

    With one cost, a running minimum finds them. With two, blocks of points are compared with the staircase of the cheapest
    points so far. With more, blocks are compared with all points kept so far.

    Args:
        score: float64[n].
        costs: float64[costs, n]; without costs, the best point is kept.
    """
    rough = len(score) > SMALL.get(len(costs), len(score))
    few = (_rough_front if len(costs) == 1 else _rough_surface)(score, costs) if rough else np.arange(len(score))
    order = few[np.lexsort((*costs[::-1, few], -score[few]))]
    if len(costs) == 0 or len(order) == 0:
        return order[:1]
    if len(costs) == 1:
        lowest = np.minimum.accumulate(costs[0, order])
        return np.asarray(order[np.concatenate([[True], lowest[1:] < lowest[:-1]])])
    kept = _Staircase() if len(costs) == 2 else _Rivals(len(costs))
    places = []
    start, size = 0, FIRST_BLOCK
    while start < len(order):
        block = order[start : start + size]
        places.append(block[kept.add_nondominated(costs[:, block])])
        start, size = start + size, min(2 * size, BLOCK)
    return np.concatenate(places)


def _binned(score: Floats, count: int) -> tuple[Indices, Indices]:
    """Indices of the points by bin of score, the best bin first, and their bins; sorting 16 bits is ten times as fast."""
    low, high = score.min(), score.max()
    bins = ((high - score) * (count / max(high - low, 1e-300))).astype(np.uint16)
    order = np.argsort(bins, kind="stable")
    return order, bins[order]


def _rough_front(score: Floats, costs: Floats) -> Indices:
    """A small superset of the nondominated points: those cheaper than every point of all better bins."""
    order, bins = _binned(score, BINS[1])
    cost = costs[0, order]
    lowest = np.minimum.accumulate(cost)
    starts = np.concatenate([[False], bins[1:] != bins[:-1]])
    better = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))  # number of points in better bins
    dominated = (better > 0) & (lowest[np.maximum(better - 1, 0)] <= cost)
    return np.asarray(order[~dominated])


def _rough_surface(score: Floats, costs: Floats) -> Indices:
    """The same as `_rough_front`, for two costs."""
    order, bins = _binned(score, BINS[2])
    better = _Staircase()
    places = []
    for inside in np.split(order, np.flatnonzero(np.diff(bins)) + 1):
        open_ = inside[~better.dominates(costs[:, inside])]
        better.add(costs[:, open_])
        places.append(open_)
    return np.concatenate(places)


class _Rivals:
    """Costs of the points kept so far; every point that is still to come has at most their score."""

    def __init__(self, count: int) -> None:
        self.costs = np.zeros((count, 0))

    def dominates(self, costs: Floats) -> Mask:
        """Tell for each point whether a kept one is at least as cheap in all costs, bool[n]."""
        return np.asarray(no_lower(costs, self.costs).any(axis=1))

    def add(self, costs: Floats) -> None:
        """Keep points."""
        self.costs = np.concatenate([self.costs, costs], axis=1)

    def add_nondominated(self, costs: Floats) -> Indices:
        """Keep the nondominated ones of some points (best score first); returns their indices."""
        open_ = np.flatnonzero(~self.dominates(costs))
        later = np.tril(no_lower(costs[:, open_], costs[:, open_]), -1)  # each point against those before it
        places = open_[~later.any(axis=1)]
        self.add(costs[:, places])
        return places


class _Staircase(_Rivals):
    """The same for two costs: for every first cost, the lowest second cost among points that are no dearer in the first."""

    def __init__(self) -> None:
        self.first, self.second = np.array([-np.inf]), np.array([np.inf])

    def dominates(self, costs: Floats) -> Mask:
        step = np.searchsorted(self.first, costs[0], side="right") - 1
        return np.asarray(self.second[step] <= costs[1])

    def add(self, costs: Floats) -> None:
        first, second = np.append(self.first, costs[0]), np.append(self.second, costs[1])
        order = np.lexsort((second, first))
        lowest = np.minimum.accumulate(second[order])
        steps = np.concatenate([[True], lowest[1:] < lowest[:-1]])
        self.first, self.second = first[order][steps], lowest[steps]


def no_lower(some: Floats, others: Floats) -> Mask:
    """Tell for each of `some` and each of `others` whether the first is at least as high in all values, bool[some, others].

    Both are float64[values, points].
    """
    result = np.ones((some.shape[1], others.shape[1]), dtype=np.bool_)
    for mine, theirs in zip(some, others, strict=True):
        result &= mine[:, None] >= theirs
    return result
