from __future__ import annotations

import numpy as np
import pytest

from ofa.space.search_space import load_space
from search.fronts.find import evolved_front
from search.pareto.front import front_order, hypervolume, thin
from search.problem.limits import Infeasible
from tests.search_toys import every_subnet, make_problem, make_space, one_subnet_space


def test_front_order_is_ascending_without_duplicates() -> None:
    cost = np.array([3.0, 1.0, 2.0, 1.0, 2.5, 3.0])
    top1 = np.array([0.9, 0.5, 0.7, 0.5, 0.6, 0.9])
    order = front_order(cost, top1)
    assert cost[order].tolist() == [1.0, 2.0, 3.0]
    assert top1[order].tolist() == [0.5, 0.7, 0.9]
    assert len(front_order(np.zeros(0), np.zeros(0))) == 0


def test_hypervolume_by_hand_and_by_counting() -> None:
    assert hypervolume(np.array([1.0, 2.0]), np.array([0.5, 0.9]), 4.0, 0.1) == pytest.approx(1 * 0.4 + 2 * 0.8)
    rng = np.random.default_rng(0)
    cost, top1 = rng.random((2, 30))
    x, y = rng.random((2, 200_000))
    dominated = np.zeros(len(x), dtype=bool)
    for c, t in zip(cost, top1, strict=True):
        dominated |= (c <= x) & (t >= y)
    assert hypervolume(cost, top1, 1.0, 0.0) == pytest.approx(dominated.mean(), abs=4e-3)


def test_hypervolume_ignores_points_beyond_the_reference() -> None:
    cost, top1 = np.array([1.0, 9.0]), np.array([0.5, 0.9])
    assert hypervolume(cost, top1, 2.0, 0.0) == pytest.approx(0.5)
    assert hypervolume(cost, top1, 0.5, 0.0) == 0.0


def test_spread_covers_both_ends_evenly() -> None:
    cost = np.geomspace(1, 100, 500)
    top1 = 0.5 + 0.1 * np.log10(cost)
    chosen = thin(cost, top1, 9)
    assert chosen[0] == 0
    assert chosen[-1] == 499
    assert len(chosen) == 9
    assert np.ptp(np.diff(np.log(cost[chosen]))) < 0.05
    assert thin(cost[:4], top1[:4], 9).tolist() == [0, 1, 2, 3]


def test_search_finds_the_whole_front_of_a_tiny_space() -> None:
    problem = make_problem(make_space())
    rows = every_subnet(problem.space)
    cost, top1 = problem.cost("energy_mj", "toy-phone", rows), problem.top1(rows)
    front = evolved_front(problem, "energy_mj", "toy-phone", np.random.default_rng(0), 3000)
    true = front_order(cost, top1)
    full = hypervolume(cost[true], top1[true], cost.max() * 1.01, top1.min() - 0.01)
    found = hypervolume(front.cost, front.top1, cost.max() * 1.01, top1.min() - 0.01)
    assert found >= 0.999 * full
    assert (np.diff(front.cost) > 0).all()
    assert (np.diff(front.top1) > 0).all()


def test_search_beats_random_sampling_everywhere_and_repeats() -> None:
    problem = make_problem(load_space("mbv3-w1.2"))
    cloud = problem.space.sample(8000, np.random.default_rng(5))
    cost, top1 = problem.cost("latency_ms", "toy-phone", cloud), problem.top1(cloud)
    fronts = [evolved_front(problem, "latency_ms", "toy-phone", np.random.default_rng(1), 8000) for _ in range(2)]
    assert np.array_equal(fronts[0].genes, fronts[1].genes)
    assert fronts[0].evaluations <= 8000
    reached = np.interp(cost, fronts[0].cost, fronts[0].top1)
    assert (reached >= top1 - 1e-3).all()


def test_search_keeps_to_limits_and_parts() -> None:
    space = make_space(stages=3)
    part = space.restrict(resolutions=[24])
    problem = make_problem(space, part, params_m=6.0)
    front = evolved_front(problem, "latency_ms", "toy-phone", np.random.default_rng(0), 2000)
    assert (problem.utilisation(front.genes) <= 1).all()
    assert problem.domain.contains(front.genes).all()
    with pytest.raises(Infeasible, match=r"has under 0.01 M parameters"):
        evolved_front(make_problem(space, params_m=0.01), "latency_ms", "toy-phone", np.random.default_rng(0), 100)


def test_one_subnet_has_a_front_of_one() -> None:
    problem = make_problem(one_subnet_space())
    front = evolved_front(problem, "latency_ms", "toy-phone", np.random.default_rng(0), 100)
    assert len(front.genes) == 1
