"""Pareto fronts of accuracy (up) against one cost (down): finding, measuring their size, thinning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ofa.space import Genes
from search.feasibility import feasible_seeds
from search.problem import Floats, Problem
from search.searcher import Archive

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Front:
    """Subnets of which none is both cheaper and more accurate than another; cost ascending."""

    metric: str
    platform: str
    genes: Genes
    cost: Floats
    top1: Floats
    """Predicted."""
    evaluations: int


def nondominated(cost: Floats, top1: Floats) -> Mask:
    """Which points no other point beats, bool[n]; equal points do not beat each other. O(n log n)."""
    order = np.lexsort((-top1, cost))
    sorted_cost, sorted_top1 = cost[order], top1[order]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(sorted_top1)[:-1]])
    better = sorted_top1 > best_before
    last = np.maximum.accumulate(np.where(better, np.arange(len(order)), 0))  # the front's point at or before each one
    equal = (sorted_cost == sorted_cost[last]) & (sorted_top1 == sorted_top1[last])
    mask = np.zeros(len(order), dtype=np.bool_)
    mask[order] = better | equal
    return mask


def front_order(cost: Floats, top1: Floats) -> Indices:
    """Indices of the front's points, cost ascending, one of each group of equal points."""
    front = np.flatnonzero(nondominated(cost, top1))
    front = front[np.argsort(cost[front], kind="stable")]
    return np.asarray(front[np.unique(cost[front], return_index=True)[1]])


def hypervolume(cost: Floats, top1: Floats, worst_cost: float, worst_top1: float) -> float:
    """Area between the front and the reference point, in units of cost x top-1; points beyond the reference add nothing."""
    inside = (cost < worst_cost) & (top1 > worst_top1)
    cost, top1 = cost[inside], top1[inside]
    front = front_order(cost, top1)
    edges = np.append(cost[front], worst_cost)
    return float((np.diff(edges) * (top1[front] - worst_top1)).sum())


def spread(cost: Floats, top1: Floats, k: int) -> Indices:
    """At most `k` points of a front, evenly along the curve of (log cost, top-1), both ends included; indices ascending."""
    if len(cost) <= k:
        return np.arange(len(cost))
    steps = [np.diff(values) / max(np.ptp(values), 1e-12) for values in (np.log(np.maximum(cost, 1e-12)), top1)]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*steps))])
    return np.unique(np.abs(along[:, None] - np.linspace(0, along[-1], k)).argmin(axis=0))


@dataclass(frozen=True)
class FrontSearch:
    """Evolution that keeps the most accurate subnets of every cost range, then climbs from the whole front.

    Ranges are equal steps of the logarithm of the cost, so every part of the front gets the same effort (elites per niche as
    in Mouret and Clune, arXiv 1504.04909).
    """

    ranges: int = 48
    elites: int = 8
    """Kept per range."""
    children: int = 1024
    changes: float = 2.0
    """Genes reset per child, on average."""
    climbing_share: float = 0.4
    """Part of the budget that is kept for local search."""

    def search(self, problem: Problem, metric: str, platform: str, rng: np.random.Generator, budget: int) -> Front:
        """The front of predicted accuracy against `metric` on `platform`, within the problem's limits.

        Raises:
            Infeasible: no subnet meets the limits.
            UserError: the platform does not know the metric.
        """

        def cost(genes: Genes) -> Floats:
            return problem.cost(metric, platform, genes)

        seeds = np.concatenate([problem.domain.extremes(), feasible_seeds(problem, rng)])
        seed_cost = cost(seeds)
        edges = np.geomspace(seed_cost.min(), max(seed_cost.max(), seed_cost.min() * (1 + 1e-9)), self.ranges + 1)[1:-1]

        def select(genes: Genes, top1: Floats) -> Indices:
            costs = cost(genes)
            return np.union1d(_elites(np.searchsorted(edges, costs), top1, self.elites), front_order(costs, top1))

        archive = Archive(problem, budget, select=select)
        archive.add(archive.new(seeds))
        barren = 0
        while archive.left > budget * self.climbing_share and barren < 3:
            mothers, fathers = archive.genes[rng.integers(0, len(archive.genes), size=(2, self.children))]
            half = self.children // 2
            crossed = problem.domain.cross(mothers[:half], fathers[:half], rng)
            fresh = archive.new(problem.domain.mutate(np.concatenate([crossed, mothers[half:]]), self.changes, rng))
            barren = 0 if len(fresh) else barren + 1
            archive.add(fresh)
        self._climb(problem, archive, cost)
        costs = cost(archive.genes)
        front = front_order(costs, archive.top1)
        return Front(
            metric=metric,
            platform=platform,
            genes=archive.genes[front],
            cost=costs[front],
            top1=archive.top1[front],
            evaluations=archive.evaluations,
        )

    def _climb(self, problem: Problem, archive: Archive, cost: Callable[[Genes], Floats]) -> None:
        """All one-gene neighbours of the front, until none is new or the budget ends."""
        climbed: set[bytes] = set()
        while archive.left > 0:
            front = archive.genes[front_order(cost(archive.genes), archive.top1)]
            rows = [row for row in front if row.tobytes() not in climbed]
            if not rows:
                return
            climbed.update(row.tobytes() for row in rows)
            archive.add(archive.new(problem.domain.neighbours(np.array(rows))))


def _elites(ranges: Indices, top1: Floats, count: int) -> Indices:
    """The `count` most accurate of each range."""
    order = np.lexsort((-top1, ranges))
    starts = np.searchsorted(ranges[order], ranges[order])
    return np.asarray(order[np.arange(len(order)) - starts < count])
