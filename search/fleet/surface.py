"""The subnets among which the best under any limits on some costs is: computed once, then every limit is a lookup.

With one limited cost this is the front of accuracy against it. With several it is the surface of all subnets that no other
beats in accuracy and in every cost. Where `exact.solve` could answer, it is computed completely, stage by stage: a path
that another beats in score and in all costs stays beaten whatever follows, whether a cost is a sum or (peak memory) a
maximum. Elsewhere it is what a search has come across.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ofa.space.search_space import Genes
from search.arrays import Floats, Indices
from search.exact.stage_tables import Chain, StageTables, why_no_tables
from search.pareto.nondominated import unbeaten
from search.problem.feasibility import descend
from search.problem.objectives import Objective
from search.problem.problem import Problem
from search.rows import distinct
from search.searchers.catalogue import find_searcher

MOST_POINTS = {1: 1_000_000, 2: 150_000}
"""By the number of costs: a surface that grows beyond at one resolution is not computed, but searched."""
MOST_OF_MANY = 3_000
"""The same for three costs and more, where everything is compared with everything."""
MOST_SUMS = 4_000_000
"""Paths that are extended at once; bounds the memory."""
BLOCK = 512
"""Subnets that are compared with limits at once."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Distinct subnets, the most accurate first, and what they cost."""

    pairs: tuple[tuple[str, str], ...]
    """The costs that may be limited: (metric, platform)."""
    genes: Genes
    top1: Floats
    """Predicted, descending."""
    costs: Floats
    """[pairs, subnets]"""
    exact: bool
    """Whether a lookup is the optimum for the predictor; otherwise it is the best that a search has come across."""
    method: str
    """How it was found, and why so."""

    def lookup(self, bounds: Floats) -> Indices:
        """The most accurate subnet within each row of bounds, int64[n]; -1 where there is none.

        Args:
            bounds: float64[n, pairs]; infinite where there is no limit.
        """
        found = np.full(len(bounds), -1, dtype=np.int64)
        searching = np.arange(len(bounds))
        for start in range(0, len(self.genes), BLOCK):
            costs = self.costs[:, start : start + BLOCK]
            near = searching[(costs.min(axis=1) <= bounds[searching]).all(axis=1)]
            fits = np.ones((len(near), costs.shape[1]), dtype=np.bool_)
            for cost, bound in zip(costs, bounds[near].T, strict=True):
                fits &= cost <= bound[:, None]
            hit = fits.any(axis=1)
            found[near[hit]] = start + fits[hit].argmax(axis=1)
            searching = searching[found[searching] < 0]
        return found

    def attainable(self, bounds: Floats) -> Floats:
        """What one row of bounds that nothing meets would have to be, float64[pairs].

        The cheapest value of a bound that nothing meets alone, NaN for the others; where each can be met alone, the costs of
        the subnet with the smallest sum of relative excesses.
        """
        cheapest = self.costs.min(axis=1)
        alone = cheapest > bounds
        if alone.any():
            return np.where(alone, cheapest, np.nan)
        excess = np.maximum(self.costs / bounds[:, None] - 1, 0).sum(axis=0)
        return np.where(np.isfinite(bounds), self.costs[:, excess.argmin()], np.nan)


@dataclass(frozen=True)
class _Paths:
    """Beginnings of subnets that end in one state; see `search.exact.chains`."""

    score: Floats
    costs: Floats
    """[costs, paths]"""
    picks: Indices
    """[paths, stem and stages]: width * options + option."""

    def best(self) -> _Paths:
        """Those that no other beats."""
        kept = unbeaten(self.score, self.costs)
        return _Paths(self.score[kept], self.costs[:, kept], self.picks[kept])


def exact_surface(problem: Problem, pairs: tuple[tuple[str, str], ...]) -> Surface | str:
    """The complete surface, or why it cannot be had; `problem` has no limits.

    Args:
        problem: its space, predictor, costs and part are used.
        pairs: the costs: (metric, platform).
    """
    reason = why_no_tables(problem)
    if reason:
        return reason
    tables = StageTables(problem, list(pairs))
    found = []
    for resolution in tables.resolutions:
        paths = _merge(tables.chain(resolution, []), [factors.reduce for factors in tables.factors])
        if paths is None:
            most, size = MOST_POINTS.get(len(pairs), MOST_OF_MANY), problem.space.resolutions[resolution]
            return f"the surface over {len(pairs)} costs has more than {most:,} subnets at {size} px"
        genes = tables.genes(resolution, paths.picks)
        found.append((genes, paths.score, paths.costs))
    genes = np.concatenate([part[0] for part in found])
    kept = unbeaten(np.concatenate([part[1] for part in found]), np.concatenate([part[2] for part in found], axis=1))
    return surface_of(problem, pairs, genes[kept], True, "exact: the complete front, computed stage by stage")


def find_surface(
    problem: Problem, pairs: tuple[tuple[str, str], ...], rng: np.random.Generator, budget: int, exact: bool = True
) -> Surface:
    """The surface over some costs: computed where that is possible (unless `exact` is false), else searched.

    Args:
        problem: without limits.
        pairs: the costs that will be limited: (metric, platform); none for the most accurate subnet.
        rng: for the search.
        budget: predictions at most.
        exact: whether to compute it if that is possible.
    """
    pairs = pairs or (("macs_m", next(iter(problem.costs))),)
    found = exact_surface(problem, pairs) if exact else "as asked"
    return found if isinstance(found, Surface) else _archive(problem, pairs, rng, budget, found)


def _archive(
    problem: Problem, pairs: tuple[tuple[str, str], ...], rng: np.random.Generator, budget: int, why: str
) -> Surface:
    """What multi-objective evolution finds, and for each cost the cheapest subnet that coordinate descent reaches."""
    objectives = (Objective(), *(Objective(metric, platform) for metric, platform in pairs))
    result = find_searcher("nsga2")[0].search(replace(problem, objectives=objectives), rng, budget)
    starts = np.concatenate([problem.domain.extremes(), result.genes])
    cheapest = [descend(problem, starts, partial(problem.cost, metric, platform))[:1] for metric, platform in pairs]
    genes = distinct(np.concatenate([result.genes, problem.domain.extremes(), *cheapest]))
    method = f"archive of {result.algorithm}, {result.evaluations} predictions, not proven optimal ({why})"
    found = surface_of(problem, pairs, genes, False, method)
    kept = unbeaten(found.top1, found.costs)
    return replace(found, genes=found.genes[kept], top1=found.top1[kept], costs=found.costs[:, kept])


def surface_of(problem: Problem, pairs: tuple[tuple[str, str], ...], genes: Genes, exact: bool, method: str) -> Surface:
    """Subnets as a surface, by the problem's own accuracies and costs."""
    top1 = problem.top1(genes)
    order = np.argsort(-top1, kind="stable")
    costs = np.stack([problem.cost(metric, platform, genes[order]) for metric, platform in pairs])
    return Surface(pairs=pairs, genes=genes[order], top1=top1[order], costs=costs, exact=exact, method=method)


def _merge(chain: Chain, reduce: list[np.ufunc]) -> _Paths | None:
    """All paths through a chain that no other beats; None where there are too many."""
    count = len(reduce)
    states = [_Paths(np.zeros(1), np.zeros((count, 1)), np.zeros((1, 0), dtype=np.int64))]
    for part, scores in enumerate(chain.scores):
        arrivals = []
        for width in range(scores.shape[1]):
            found = [
                extended
                for before, paths in enumerate(states)
                for extended in _extend(chain, part, paths, before, width, reduce)
            ]
            arrivals.append(_concatenate(found).best())
            if len(arrivals[-1].score) > MOST_POINTS.get(count, MOST_OF_MANY):
                return None
        states = arrivals
    return _concatenate(states).best()


def _extend(chain: Chain, part: int, paths: _Paths, before: int, width: int, reduce: list[np.ufunc]) -> list[_Paths]:
    """Every path with every useful option of the next stage, in chunks of which each is thinned."""
    options = np.flatnonzero(chain.allowed[part][before, width])
    score = chain.scores[part][before, width][options]
    costs = np.stack([cost[part][before, width][options] for cost in chain.costs])
    useful = unbeaten(score, costs)
    options, score, costs = options[useful], score[useful], costs[:, useful]
    at_once = max(1, MOST_SUMS // max(1, len(options)))
    chunks = []
    for start in range(0, max(1, len(paths.score)), at_once):  # one chunk also where there is nothing
        some = slice(start, start + at_once)
        total = (paths.score[some, None] + score).ravel()
        sums = np.stack(
            [join(have[some, None], more).ravel() for join, have, more in zip(reduce, paths.costs, costs, strict=True)]
        )
        kept = unbeaten(total, sums)
        parent, option = np.divmod(kept, max(1, len(options)))
        chosen = width * chain.scores[part].shape[2] + options[option]
        picks = np.concatenate([paths.picks[some][parent], chosen[:, None]], axis=1)
        chunks.append(_Paths(total[kept], sums[:, kept], picks))
    return chunks


def _concatenate(parts: list[_Paths]) -> _Paths:
    if len(parts) == 1:
        return parts[0]
    return _Paths(
        np.concatenate([paths.score for paths in parts]),
        np.concatenate([paths.costs for paths in parts], axis=1),
        np.concatenate([paths.picks for paths in parts]),
    )
