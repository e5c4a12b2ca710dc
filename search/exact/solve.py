"""Exact search: the best subnet for a stage-additive model, and the whole front of accuracy against one cost.

A subnet is a path: resolution, stem, stage after stage, with the width between two stages as the state. Paths that reach
the same state are merged stage by stage, and one that another beats in score and in every cost is dropped, because whatever
follows serves both alike (Bellman's principle). With one cost, what is left after the last stage is the complete front. With
several limits, paths are dropped too when even the best continuation within any single limit cannot beat the best subnet
known. Nothing else is dropped, so the answer is optimal for the model; `scipy.optimize.milp` agrees in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from latency_tables.costs.factors import Factors
from latency_tables.metrics import METRICS
from ofa.errors import UserError
from ofa.space.search_space import Genes
from search.exact.chains import Paths, ahead_of, good_score, merge, most
from search.exact.stage_tables import StageAdditive, StageTables, obstacle
from search.pareto.front import Front, front_order
from search.problem.feasibility import feasible_seeds
from search.problem.problem import Floats, Limit, Problem
from search.searchers.base import Archive, SearchResult

ROUNDING = 1e-9
"""Relative: sums in another order differ by less; a subnet counts as feasible only by the problem's own sums."""


@dataclass(frozen=True)
class Exact:
    """Dynamic programming over stages; needs a stage-additive predictor and platforms with cost factors."""

    @property
    def name(self) -> str:
        """As in `ofa query --algorithm`."""
        return "exact"

    def search(self, problem: Problem, rng: np.random.Generator, budget: int) -> SearchResult:
        """See `Searcher.search`; raises `UserError` too where the problem has no stage tables, saying why."""
        archive = Archive(problem, budget)
        _check(problem, [])
        metrics = _summed(problem)
        bounds = np.array([limit.bound for limit in problem.limits if (limit.metric, limit.platform) in metrics])
        metrics = metrics or [_any_cost(problem)]
        bounds = bounds if len(bounds) else np.array([np.inf])
        tables = StageTables(problem, metrics)
        genes = _solve(tables, bounds, _maxima(problem))
        genes = genes[(problem.use(genes) <= 1).all(axis=1)]
        if not len(genes):
            feasible_seeds(problem, rng)  # raises, with what is attainable
            raise AssertionError("a feasible subnet exists that the exact search has not found")
        best = genes[np.argsort(-_score(problem, genes), kind="stable")]
        archive.add(archive.new(best))
        archive.add(archive.new(problem.domain.neighbours(best[:1])))  # good alternatives, where candidates are measured
        return replace(archive.result(self.name), optimal=True)


def exact_front(problem: Problem, metric: str, platform: str) -> Front:
    """The complete front of predicted accuracy against one summed cost; peak memory may be limited, nothing else.

    Raises:
        Infeasible: no subnet meets the limits.
        UserError: the model or the platform has no stage tables, the cost is no sum, or another limit is given.
    """
    _check(problem, [(metric, platform)])
    tables = StageTables(problem, [(metric, platform)])
    if tables.factors[0].reduce is not np.add:
        raise UserError(f"the exact front needs a cost that is a sum; {metric} is a maximum")
    rest = [pair for pair in _summed(problem) if pair != (metric, platform)]
    if rest:
        other = f"a limit on {rest[0][0]} of {rest[0][1]}"
        raise UserError(f"the exact front has one cost, {metric} on {platform}; it cannot keep to {other} too")
    bounds = [limit.bound for limit in problem.limits if (limit.metric, limit.platform) == (metric, platform)]
    genes = _solve(tables, np.array([min(bounds, default=np.inf)]), _maxima(problem))
    genes = genes[(problem.use(genes) <= 1).all(axis=1)]
    if not len(genes):
        feasible_seeds(problem, np.random.default_rng(0))
    cost, top1 = problem.cost(metric, platform, genes), problem.top1(genes)
    order = front_order(cost, top1)
    return Front(
        metric=metric, platform=platform, genes=genes[order], cost=cost[order], top1=top1[order], evaluations=len(genes)
    )


def exact_obstacle(problem: Problem) -> str | None:
    """Why `Exact` cannot solve a problem; None when it can."""
    return obstacle(problem, [(limit.metric, limit.platform) for limit in problem.limits] or [_any_cost(problem)])


def _any_cost(problem: Problem) -> tuple[str, str]:
    """Something to be frugal with among equals where nothing is limited."""
    return "macs_m", next(iter(problem.costs))


def front_obstacle(problem: Problem, metric: str, platform: str) -> str | None:
    """Why `exact_front` cannot give a front; None when it can."""
    reason = obstacle(problem, [(metric, platform)]) or exact_obstacle(problem)
    if reason is None and problem.costs[platform].factors(metric).reduce is not np.add:  # type: ignore[attr-defined]
        return f"{METRICS[metric].label.lower()} is a maximum, not a sum"
    return reason


def _check(problem: Problem, metrics: list[tuple[str, str]]) -> None:
    reason = obstacle(problem, metrics) or exact_obstacle(problem)
    if reason:
        raise UserError(f"the exact search cannot solve this: {reason}; use evolution")


def _score(problem: Problem, genes: Genes) -> Floats:
    assert isinstance(problem.predictor, StageAdditive)
    return problem.predictor.score(genes)


def _is_sum(problem: Problem, limit: Limit) -> bool:
    factors = getattr(problem.costs[limit.platform], "factors", None)
    return factors is None or factors(limit.metric).reduce is np.add


def _summed(problem: Problem) -> list[tuple[str, str]]:
    return [(limit.metric, limit.platform) for limit in problem.limits if _is_sum(problem, limit)]


def _maxima(problem: Problem) -> list[tuple[Factors, float]]:
    """Limits on maxima over the blocks: each block must keep to them, so they are no cost to carry."""
    return [
        (problem.costs[limit.platform].factors(limit.metric), limit.bound)  # type: ignore[attr-defined]
        for limit in problem.limits
        if not _is_sum(problem, limit)
    ]


def _solve(tables: StageTables, bounds: Floats, maxima: list[tuple[Factors, float]]) -> Genes:
    """With one cost, its front within the bound; with several, the optimum (and what could not be told from it)."""
    bounds = bounds * (1 + ROUNDING)
    found: list[tuple[int, Paths]] = []
    incumbent = -np.inf
    work = []
    for resolution in tables.resolutions:
        chain, offset = tables.chain(resolution, maxima), tables.base_score(resolution)
        ahead = ahead_of(chain, len(bounds))
        work.append((most(ahead, bounds) + offset, resolution, chain, ahead, offset))
    for upper, resolution, chain, ahead, offset in sorted(work, key=lambda entry: -entry[0]):
        if len(bounds) > 1:
            if upper < incumbent - ROUNDING * abs(incumbent):
                break  # nor can any that follows
            incumbent = max(incumbent, good_score(chain, bounds, offset))
        paths = merge(chain, bounds, ahead, incumbent - offset)
        if len(paths.score):
            paths = Paths(paths.score + offset, paths.costs, paths.picks)
            incumbent = max(incumbent, float(paths.score.max()))
            found.append((resolution, paths))
    if not found:
        return tables.base[:0]
    genes = np.concatenate([tables.genes(resolution, paths.picks) for resolution, paths in found])
    score = np.concatenate([paths.score for _, paths in found])
    costs = np.concatenate([paths.costs for _, paths in found], axis=1)
    kept = (
        front_order(costs[0], score)
        if len(bounds) == 1
        else np.flatnonzero(score >= score.max() - ROUNDING * abs(score.max()))
    )
    return np.asarray(genes[kept])
