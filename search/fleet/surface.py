"""The Pareto surface of accuracy and the limited costs: computed once, then the best subnet under any limits is a lookup.

With one limited cost, it is the front of accuracy against that cost. Where `exact.solve` could answer, the complete surface
is computed stage by stage (`search.exact.chains`). Elsewhere it consists of the subnets that a search has found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ofa.space.search_space import Genes
from search.arrays import Floats, Indices
from search.exact.chains import TooManyPathsError, merge
from search.exact.stage_tables import StageTables, why_no_tables
from search.pareto.nondominated import nondominated
from search.problem.feasibility import closest_of, descend
from search.problem.objectives import Objective
from search.problem.problem import Problem
from search.rows import distinct
from search.searchers.catalogue import find_searcher

MOST_SUBNETS = {1: 1_000_000, 2: 150_000}
"""Most subnets per resolution of a computed surface, by the number of costs; a larger surface is searched instead."""
MOST_OF_MANY = 3_000
"""The same for three costs and more, where every subnet is compared with every other."""
SUBNETS_AT_ONCE = 512
"""Subnets compared with limits at once."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Distinct subnets, the most accurate first, and their costs."""

    pairs: tuple[tuple[str, str], ...]
    """The costs that may be limited: (metric, platform)."""
    genes: Genes
    top1: Floats
    """Predicted, descending."""
    costs: Floats
    """[pairs, subnets]"""
    exact: bool
    """True where a lookup is the optimum for the predictor; False where it is the best that a search has found."""
    method: str
    """The method that found the surface, and the reason for it."""

    def lookup(self, bounds: Floats) -> Indices:
        """The most accurate subnet within each row of bounds, float64[n, pairs], as int64[n]; -1 where there is none."""
        found = np.full(len(bounds), -1, dtype=np.int64)
        searching = np.arange(len(bounds))
        for start in range(0, len(self.genes), SUBNETS_AT_ONCE):
            costs = self.costs[:, start : start + SUBNETS_AT_ONCE]
            near = searching[(costs.min(axis=1) <= bounds[searching]).all(axis=1)]
            fits = np.ones((len(near), costs.shape[1]), dtype=np.bool_)
            for cost, bound in zip(costs, bounds[near].T, strict=True):
                fits &= cost <= bound[:, None]
            hit = fits.any(axis=1)
            found[near[hit]] = start + fits[hit].argmax(axis=1)
            searching = searching[found[searching] < 0]
        return found

    def attainable(self, bounds: Floats) -> Floats:
        """Values that bounds (float64[pairs]) which no subnet meets would have to be raised to, float64[pairs].

        Where some bounds cannot be met even alone: the lowest cost for each of these, NaN for the others. Else: the costs of
        the subnet with the smallest sum of relative excesses, NaN where there is no limit.
        """
        cheapest = self.costs.min(axis=1)
        alone = cheapest > bounds
        if alone.any():
            return np.where(alone, cheapest, np.nan)
        excess = np.maximum(self.costs / bounds[:, None] - 1, 0).sum(axis=0)
        return np.where(np.isfinite(bounds), self.costs[:, excess.argmin()], np.nan)


def exact_surface(problem: Problem, pairs: tuple[tuple[str, str], ...]) -> Surface | str:
    """The complete surface of a problem without limits over (metric, platform) pairs, or why it cannot be computed."""
    reason = why_no_tables(problem)
    if reason:
        return reason
    tables = StageTables(problem, list(pairs))
    found = []
    most = MOST_SUBNETS.get(len(tables.factors), MOST_OF_MANY)
    for resolution in tables.resolutions:
        try:
            paths = merge(tables.chain(resolution, []), most=most)
        except TooManyPathsError:
            size = problem.space.resolutions[resolution]
            return f"the surface over {len(pairs)} costs has more than {most:,} subnets at {size} px"
        found.append((tables.genes(resolution, paths.picks), paths.score, paths.costs))
    genes = np.concatenate([part[0] for part in found])
    kept = nondominated(np.concatenate([part[1] for part in found]), np.concatenate([part[2] for part in found], axis=1))
    return surface_of(problem, pairs, genes[kept], True, "exact: the complete front, computed stage by stage")


def find_surface(
    problem: Problem, pairs: tuple[tuple[str, str], ...], rng: np.random.Generator, budget: int, exact: bool = True
) -> Surface:
    """The surface of a problem without limits over some costs: computed where possible and `exact`, else searched.

    The pairs (metric, platform) are the costs that may be limited; without any, only the most accurate subnet is wanted.
    """
    pairs = pairs or (("macs_m", next(iter(problem.costs))),)
    if problem.among is not None:
        inside = problem.among[problem.domain.contains(problem.among)]
        if not len(inside):
            raise closest_of(problem, inside)
        return surface_of(problem, pairs, inside, True, f"list: the best of the {len(inside)} subnets that can be answered")
    found = exact_surface(problem, pairs) if exact else "as asked"
    return found if isinstance(found, Surface) else _archive(problem, pairs, rng, budget, found)


def _archive(
    problem: Problem, pairs: tuple[tuple[str, str], ...], rng: np.random.Generator, budget: int, why: str
) -> Surface:
    """Search the surface by NSGA-II, and the cheapest subnet of each cost by coordinate descent."""
    objectives = (Objective(), *(Objective(metric, platform) for metric, platform in pairs))
    result = find_searcher("nsga2")[0].search(replace(problem, objectives=objectives), rng, budget)
    starts = np.concatenate([problem.domain.extremes(), result.genes])
    cheapest = [descend(problem, starts, partial(problem.cost, metric, platform))[:1] for metric, platform in pairs]
    genes = distinct(np.concatenate([result.genes, problem.domain.extremes(), *cheapest]))
    method = f"archive of {result.algorithm}, {result.evaluations} predictions, not proven optimal ({why})"
    found = surface_of(problem, pairs, genes, False, method)
    kept = nondominated(found.top1, found.costs)
    return replace(found, genes=found.genes[kept], top1=found.top1[kept], costs=found.costs[:, kept])


def surface_of(problem: Problem, pairs: tuple[tuple[str, str], ...], genes: Genes, exact: bool, method: str) -> Surface:
    """Subnets as a surface, with the problem's accuracies and costs."""
    top1 = problem.top1(genes)
    order = np.argsort(-top1, kind="stable")
    costs = np.stack([problem.cost(metric, platform, genes[order]) for metric, platform in pairs])
    return Surface(pairs=pairs, genes=genes[order], top1=top1[order], costs=costs, exact=exact, method=method)
