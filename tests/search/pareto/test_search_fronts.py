"""Several objectives: domination, hypervolume, and searchers that find fronts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latency_tables.metrics import least_number
from ofa.errors import UserError
from search.pareto.domination import crowding, front, hypervolume, ranks
from search.problem.limits import Infeasible, Limit
from search.problem.objectives import Objective
from search.problem.problem import Problem
from search.searchers.catalogue import Searcher, find_searcher
from search.searchers.evolution.evolution import Evolution
from search.searchers.nsga2 import Nsga2
from search.searchers.optuna_search import OptunaSearch
from search.searchers.random_search import RandomSearch
from tests.search_toys import ToyAccuracy, ToyCosts, every_subnet, make_problem, make_space, one_subnet_space

LATENCY = Objective("latency_ms", "toy-phone")
ENERGY = Objective("energy_mj", "toy-phone")


def two(problem: Problem) -> Problem:
    return replace(problem, objectives=[Objective(), LATENCY])


def test_constraint_domination_puts_feasible_before_infeasible() -> None:
    losses = np.array([[1.0, 1.0], [0.0, 0.0], [2.0, 2.0], [0.0, 0.0], [0.5, 0.5]])
    violation = np.array([0.0, 0.3, -1.0, 0.1, 0.1])
    assert ranks(losses, violation).tolist() == [0, 3, 1, 2, 2]
    assert ranks(losses, np.ones(5)).tolist() == [0] * 5


def test_crowding_by_hand() -> None:
    losses = np.array([[0.0, 4.0], [1.0, 2.0], [4.0, 0.0], [5.0, 5.0], [3.0, 1.0]])
    distance = crowding(losses, np.array([0, 0, 0, 1, 0]))
    assert distance[[0, 2, 3]].tolist() == [np.inf] * 3
    assert distance[[1, 4]] == pytest.approx([3 / 4 + 3 / 4, 3 / 4 + 2 / 4])


def test_hypervolume_by_hand_and_by_counting() -> None:
    assert hypervolume(np.array([[1.0, 1.0]]), np.array([3.0, 2.0])) == 2.0
    assert hypervolume(np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0]]), np.full(3, 3.0)) == pytest.approx(8 + 3 - 2)
    assert hypervolume(np.array([[4.0, 0.0]]), np.array([3.0, 2.0])) == 0.0
    rng = np.random.default_rng(0)
    for objectives in (2, 3):
        losses = rng.random((200, objectives)) ** 0.5
        points = rng.random((4000, objectives))
        covered = (losses[:, None] <= points).all(axis=2).any(axis=0).mean()
        assert hypervolume(losses, np.ones(objectives)) == pytest.approx(covered, abs=0.02)
    with pytest.raises(ValueError, match="for 2 or 3 objectives; there are 4"):
        hypervolume(np.zeros((1, 4)), np.ones(4))


SEARCHERS = [Nsga2(), OptunaSearch(sampler="RandomSampler", batch=50), RandomSearch()]


@pytest.mark.parametrize("searcher", [*SEARCHERS, find_searcher("exact", two(make_problem(make_space())))[0]])
def test_fronts_are_nondominated_feasible_and_reproducible(searcher: Searcher) -> None:
    problem = two(make_problem(make_space(stages=3), latency_ms=13.0))
    result, again = (searcher.search(problem, np.random.default_rng(3), 200) for _ in range(2))
    assert np.array_equal(front(result.values * problem.signs), np.arange(len(result.genes)))
    assert len(np.unique(result.genes, axis=0)) == len(result.genes) > 5
    assert np.array_equal(result.values, problem.values(result.genes, problem.top1(result.genes)))
    assert (problem.utilisation(result.genes) <= 1).all()
    assert (np.diff(result.top1) <= 0).all()
    assert np.array_equal(result.genes, again.genes)
    assert result.history == again.history
    volumes = [volume for _, volume in result.history]
    assert volumes == sorted(volumes)
    assert result.reference is not None
    own = hypervolume(result.values * problem.signs, result.reference * problem.signs)
    assert result.history[-1] == (result.evaluations, pytest.approx(own))
    assert result.evaluations <= 200
    lone = replace(two(make_problem(one_subnet_space())), limits=[])
    assert len(searcher.search(lone, np.random.default_rng(0), 200).genes) == 1
    with pytest.raises(Infeasible, match="the fastest takes"):
        searcher.search(replace(problem, limits=[Limit("latency_ms", 0.5, "toy-phone")]), np.random.default_rng(0), 200)


def test_nsga2_comes_near_the_true_front_of_two_and_three_objectives() -> None:
    space = make_space(stages=3)
    part = space.restrict(expands=[2, 4])
    free = make_problem(space, part)
    rows = space.encode(part.decode(every_subnet(part)))
    for objectives, share in (([Objective(), LATENCY], 0.99), ([Objective(), LATENCY, ENERGY], 0.93)):
        problem = replace(free, objectives=objectives)
        losses = problem.values(rows, problem.top1(rows)) * problem.signs
        reference = losses.max(axis=0)
        result = Nsga2().search(problem, np.random.default_rng(0), 2500)
        found = hypervolume(result.values * problem.signs, reference)
        assert found >= share * hypervolume(losses[front(losses)], reference)
    lucky = RandomSearch().search(problem, np.random.default_rng(0), 2500)
    assert hypervolume(lucky.values * problem.signs, reference) < found


def test_exact_front_is_complete_and_auto_takes_it() -> None:
    problem = two(make_problem(make_space(), latency_ms=9.0))
    searcher, why = find_searcher("auto", problem)
    assert why == "auto: predictor and cost are sums over stages, so the whole front can be computed"
    result = searcher.search(problem, np.random.default_rng(0), 20_000)
    assert result.optimal
    rows = every_subnet(problem.space)
    rows = rows[problem.utilisation(rows)[:, 0] <= 1]
    losses = problem.values(rows, problem.top1(rows)) * problem.signs
    true = losses[front(losses)]
    assert np.sort(result.values[:, 1]) == pytest.approx(np.sort(true[:, 1]))
    few = searcher.search(problem, np.random.default_rng(0), 5)
    assert len(few.genes) == 5 == few.evaluations
    assert {0, len(result.genes) - 1} <= {result.genes.tolist().index(row) for row in few.genes.tolist()}


def test_auto_takes_nsga2_elsewhere_and_says_why() -> None:
    problem = replace(make_problem(make_space()), objectives=[Objective(), LATENCY, ENERGY])
    searcher, why = find_searcher("auto", problem)
    assert searcher.name == "nsga2"
    assert why == "auto: not exact, because 2 costs are objectives; the exact front has one; nsga2 evolves the whole front"
    limited = replace(two(problem), limits=[Limit("energy_mj", 2.0, "toy-phone")])
    assert "cannot keep to a limit on energy_mj of toy-phone too" in find_searcher("auto", limited)[1]
    with pytest.raises(
        UserError, match="the exact search cannot solve this: 2 costs are objectives; the exact front has one; use"
    ):
        find_searcher("exact", problem)[0].search(problem, np.random.default_rng(0), 100)


def test_a_searcher_of_accuracy_alone_refuses_other_objectives() -> None:
    problem = two(make_problem(make_space()))
    with pytest.raises(UserError, match="for accuracy alone; the objectives are accuracy, latency on toy-phone: use nsga2"):
        Evolution().search(problem, np.random.default_rng(0), 100)


def test_the_cheapest_subnet_that_is_accurate_enough() -> None:
    free = replace(make_problem(make_space()), objectives=[LATENCY])
    rows = every_subnet(free.space)
    top1 = free.top1(rows)
    problem = replace(free, min_top1=float(np.quantile(top1, 0.7)))
    cheapest = free.cost("latency_ms", "toy-phone", rows[top1 >= problem.min_top1]).min()
    exact = find_searcher("auto", problem)[0].search(problem, np.random.default_rng(0), 100)
    assert exact.values[0, 0] == pytest.approx(cheapest)
    assert exact.optimal
    evolved = Nsga2().search(problem, np.random.default_rng(0), 3000)
    assert evolved.values[0, 0] <= 1.02 * cheapest
    assert (evolved.top1 >= problem.min_top1).all()
    message = rf"accuracy of 0.999; the most accurate has {least_number(top1.max())}$"
    for searcher in (Nsga2(), find_searcher("exact", problem)[0]):
        with pytest.raises(Infeasible, match=message) as caught:
            searcher.search(replace(problem, min_top1=0.999), np.random.default_rng(0), 3000)
        assert caught.value.attainable == {}


def test_nsga2_respects_limits_on_other_platforms() -> None:
    space = make_space(stages=3)
    costs = {"toy-phone": ToyCosts(space, 1), "other": ToyCosts(space, 5)}
    limits = [Limit("latency_ms", 10.0, "other"), Limit("memory_kb", 1.9, "toy-phone")]
    problem = Problem(
        space=space, predictor=ToyAccuracy(space, 2), costs=costs, limits=limits, objectives=[Objective(), LATENCY]
    )
    result = Nsga2().search(problem, np.random.default_rng(0), 500)
    assert (costs["other"].of("latency_ms", result.genes) <= 10.0).all()
    assert (costs["toy-phone"].of("memory_kb", result.genes) <= 1.9).all()


def test_wrong_objectives_are_named() -> None:
    with pytest.raises(UserError, match="objective 'speed'; known are top1, latency_ms, energy_mj"):
        Objective("speed", "toy-phone")
    with pytest.raises(UserError, match="objective latency_ms: platform is ''; name one of the problem's"):
        Objective("latency_ms")
    with pytest.raises(UserError, match="objective top1: platform is 'toy-phone'; accuracy is the same on all"):
        Objective("top1", "toy-phone")
    free = make_problem(make_space())
    with pytest.raises(UserError, match="objective latency on moon: the problem has no such platform, but toy-phone"):
        replace(free, objectives=[Objective("latency_ms", "moon")])
    for wrong in ([], [Objective(), Objective()]):
        with pytest.raises(UserError, match="give at least one, and each only once"):
            replace(free, objectives=wrong)
    with pytest.raises(UserError, match="min_top1 is 75; must be above 0 and at most 1"):
        replace(free, min_top1=75.0)
