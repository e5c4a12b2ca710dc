"""Exact search: the best subnet for a stage-additive model, and the whole front of accuracy against one cost.

A subnet is a path: resolution, stem, stage after stage, with the width between two stages as the state. Among paths that
reach the same state, one that another dominates in score and costs is dropped, because every continuation is open to both
(Bellman's principle). With one cost, the paths left after the last stage are the complete front. With several limits, a path
is also dropped when its best completion within some single limit does not reach the score of a known subnet. Nothing else is
dropped, so the answer is optimal for the model; the tests compare it with `scipy.optimize.milp`.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from latency_tables.costs.factors import Factors
from latency_tables.metrics import METRICS
from ofa.errors import UserError
from ofa.space.search_space import Genes
from search.arrays import Floats
from search.exact.chains import Paths, merge
from search.exact.pruning import Pruning, good_score
from search.exact.stage_tables import StageTables, why_no_tables
from search.pareto.front import Front, front_order
from search.pareto.nondominated import nondominated
from search.problem.feasibility import feasible_seeds
from search.problem.limits import Limit
from search.problem.problem import Problem


def most_accurate(problem: Problem, rng: np.random.Generator) -> Genes:
    """Subnets within the limits, the most accurate first: int8[n, genes], n >= 1.

    Raises:
        Infeasible: no subnet meets the limits.
        UserError: there are no stage tables.
    """
    _check(why_no_tables(problem))
    limits = [limit for limit in problem.limits if METRICS[limit.metric].reduce != "max" or _is_composed(problem, limit)]
    pairs = [(limit.metric, limit.platform) for limit in limits]
    tables = StageTables(problem, pairs or [("macs_m", next(iter(problem.costs)))])  # among equals, the lightest
    genes = _solve(tables, _bounds(problem, limits) if limits else np.array([np.inf]), _maxima(problem))
    return genes if len(genes) else _refuse(problem, rng)


def exact_front(problem: Problem, metric: str, platform: str) -> Front:
    """The complete front of predicted accuracy against one summed cost; memory may be limited, nothing else.

    Raises:
        Infeasible: no subnet meets the limits.
        UserError: `why_no_front`.
    """
    _check(why_no_front(problem, metric, platform))
    own = min([limit.bound for limit in problem.limits if _pair(limit) == (metric, platform)], default=np.inf)
    memory = [limit for limit in problem.limits if _is_composed(problem, limit)]
    tables = StageTables(problem, [(metric, platform), *map(_pair, memory)])
    genes = _solve(tables, np.append(own, _bounds(problem, memory)), _maxima(problem), front=True)
    if not len(genes):
        _refuse(problem, np.random.default_rng(0))
    cost, top1 = problem.cost(metric, platform, genes), problem.top1(genes)
    order = front_order(cost, top1)
    return Front(
        metric=metric, platform=platform, genes=genes[order], cost=cost[order], top1=top1[order], evaluations=len(genes)
    )


def why_no_front(problem: Problem, metric: str, platform: str) -> str | None:
    """Reason why `exact_front` cannot give a front; None when it can."""
    if METRICS[metric].reduce != "sum":
        return f"the exact front needs a cost that is a sum; {metric} is a maximum"
    sums = [_pair(limit) for limit in problem.limits if METRICS[limit.metric].reduce == "sum"]
    others = [pair for pair in sums if pair != (metric, platform)]
    if others:
        other = f"a limit on {others[0][0]} of {others[0][1]}"
        return f"the exact front has one cost, {metric} on {platform}; it cannot keep to {other} too"
    return why_no_tables(problem)


def _refuse(problem: Problem, rng: np.random.Generator) -> NoReturn:
    """Raise `Infeasible`, with the attainable values in its message."""
    feasible_seeds(problem, rng)
    raise AssertionError("a feasible subnet exists that the exact search has not found")


def _check(reason: str | None) -> None:
    if reason:
        raise UserError(f"the exact search cannot solve this: {reason}")


def _pair(limit: Limit) -> tuple[str, str]:
    return limit.metric, limit.platform


def _is_composed(problem: Problem, limit: Limit) -> bool:
    """True for a limit on a composed cost: the memory of a runtime that keeps data beside feature maps."""
    return not isinstance(problem.costs[limit.platform].factors(limit.metric), Factors)


def _bounds(problem: Problem, limits: list[Limit]) -> Floats:
    """The bounds of the alternatives of each limit, as `StageTables.limited` has them."""
    counts = [len(problem.costs[limit.platform].factors(limit.metric).alternatives) for limit in limits]
    return np.repeat([limit.bound for limit in limits], counts)


def _maxima(problem: Problem) -> list[tuple[Factors, float]]:
    """Limits on costs that are maxima over blocks: each block alone must meet them, so paths need not carry these costs.

    The maxima of a composed cost must meet its limit too.
    """
    found = []
    for limit in problem.limits:
        alternatives = problem.costs[limit.platform].factors(limit.metric).alternatives
        parts = [part for parts in alternatives for part in parts]
        found += [(part, limit.bound) for part in parts if part.reduce is np.maximum]
    return found


def _solve(tables: StageTables, bounds: Floats, maxima: list[tuple[Factors, float]], front: bool = False) -> Genes:
    """Nondominated subnets within the bounds, best first: with one cost all of them, with several the optimum and more.

    With `front`, all of those that are nondominated in the first cost.
    """
    floored, several = tables.floored(bounds), len(bounds) > 1 and not front
    work = []
    for resolution in tables.resolutions:
        chain = tables.chain(resolution, maxima)
        pruning = Pruning(chain, floored)
        work.append((pruning.upper_bound(), resolution, chain, pruning))
    incumbent = -np.inf
    found: list[tuple[Genes, Paths]] = []
    for upper, resolution, chain, pruning in sorted(work, key=lambda entry: -entry[0]):
        if upper == -np.inf or (several and upper < incumbent):
            break  # this resolution cannot improve the answer, nor can those that follow
        if several:
            pruning.incumbent = incumbent = max(incumbent, good_score(chain, bounds))
        paths = merge(chain, pruning)
        incumbent = max(incumbent, float(paths.score.max(initial=-np.inf)))
        found.append((tables.genes(resolution, paths.picks), paths))
    if not found:
        return tables.base[:0]
    score = np.concatenate([paths.score for _, paths in found])
    costs = np.concatenate([paths.costs for _, paths in found], axis=1)[: 1 if front else None]
    return np.concatenate([genes for genes, _ in found])[nondominated(score, costs)]
