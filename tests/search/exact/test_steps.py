"""The exact front against peak memory: equal to every subnet's, within other limits too, and what the front asks for."""

from __future__ import annotations

import numpy as np
import pytest

from search.exact import steps
from search.exact.steps import stepped_front
from search.fronts.find import predicted_front
from search.pareto.front import front_order
from search.problem.limits import Infeasible
from tests.search_toys import every_subnet, make_problem, make_space

PHONE = "toy-phone"


@pytest.mark.parametrize("bounds", [{}, {"latency_ms": 11.0}, {"memory_kb": 1.6}])
def test_equals_the_front_of_every_subnet(bounds: dict[str, float]) -> None:
    problem = make_problem(make_space(), **bounds)
    genes = every_subnet(problem.space)
    genes = genes[(problem.utilisation(genes) <= 1).all(axis=-1)]
    cost, top1 = problem.cost("memory_kb", PHONE, genes), problem.top1(genes)
    best = front_order(cost, top1)
    front = stepped_front(problem, "memory_kb", PHONE)
    assert front is not None
    assert len(best) > 1
    np.testing.assert_array_equal(front.cost, cost[best])
    np.testing.assert_allclose(front.top1, top1[best], atol=1e-12)


def test_a_front_of_memory_is_exact_where_it_can_be() -> None:
    problem = make_problem(make_space())
    front = predicted_front(problem, "memory_kb", PHONE, np.random.default_rng(0), budget=2)
    expected = stepped_front(problem, "memory_kb", PHONE)
    assert expected is not None
    np.testing.assert_array_equal(front.genes, expected.genes)


def test_too_many_steps_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MOST_STEPS", 1)
    assert stepped_front(make_problem(make_space()), "memory_kb", PHONE) is None


def test_a_limit_out_of_reach_is_told() -> None:
    with pytest.raises(Infeasible, match="no subnet of toy"):
        stepped_front(make_problem(make_space(), latency_ms=0.5), "memory_kb", PHONE)
