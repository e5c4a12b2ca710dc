"""Feasible subnets, and the attainable values where limits cannot be met."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latency_tables.metrics import METRICS, least_number, limit_number, number
from ofa.space.search_space import Genes
from search.arrays import Floats
from search.problem.limits import Infeasible, Limit
from search.problem.problem import Problem
from search.rows import distinct

DESCENTS = 16
"""Rows from which coordinate descent starts."""
MOST_STEPS = 200
"""Most steps of a coordinate descent."""
SAMPLED = 2048
"""Size of each of the two random samples that are searched for feasible subnets first."""


def feasible_seeds(problem: Problem, rng: np.random.Generator) -> Genes:
    """Some feasible subnets, int8[n, genes] with n >= 1: from a sample of all sizes, or by descending the violation.

    Raises:
        Infeasible: no feasible subnet was found; the message gives the attainable values.
    """
    domain = problem.domain
    scouts = distinct(np.concatenate([domain.extremes(), domain.sample(SAMPLED, rng), domain.sample_sizes(SAMPLED, rng)]))
    feasible = violation(problem, scouts) <= 0
    if feasible.any():
        return scouts[feasible]
    ends = descend(problem, scouts, lambda genes: _steepness(problem, genes))
    feasible = violation(problem, ends) <= 0
    if feasible.any():
        return ends[feasible]
    raise infeasible(problem, scouts, ends)


def violation(problem: Problem, genes: Genes) -> Floats:
    """Sum over the limits of the relative excess, float64[n]; 0 for a feasible subnet."""
    return np.asarray(np.maximum(problem.utilisation(genes) - 1, 0).sum(axis=1))


def descend(problem: Problem, starts: Genes, score: Callable[[Genes], Floats]) -> Genes:
    """Coordinate descent: from the best `DESCENTS` rows, move to the best one-gene neighbour until none is better.

    A step lowers a row's score, or ends that row's descent; there are at most `MOST_STEPS` of them. Returns the rows
    reached, int8[n, genes], best first.
    """
    order = np.argsort(score(starts), kind="stable")[:DESCENTS]
    current = starts[order]
    best = score(current)
    moving = np.ones(len(current), dtype=np.bool_)
    for _ in range(MOST_STEPS):
        for row in np.flatnonzero(moving):
            around = problem.domain.neighbours(current[row : row + 1])
            scores = score(around) if len(around) else np.array([np.inf])
            lowest = int(np.argmin(scores))
            moving[row] = scores[lowest] < best[row]
            if moving[row]:
                current[row], best[row] = around[lowest], scores[lowest]
        if not moving.any():
            break
    return current[np.argsort(best, kind="stable")]


def cheapest(problem: Problem, limit: Limit, starts: Genes) -> float:
    """The lowest value of a limit's metric that coordinate descent reaches from `starts`."""

    def cost(genes: Genes) -> Floats:
        return problem.cost(limit.metric, limit.platform, genes)

    return float(cost(descend(problem, starts, cost)).min())


def infeasible(problem: Problem, scouts: Genes, closest: Genes) -> Infeasible:
    """The exception for limits that no subnet meets: one of them alone, or all of them together."""
    alone = {limit: cheapest(problem, limit, np.concatenate([closest, scouts])) for limit in problem.limits}
    violated = {limit: value for limit, value in alone.items() if value > limit.bound}
    if violated:
        return Infeasible("; ".join(_sentence(problem, limit, value) for limit, value in violated.items()), violated)
    who = f"no subnet of {problem.space.name}"
    return _beyond(problem, who, f" together{_sure(problem)}, though each alone is attainable", closest[:1])


def closest_of(problem: Problem, genes: Genes) -> Infeasible:
    """The exception for limits that none of a list of subnets meets."""
    if not len(genes):
        return Infeasible(f"none of the subnets that can be answered is in the part of {problem.space.name} asked for", {})
    closest = genes[violation(problem, genes).argsort(kind="stable")[:1]]
    return _beyond(problem, f"none of the {len(genes)} subnets that can be answered", _sure(problem), closest)


def _beyond(problem: Problem, who: str, how: str, closest: Genes) -> Infeasible:
    """The exception for limits that cannot be met together; it has the costs of the closest subnet, int8[1, genes]."""
    values = {limit: float(problem.cost(limit.metric, limit.platform, closest)[0]) for limit in problem.limits}
    wanted = " and ".join(str(limit) for limit in problem.limits)
    reached = " and ".join(METRICS[limit.metric].amount(limit_number(value)) for limit, value in values.items())
    return Infeasible(f"{who} has {wanted}{how}; the closest has {reached}", values)


def not_accurate_enough(problem: Problem, best: float) -> Infeasible:
    """The exception for a `min_top1` that nothing reaches; `best` is the highest accuracy found within the limits."""
    within = " within " + " and ".join(str(limit) for limit in problem.limits) if problem.limits else ""
    assert problem.min_top1 is not None
    wanted = f"no subnet of {problem.space.name}{within} is found with a predicted accuracy of {_asked(problem.min_top1)}"
    return Infeasible(f"{wanted}; the most accurate has {least_number(best)}", {})


def _sentence(problem: Problem, limit: Limit, value: float) -> str:
    metric = METRICS[limit.metric]
    place = f" on {limit.platform}" if metric.on_platform else ""
    wanted = f"no subnet of {problem.space.name} {metric.under} {metric.amount(_asked(limit.bound))}{place}{_sure(problem)}"
    return f"{wanted}; the {metric.cheapest} {metric.amount(limit_number(value))}"


def _asked(value: float) -> str:
    """A limit as text, as short as possible without rounding it."""
    return number(value) if float(number(value)) == value else str(value)


def _sure(problem: Problem) -> str:
    return "" if problem.confidence is None else f" at {problem.confidence:.0%} confidence"


def _steepness(problem: Problem, genes: Genes) -> Floats:
    """The violation, with a little of the mean utilisation to choose a direction where the violation alone is flat."""
    used = problem.utilisation(genes)
    return np.asarray(np.maximum(used - 1, 0).sum(axis=1) + 1e-3 * used.mean(axis=1))
