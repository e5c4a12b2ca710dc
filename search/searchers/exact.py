"""Objectives beyond accuracy alone, answered from the complete front of accuracy against one cost.

The front holds the answer to three questions: the front itself (accuracy and the cost as objectives), the cheapest subnet of
at least some accuracy (the cost as the objective, `Problem.min_top1`), and the cheapest subnet of all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from latency_tables.metrics import METRICS
from ofa.errors import UserError
from search.exact.solve import exact_front, front_obstacle
from search.problem.problem import ACCURACY, Objective, Problem
from search.searchers.base import Archive, SearchResult


def objectives_obstacle(problem: Problem) -> str | None:
    """Why `ExactObjectives` cannot solve a problem; None when it can."""
    costs = _costs(problem)
    if len(costs) != 1:
        return f"the front has {len(costs)} costs; the exact one has 1"
    pair = (costs[0].metric, costs[0].platform)
    limits = [limit for limit in problem.limits if METRICS[limit.metric].reduce == "sum"]
    other = [limit for limit in limits if (limit.metric, limit.platform) != pair]
    if other:
        return f"the exact front cannot keep to a limit on {other[0].metric} too"
    return front_obstacle(problem, *pair)


@dataclass(frozen=True)
class ExactObjectives:
    """The front of accuracy and one summed cost, or the cheapest subnet that is accurate enough; proven."""

    @property
    def name(self) -> str:
        """As in `ofa query --algorithm`."""
        return "exact"

    def search(self, problem: Problem, rng: np.random.Generator, budget: int) -> SearchResult:
        """See `Searcher.search`; raises `UserError` too where the front cannot be computed, saying why.

        Of a front longer than the budget, evenly spread points are returned, the ends among them.
        """
        archive = Archive(problem, budget, any_objective=True)
        reason = objectives_obstacle(problem)
        if reason:
            raise UserError(f"the exact search cannot solve this: {reason}; use nsga2")
        objective = _costs(problem)[0]
        front = exact_front(replace(problem, objectives=[Objective()]), objective.metric, objective.platform)
        order = np.arange(len(front.genes))
        if len(problem.objectives) == 1:
            enough = front.top1 >= (problem.min_top1 or 0.0)
            order = np.concatenate([order[enough], order[~enough][::-1]])
        elif len(order) > budget:
            order = np.unique(np.linspace(0, len(order) - 1, budget).round().astype(np.int64))
        archive.add(archive.new(front.genes[order]))
        return replace(archive.result(self.name), optimal=True)


def _costs(problem: Problem) -> list[Objective]:
    return [objective for objective in problem.objectives if objective.metric != ACCURACY]
