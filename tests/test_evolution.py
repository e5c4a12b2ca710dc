from __future__ import annotations

import numpy as np
import pytest

from ofa.space import load_space
from search.evolution import Evolution
from search.random_search import RandomSearch
from tests.search_toys import best_by_force, make_problem, make_space


@pytest.mark.parametrize("bound", [9.0, 11.0, 13.0])
def test_finds_the_optimum_of_a_tiny_space(bound: float) -> None:
    problem = make_problem(make_space(), latency_ms=bound)
    found = Evolution().search(problem, np.random.default_rng(0), 1200)
    assert best_by_force(problem) - found.top1[0] < 2e-4


def test_finds_the_optimum_under_two_limits() -> None:
    problem = make_problem(make_space(), latency_ms=12.0, memory_kb=1.5)
    found = Evolution().search(problem, np.random.default_rng(0), 1200)
    assert best_by_force(problem) - found.top1[0] < 2e-4


@pytest.mark.parametrize("bound", [28.0, 45.0])
def test_beats_random_search_at_equal_evaluations(bound: float) -> None:
    problem = make_problem(load_space("mbv3-w1.2"), latency_ms=bound)
    for seed in range(3):
        random = RandomSearch().search(problem, np.random.default_rng(seed), 4000)
        evolved = Evolution().search(problem, np.random.default_rng(seed), max(random.evaluations, 50))
        assert evolved.top1[0] > random.top1[0] + 0.001


def test_seeds_agree() -> None:
    """The spread over seeds is a fraction of what evolution gains over random sampling (above)."""
    problem = make_problem(load_space("mbv3-w1.2"), latency_ms=45.0)
    found = [Evolution().search(problem, np.random.default_rng(seed), 10_000).top1[0] for seed in range(4)]
    assert np.ptp(found) < 0.0005


def test_uses_most_of_the_budget_it_is_limited_by() -> None:
    problem = make_problem(load_space("mbv3-w1.2"), latency_ms=40.0)
    found = Evolution().search(problem, np.random.default_rng(0), 8000)
    assert problem.use(found.genes[:1])[0, 0] > 0.98
