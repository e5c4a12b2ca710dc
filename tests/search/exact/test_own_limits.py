"""Limits that are just what some subnet costs: what a user sets who takes them from an earlier answer."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from latency_tables import METRICS
from latency_tables.costs.factors import Factors, ShapeGrid
from latency_tables.metrics import least_number
from ofa.space.search_space import Genes, SearchSpace
from search.exact.solve import exact_front
from search.fleet.surface import Surface, exact_surface
from search.predictors.ridge import fit_ridge
from search.problem.limits import Infeasible, Limit
from search.problem.objectives import Objective
from search.problem.problem import Problem
from search.searchers.exact import Exact
from tests.search_toys import Floats, ToyAccuracy, every_subnet, make_space
from tests.space_toys import tiny_space

SPACES = {"toy": make_space(), "tiny": tiny_space()}
PAIRS = [(metric, platform) for metric in ("latency_ms", "energy_mj", "memory_kb") for platform in ("one", "other")]
ROUNDING = 1e-12


class Tenths:
    """Costs of which many are equal: each term is a whole number of tenths, and a binary fraction only comes near it."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.grid, self.seed = ShapeGrid.of(space), seed
        self.factors = cache(self._factors)

    def of(self, metric: str, genes: Genes) -> Floats:
        return self.factors(metric)(genes)

    def _factors(self, metric: str) -> Factors:
        rng = np.random.default_rng([self.seed, *metric.encode()])
        reduce = np.maximum if METRICS[metric].reduce == "max" else np.add
        return self.grid.map(lambda shape, resolution: int(rng.integers(1, 4)) / 10, reduce)


def tenths_problem(name: str, seed: int) -> Problem:
    """Scores are sums of tenths too."""
    space = SPACES[name]
    predictor = ToyAccuracy(space, seed)
    predictor.table = np.round(predictor.table, 1)
    costs = {"one": Tenths(space, seed), "other": Tenths(space, seed + 1000)}
    return Problem(space=space, predictor=predictor, costs=costs)


def own_limits(problem: Problem, rows: Genes, count: int, rng: np.random.Generator) -> list[Limit]:
    """What one subnet costs; now and then a limit is the next number below that."""
    own = rows[rng.integers(len(rows))][None]
    limits = []
    for i in rng.permutation(len(PAIRS))[:count]:
        metric, platform = PAIRS[i]
        cost = float(problem.cost(metric, platform, own)[0])
        limits.append(Limit(metric, cost if rng.random() < 0.9 else float(np.nextafter(cost, 0)), platform))
    return limits


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize(("count", "cases"), [(1, 60), (2, 20), (3, 20)])
def test_the_optimum_within_a_subnets_own_costs(name: str, count: int, cases: int) -> None:
    """Of the exact search, the front and the surface: by force, with costs and scores that tie but for their last digit."""
    rows = every_subnet(SPACES[name])
    for seed in range(cases):
        rng = np.random.default_rng([seed, count])
        free = tenths_problem(name, seed)
        top1 = free.top1(rows)
        limits = own_limits(free, rows, count, rng)
        problem = replace(free, limits=limits)
        pairs = tuple((limit.metric, limit.platform) for limit in limits)
        within = (problem.utilisation(rows) <= 1).all(axis=1)
        best = top1[within].max(initial=-np.inf)
        surface = exact_surface(free, pairs)
        assert isinstance(surface, Surface)
        found = int(surface.lookup(np.array([[limit.bound for limit in limits]]))[0])
        if not within.any():
            assert found == -1
            with pytest.raises(Infeasible):
                Exact().search(problem, rng, 100)
            continue
        result = Exact().search(problem, rng, 100)
        assert (problem.utilisation(result.genes) <= 1).all()
        assert result.top1[0] == pytest.approx(best, abs=ROUNDING)
        assert (problem.utilisation(surface.genes[found][None]) <= 1).all()
        assert surface.top1[found] == pytest.approx(best, abs=ROUNDING)
        sums = [pair for pair in pairs if METRICS[pair[0]].reduce == "sum"]
        if len(sums) == 1:
            front = exact_front(problem, *sums[0])
            assert (problem.utilisation(front.genes) <= 1).all()
            assert front.top1.max() == pytest.approx(best, abs=ROUNDING)


def test_a_subnet_reaches_its_own_accuracy_and_what_a_message_tells_can_be_reached() -> None:
    """Asked for as the least accuracy: a prediction differs in its last digit with the rows that it is computed among."""
    objective = Objective("latency_ms", "one")
    for seed in range(15):
        free = tenths_problem("tiny", seed)
        genes = free.space.sample(60, np.random.default_rng(seed))
        free = replace(free, predictor=fit_ridge(free.space, genes, free.top1(genes)))
        rng = np.random.default_rng(seed)
        rows = every_subnet(free.space)
        bound = float(rng.choice(free.cost("latency_ms", "one", rows)))
        most_accurate = Exact().search(replace(free, limits=[Limit("latency_ms", bound, "one")]), rng, 100)
        cheapest = replace(free, objectives=[objective], min_top1=float(most_accurate.top1[0]))
        assert Exact().search(cheapest, rng, 1000).values[0, 0] <= bound
        with pytest.raises(Infeasible) as caught:
            Exact().search(replace(cheapest, min_top1=0.9999), rng, 1000)
        told = float(str(caught.value).split()[-1])
        assert Exact().search(replace(cheapest, min_top1=told), rng, 1000).top1.min() >= told


@pytest.mark.parametrize(
    ("value", "text"), [(0.87656, "0.8765"), (0.8765, "0.8765"), (0.1, "0.1"), (1.0, "1.0"), (0.99999, "0.9999")]
)
def test_a_lower_limit_is_never_rounded_up(value: float, text: str) -> None:
    assert least_number(value) == text
