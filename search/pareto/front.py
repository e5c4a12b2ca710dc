"""Pareto fronts of accuracy (maximised) against one cost (minimised): their points, hypervolume and thinning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ofa.space.search_space import Genes
from search.arrays import Floats, Indices
from search.pareto import domination
from search.pareto.nondominated import nondominated


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


def front_order(cost: Floats, top1: Floats) -> Indices:
    """Indices of the nondominated points, cost ascending; of equal points the first."""
    return nondominated(top1, cost[None])[::-1]


def hypervolume(cost: Floats, top1: Floats, worst_cost: float, worst_top1: float) -> float:
    """Area between the front and the reference point (`worst_cost`, `worst_top1`), in units of cost x top-1."""
    return domination.hypervolume(np.stack([cost, -top1], axis=1), np.array([worst_cost, -worst_top1]))


def thin(cost: Floats, top1: Floats, k: int) -> Indices:
    """Ascending indices of at most `k` points spread evenly over a front in (log cost, top-1), with both of its ends."""
    if len(cost) <= k:
        return np.arange(len(cost))
    steps = [np.diff(values) / max(np.ptp(values), 1e-12) for values in (np.log(np.maximum(cost, 1e-12)), top1)]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*steps))])
    return np.unique(np.abs(along[:, None] - np.linspace(0, along[-1], k)).argmin(axis=0))
