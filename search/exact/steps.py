"""The exact front against a cost that is a maximum, which no table gives at once: one exact answer after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ofa.space.search_space import Genes
from search.exact.solve import most_accurate
from search.pareto.front import Front, front_order
from search.problem.limits import Infeasible, Limit
from search.problem.problem import Problem

MOST_STEPS = 64
"""Answers after which the front is given up: a space has few distinct peaks of memory, or too many to step through."""


def stepped_front(problem: Problem, metric: str, platform: str) -> Front | None:
    """The complete front of predicted accuracy against `metric`: from the top down, each answer's cost is the next limit.

    Returns:
        The front; None where it would take more than `MOST_STEPS` answers.

    Raises:
        Infeasible: no subnet meets the problem's limits.
        UserError: there are no stage tables.
    """
    rng = np.random.default_rng(0)  # for the message where a limit is out of reach
    others = [limit for limit in problem.limits if (limit.metric, limit.platform) != (metric, platform)]
    found: list[Genes] = []
    asked = problem
    for _ in range(MOST_STEPS):
        try:
            best = most_accurate(asked, rng)[:1]
        except Infeasible:
            if not found:
                raise
            genes = np.concatenate(found)
            cost, top1 = problem.cost(metric, platform, genes), problem.top1(genes)
            order = front_order(cost, top1)
            return Front(
                metric=metric,
                platform=platform,
                genes=genes[order],
                cost=cost[order],
                top1=top1[order],
                evaluations=len(genes),
            )
        found.append(best)
        below = float(np.nextafter(problem.cost(metric, platform, best)[0], 0.0))
        asked = replace(problem, limits=[*others, Limit(metric, below, platform)])
    return None
