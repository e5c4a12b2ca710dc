"""A set of subnets that is dense on the fronts of many platforms, to prepare a bundle that can answer with these alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from latency_tables import Costs
from latency_tables.metrics import METRICS
from ofa.space.search_space import Genes, SearchSpace
from ofa.space.subspace import only
from search.fronts.find import predicted_front
from search.pareto.front import Front, thin
from search.predictors.protocols import Predictor
from search.problem.domain import Domain
from search.problem.problem import Problem
from search.rows import distinct

BUDGET = 5_000
"""Predictions for a front that cannot be computed."""


def dense_fronts(space: SearchSpace, predictor: Predictor, costs: Mapping[str, Costs], count: int, seed: int) -> Genes:
    """The smallest and the largest subnet, and points spread over the fronts of accuracy against each platform's metrics.

    Points are taken closer on each front until `count` is reached or the fronts are used up.

    Returns:
        int8[subnets, genes], distinct; a few more than `count`, or fewer where the fronts have fewer.
    """
    fronts = list(_fronts(space, predictor, costs, seed))
    ends = Domain(space).extremes()
    most = max((len(front.genes) for front in fronts), default=0)
    points = 2
    while True:
        thinned = [front.genes[thin(front.cost, front.top1, points)] for front in fronts]
        genes = distinct(np.concatenate([ends, *thinned]))
        if len(genes) >= count or points >= most:
            return genes
        points += 1


def _fronts(space: SearchSpace, predictor: Predictor, costs: Mapping[str, Costs], seed: int) -> Iterator[Front]:
    everywhere: set[str] = set()
    for name, cost in costs.items():
        known = [size for size in space.resolutions if cost.covered is None or size in cost.resolutions]
        if not known:  # measured at other sizes of image only
            continue
        part = None if len(known) == len(space.resolutions) else only(space, resolutions=known)
        problem = Problem(space=space, predictor=predictor, costs={name: cost}, part=part)
        for metric in cost.metrics:
            if metric in everywhere:
                continue
            if not METRICS[metric].on_platform and part is None:
                everywhere.add(metric)
            yield predicted_front(problem, metric, name, np.random.default_rng(seed), BUDGET)
