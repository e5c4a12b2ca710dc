"""The exact search against brute force and against mixed-integer linear programming, which knows nothing of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from latency_tables import load_platform
from ofa.errors import UserError
from ofa.space.search_space import SearchSpace, load_space
from search.exact.solve import exact_front
from search.exact.stage_tables import StageTables
from search.pareto.front import front_order
from search.predictors.ridge import RidgePredictor, fit_ridge
from search.problem.limits import Infeasible, Limit
from search.problem.problem import Problem
from search.searchers.catalogue import find_searcher
from search.searchers.exact import Exact
from tests.search_toys import ToyAccuracy, ToyCosts, every_subnet, make_problem, make_space

PLATFORM = "edge-int8"


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ridge_problem(space: SearchSpace, **bounds: float) -> Problem:
    """A fitted predictor with interactions inside stages, and a platform that ships."""
    genes = space.sample(300, rng(3))
    smooth = ToyAccuracy(space, seed=3).top1(genes)
    predictor = fit_ridge(space, genes, smooth - 0.02 * (genes.sum(axis=1) / genes.sum(axis=1).max()) ** 2)
    assert isinstance(predictor, RidgePredictor)
    limits = [Limit(metric, bound, PLATFORM) for metric, bound in bounds.items()]
    return Problem(space=space, predictor=predictor, costs={PLATFORM: load_platform(PLATFORM).costs(space)}, limits=limits)


def by_milp(problem: Problem, metrics: list[str], bounds: list[float]) -> float:
    """The best score: one binary per resolution, width pair and option; flow between the widths; a row per limit."""
    tables = StageTables(problem, [(metric, PLATFORM) for metric in metrics])
    gains, costs, nodes = [], [[] for _ in metrics], []
    index: dict[tuple[int, int, int], int] = {}
    rows, columns, values = [], [], []

    def node(key: tuple[int, int, int]) -> int:
        return index.setdefault(key, len(index))

    for resolution in tables.resolutions:
        chain = tables.chain(resolution, [])
        for part, scores in enumerate(chain.scores):
            for before, width, option in np.argwhere(chain.allowed[part]).tolist():
                gains.append(scores[before, width, option])
                for own, tabulated in zip(costs, chain.costs, strict=True):
                    own.append(tabulated[part][before, width, option])
                nodes.append((resolution, part, before, width))
    last = len(tables.options) - 1
    for variable, (resolution, part, before, width) in enumerate(nodes):
        start = (-1, 0, 0) if part == 0 else (resolution, part, before)
        rows += [node(start)]
        columns += [variable]
        values += [1.0]
        if part < last:
            rows += [node((resolution, part + 1, width))]
            columns += [variable]
            values += [-1.0]
    flow = np.zeros(len(index))
    flow[index[-1, 0, 0]] = 1.0
    constraints = [
        LinearConstraint(coo_array((values, (rows, columns)), shape=(len(index), len(nodes))).tocsr(), flow, flow)
    ]
    constraints += [LinearConstraint(np.array(own)[None], -np.inf, bound) for own, bound in zip(costs, bounds, strict=True)]
    found = milp(
        -np.array(gains),
        integrality=np.ones(len(gains)),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    assert found.success, found.message
    return float(-found.fun)


@pytest.mark.parametrize("stages", [1, 2])
def test_the_front_is_the_one_of_brute_force(stages: int) -> None:
    space = make_space(stages=stages, depths=(1, 2, 3) if stages == 1 else (1, 2))
    problem = ridge_problem(space)
    rows = every_subnet(space)
    cost, top1 = problem.cost("latency_ms", PLATFORM, rows), problem.top1(rows)
    front = exact_front(problem, "latency_ms", PLATFORM)
    assert len(front.genes) > 5
    assert (np.diff(front.cost) > 0).all()
    assert (np.diff(front.top1) > 0).all()
    for value in cost[front_order(cost, top1)]:
        assert front.top1[front.cost <= value].max() == pytest.approx(top1[cost <= value].max(), abs=1e-12)


def elastic_widths() -> SearchSpace:
    """A part of the published ResNet50 with elastic stem and stage widths, small enough for the MILP."""
    space = load_space("resnet50")
    return space.restrict(resolutions=[128, 192], depths=[2, 4], expands=[0.2, 0.35], widths=2)


@pytest.mark.parametrize("share", np.linspace(0.08, 0.9, 5).round(3).tolist())
def test_equals_milp_with_elastic_widths(share: float) -> None:
    space = elastic_widths()
    free = ridge_problem(space)
    ends = free.cost("latency_ms", PLATFORM, free.domain.extremes())
    bound = float(ends[0] + share * (ends[1] - ends[0]))
    problem = ridge_problem(space, latency_ms=bound)
    result = Exact().search(problem, rng(), 5000)
    assert result.optimal
    assert problem.utilisation(result.genes).max() <= 1
    score = problem.predictor.score(result.genes[:1])[0]  # type: ignore[attr-defined]
    assert score == pytest.approx(by_milp(problem, ["latency_ms"], [bound]), abs=1e-9)


@pytest.mark.parametrize("share", [0.15, 0.4, 0.7])
def test_equals_milp_under_two_and_three_limits(share: float) -> None:
    space = elastic_widths()
    free = ridge_problem(space)
    bounds = {}
    for metric, part in (("latency_ms", share), ("energy_mj", share * 0.9), ("params_m", share * 0.8)):
        low, high = free.cost(metric, PLATFORM, free.domain.extremes())
        bounds[metric] = float(low + part * (high - low))
    for count in (2, 3):
        given = dict(list(bounds.items())[:count])
        problem = ridge_problem(space, **given)
        result = Exact().search(problem, rng(), 5000)
        assert problem.utilisation(result.genes).max() <= 1
        score = problem.predictor.score(result.genes[:1])[0]  # type: ignore[attr-defined]
        assert score == pytest.approx(by_milp(problem, list(given), list(given.values())), abs=1e-9)


@pytest.mark.parametrize(
    "bounds",
    [
        {"latency_ms": 11.0, "energy_mj": 1.7},
        {"latency_ms": 12.0, "memory_kb": 1.6},
        {"weights_kb": 11.0},
        {"weights_kb": 11.5, "memory_kb": 1.6, "latency_ms": 12.0},
    ],
)
def test_equals_brute_force_under_a_second_limit(bounds: dict[str, float]) -> None:
    problem = make_problem(make_space(), **bounds)
    rows = every_subnet(problem.space)
    feasible = (problem.utilisation(rows) <= 1).all(axis=1)
    assert 0 < feasible.sum() < len(rows)
    result = Exact().search(problem, rng(), 3000)
    assert result.top1[0] == pytest.approx(problem.top1(rows[feasible]).max(), abs=1e-12)


def two_phones(*limits: Limit) -> Problem:
    """Two platforms that cost differently."""
    space = make_space()
    costs = {"toy-phone": ToyCosts(space, seed=1), "old-phone": ToyCosts(space, seed=5)}
    return Problem(space=space, predictor=ToyAccuracy(space, seed=2), costs=costs, limits=limits)


@pytest.mark.parametrize(
    "limits",
    [
        [Limit("latency_ms", 11.0, "toy-phone"), Limit("latency_ms", 10.5, "old-phone")],
        [Limit("latency_ms", 12.0, "toy-phone"), Limit("memory_kb", 1.7, "old-phone"), Limit("energy_mj", 1.8, "old-phone")],
        [Limit("latency_ms", 11.5, "old-phone"), Limit("memory_kb", 1.6, "toy-phone"), Limit("memory_kb", 1.8, "old-phone")],
    ],
)
def test_limits_on_several_platforms(limits: list[Limit]) -> None:
    problem = two_phones(*limits)
    rows = every_subnet(problem.space)
    within = problem.utilisation(rows) <= 1
    feasible = within.all(axis=1)
    assert 0 < feasible.sum() < within[:, :-1].all(axis=1).sum()  # the last limit rules something out too
    assert find_searcher("auto", problem)[0].name == "exact"
    result = Exact().search(problem, rng(), 3000)
    assert result.optimal
    assert (problem.utilisation(result.genes) <= 1).all()
    assert result.top1[0] == pytest.approx(problem.top1(rows[feasible]).max(), abs=1e-12)


def test_names_the_platform_that_it_cannot_handle() -> None:
    both = Limit("latency_ms", 11.0, "toy-phone"), Limit("latency_ms", 10.5, "old-phone")
    problem = two_phones(*both)
    with pytest.raises(
        UserError, match="one cost, latency_ms on toy-phone; it cannot keep to a limit on latency_ms of old-phone"
    ):
        exact_front(problem, "latency_ms", "toy-phone")
    with pytest.raises(Infeasible, match=r"^no subnet of toy runs under 0.5 ms on toy-phone; the fastest takes [\d.]+ ms$"):
        Exact().search(two_phones(Limit("latency_ms", 0.5, "toy-phone"), both[1]), rng(), 100)


def test_the_front_with_limits() -> None:
    problem = make_problem(make_space(), latency_ms=11.0, memory_kb=1.6)
    front = exact_front(problem, "latency_ms", "toy-phone")
    assert (problem.utilisation(front.genes) <= 1).all()
    assert front.top1[-1] == pytest.approx(Exact().search(problem, rng(), 3000).top1[0])
    with pytest.raises(
        UserError, match="has one cost, latency_ms on toy-phone; it cannot keep to a limit on energy_mj of toy-phone"
    ):
        exact_front(make_problem(make_space(), energy_mj=2.0), "latency_ms", "toy-phone")
    with pytest.raises(UserError, match="needs a cost that is a sum; memory_kb is a maximum"):
        exact_front(problem, "memory_kb", "toy-phone")
    with pytest.raises(Infeasible, match="the fastest takes"):
        exact_front(make_problem(make_space(), latency_ms=0.5), "latency_ms", "toy-phone")


def test_auto_picks_exact_where_it_applies_and_says_why() -> None:
    problem = make_problem(make_space(), latency_ms=11.0)
    searcher, why = find_searcher("auto", problem)
    assert searcher.name == "exact"
    assert "sums over stages" in why

    class Opaque:
        def top1(self, genes: np.ndarray) -> np.ndarray:
            return problem.predictor.top1(genes)

    space = problem.space
    opaque = Problem(space=space, predictor=Opaque(), costs=problem.costs, limits=problem.limits)
    searcher, why = find_searcher("auto", opaque)
    assert searcher.name == "evolution"
    assert "not exact, because the predictor is not stage-additive" in why
    with pytest.raises(UserError, match="the exact search cannot solve this: the predictor is not stage-additive"):
        Exact().search(opaque, rng(), 100)


def test_scores_by_stage_add_up() -> None:
    """What the tables assume of the ridge predictor: score = score(base) + the stages' contributions, at any resolution."""
    space = load_space("fmnist")
    problem = ridge_problem(space)
    predictor = problem.predictor
    assert isinstance(predictor, RidgePredictor)
    genes, base = space.sample(60, rng(5)), np.zeros((1, len(space.genes)), dtype=np.int8)
    total = np.zeros(len(genes))
    for columns in (space.columns.stem, *map(space.columns.stage, range(len(space.stages)))):
        rows = np.repeat(base, len(genes), axis=0)
        rows[:, columns] = genes[:, columns]
        total += predictor.stage_scores(rows, base)[genes[:, 0], np.arange(len(genes))]
    at = np.repeat(base, len(genes), axis=0)
    at[:, 0] = genes[:, 0]
    assert predictor.score(at) + total == pytest.approx(predictor.score(genes), abs=1e-9)
    assert predictor.top1(genes) == pytest.approx(1 / (1 + np.exp(-predictor.score(genes))), abs=1e-12)
