"""Exact search: problems whose optimum for the predictor can be computed.

The most accurate subnet within any limits is computed directly. The complete front of accuracy against one cost answers
three more questions: the front itself (accuracy and the cost are the objectives), the cheapest subnet of at least some
accuracy (the cost is the objective, with `Problem.min_top1`), and the cheapest subnet of all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ofa.errors import UserError
from ofa.space.search_space import Genes
from search.evaluations.archive import Archive
from search.evaluations.log import SearchLog
from search.evaluations.result import SearchResult
from search.exact.solve import exact_front, most_accurate, why_no_front
from search.exact.stage_tables import why_no_tables
from search.problem.objectives import ACCURACY, Objective
from search.problem.problem import Problem


def why_not_exact(problem: Problem) -> str | None:
    """Reason why `Exact` cannot solve a problem; None when it can."""
    if problem.accuracy_only:
        return why_no_tables(problem)
    costs = _costs(problem)
    if len(costs) != 1:
        return f"{len(costs)} costs are objectives; the exact front has one"
    return why_no_front(problem, costs[0].metric, costs[0].platform)


@dataclass(frozen=True)
class Exact:
    """Dynamic programming over stages; needs a stage-additive predictor, and at most one cost among the objectives."""

    name: ClassVar[str] = "exact"

    def search(self, problem: Problem, rng: np.random.Generator, budget: int, log: SearchLog | None = None) -> SearchResult:
        """See `Searcher.search`; also raises `UserError` with the reason where the answer cannot be computed.

        A front longer than the budget is thinned to evenly spread points, with both of its ends.
        """
        archive = Archive(problem, budget, log, any_objective=True)
        if reason := why_not_exact(problem):
            other = "evolution" if problem.accuracy_only else "nsga2"
            raise UserError(f"the exact search cannot solve this: {reason}; use {other}")
        if problem.accuracy_only:
            best = most_accurate(problem, rng)
            archive.add(archive.new(best))
            archive.add(archive.new(problem.domain.neighbours(best[:1])))  # alternatives, where candidates are measured
        else:
            archive.add(archive.new(_from_front(problem, budget)))
        return replace(archive.result(self.name), optimal=True)


def _from_front(problem: Problem, budget: int) -> Genes:
    """The points of the front that answer a problem with one cost among its objectives, best first, thinned to `budget`."""
    objective = _costs(problem)[0]
    front = exact_front(replace(problem, objectives=[Objective()]), objective.metric, objective.platform)
    order = np.arange(len(front.genes))
    if len(problem.objectives) == 1:
        enough = front.top1 >= problem.least_top1
        order = np.concatenate([order[enough], order[~enough][::-1]])
    elif len(order) > budget:
        order = np.unique(np.linspace(0, len(order) - 1, budget).round().astype(np.int64))
    return front.genes[order]


def _costs(problem: Problem) -> list[Objective]:
    return [objective for objective in problem.objectives if objective.metric != ACCURACY]
