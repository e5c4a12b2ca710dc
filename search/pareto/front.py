"""Pareto fronts of accuracy (up) against one cost (down): finding, measuring their size, thinning."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ofa.space.search_space import Genes
from search.pareto import domination
from search.pareto.domination import Indices as Indices
from search.pareto.domination import Mask
from search.problem.problem import Floats, Objective, Problem
from search.searchers.nsga2 import Nsga2


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
    return domination.nondominated(np.stack([cost, -top1], axis=1))


def front_order(cost: Floats, top1: Floats) -> Indices:
    """Indices of the front's points, cost ascending, one of each group of equal points."""
    front = np.flatnonzero(nondominated(cost, top1))
    front = front[np.argsort(cost[front], kind="stable")]
    return np.asarray(front[np.unique(cost[front], return_index=True)[1]])


def hypervolume(cost: Floats, top1: Floats, worst_cost: float, worst_top1: float) -> float:
    """Area between the front and the reference point, in units of cost x top-1; points beyond the reference add nothing."""
    return domination.hypervolume(np.stack([cost, -top1], axis=1), np.array([worst_cost, -worst_top1]))


def spread(cost: Floats, top1: Floats, k: int) -> Indices:
    """At most `k` points of a front, evenly along the curve of (log cost, top-1), both ends included; indices ascending."""
    if len(cost) <= k:
        return np.arange(len(cost))
    steps = [np.diff(values) / max(np.ptp(values), 1e-12) for values in (np.log(np.maximum(cost, 1e-12)), top1)]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*steps))])
    return np.unique(np.abs(along[:, None] - np.linspace(0, along[-1], k)).argmin(axis=0))


def evolved_front(problem: Problem, metric: str, platform: str, rng: np.random.Generator, budget: int) -> Front:
    """The front of predicted accuracy against `metric` on `platform` within the problem's limits, by NSGA-II.

    Raises:
        Infeasible: no subnet meets the limits.
        UserError: the platform does not know the metric.
    """
    result = Nsga2().search(replace(problem, objectives=[Objective(), Objective(metric, platform)]), rng, budget)
    cost = result.values[:, 1]
    front = front_order(cost, result.top1)
    return Front(
        metric=metric,
        platform=platform,
        genes=result.genes[front],
        cost=cost[front],
        top1=result.top1[front],
        evaluations=result.evaluations,
    )
