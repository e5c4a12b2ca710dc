"""The front of predicted accuracy against one cost: computed exactly where that is possible, else evolved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from latency_tables.metrics import METRICS
from ofa.space.search_space import Genes
from search.exact.solve import exact_front, why_no_front
from search.exact.stage_tables import why_no_tables
from search.exact.steps import stepped_front
from search.pareto.front import Front, front_order
from search.problem.feasibility import closest_of
from search.problem.objectives import Objective
from search.problem.problem import Problem
from search.searchers.nsga2 import Nsga2

FRONT_BUDGET = 30_000


def predicted_front(
    problem: Problem, metric: str, platform: str, rng: np.random.Generator, budget: int = FRONT_BUDGET
) -> Front:
    """The front: exact where predictor and costs allow it, else by evolution with `budget` predictions.

    Raises:
        UserError: the platform does not know the metric.
    """
    if problem.among is not None:
        return _listed_front(problem, problem.among, metric, platform)
    if why_no_front(problem, metric, platform) is None:
        return exact_front(problem, metric, platform)
    if METRICS[metric].reduce == "max" and why_no_tables(problem) is None:
        front = stepped_front(problem, metric, platform)
        if front is not None:
            return front
    return evolved_front(problem, metric, platform, rng, budget)


def _listed_front(problem: Problem, genes: Genes, metric: str, platform: str) -> Front:
    """The front of those subnets of a list that are in the part asked for."""
    inside = genes[problem.domain.contains(genes)]
    if not len(inside):
        raise closest_of(problem, inside)
    cost, top1 = problem.cost(metric, platform, inside), problem.top1(inside)
    front = front_order(cost, top1)
    return Front(
        metric=metric, platform=platform, genes=inside[front], cost=cost[front], top1=top1[front], evaluations=len(inside)
    )


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
