"""What every searcher must do; each test runs for each of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ofa.errors import UserError
from search.problem import Infeasible
from search.searcher import Searcher, find_searcher, searchers
from tests.search_toys import ToyAccuracy, every_subnet, make_problem, make_space, one_subnet_space

BUDGET = 3000


@pytest.fixture(params=sorted(searchers()))
def searcher(request: pytest.FixtureRequest) -> Searcher:
    return find_searcher(request.param)[0]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_returns_distinct_canonical_feasible_subnets_best_first(searcher: Searcher) -> None:
    space = make_space(stages=3, depths=(1, 2, 3))
    problem = make_problem(space, latency_ms=14.0, energy_mj=2.5)
    result = searcher.search(problem, rng(), BUDGET)
    assert len(result.genes) == len(result.top1) > 1
    assert np.array_equal(result.genes, space.canonical(result.genes))
    assert len(np.unique(result.genes, axis=0)) == len(result.genes)
    assert (problem.use(result.genes) <= 1).all()
    assert (np.diff(result.top1) <= 0).all()
    assert np.array_equal(result.top1, problem.top1(result.genes))
    assert space.encode(space.decode(result.genes)).tolist() == result.genes.tolist()


def test_keeps_to_its_budget_and_tells_its_history(searcher: Searcher) -> None:
    problem = make_problem(make_space(stages=3), latency_ms=12.0)
    seen = 0

    class Counting(ToyAccuracy):
        def top1(self, genes: np.ndarray) -> np.ndarray:
            nonlocal seen
            seen += len(genes)
            return problem.predictor.top1(genes)

    counted = make_problem(problem.space, latency_ms=12.0)
    object.__setattr__(counted, "predictor", Counting(problem.space, seed=2))
    for budget in (1, 7, 500):
        seen = 0
        result = searcher.search(counted, rng(), budget)
        assert 1 <= result.evaluations == seen <= budget
        assert result.history[-1] == (result.evaluations, result.top1[0])
        assert [best for _, best in result.history] == sorted(best for _, best in result.history)


def test_same_seed_same_answer(searcher: Searcher) -> None:
    problem = make_problem(make_space(stages=3), latency_ms=12.0)
    first, again, other = (searcher.search(problem, rng(seed), 600) for seed in (3, 3, 4))
    assert np.array_equal(first.genes, again.genes)
    assert first.history == again.history
    assert first.history != other.history or first.optimal  # the optimum is the same for every seed


def test_without_limits_finds_a_large_net(searcher: Searcher) -> None:
    problem = make_problem(make_space())
    result = searcher.search(problem, rng(), BUDGET)
    assert result.top1[0] == pytest.approx(problem.top1(every_subnet(problem.space)).max(), abs=2e-3)


def test_infeasible_names_the_cheapest_value(searcher: Searcher) -> None:
    space = make_space()
    problem = make_problem(space, latency_ms=0.5, params_m=100.0)
    rows = every_subnet(space)
    cheapest = problem.cost("latency_ms", "toy-phone", rows).min()
    expected = rf"^no subnet of toy runs under 0.5 ms on toy-phone; the fastest takes {cheapest:.4g} ms$"
    with pytest.raises(Infeasible, match=expected) as caught:
        searcher.search(problem, rng(), BUDGET)
    assert list(caught.value.attainable.values()) == pytest.approx([cheapest])


def test_infeasible_names_every_violated_limit(searcher: Searcher) -> None:
    problem = make_problem(make_space(), energy_mj=1e-3, memory_kb=1e-3, macs_m=1e-3, params_m=1e-3)
    with pytest.raises(Infeasible, match=r"uses under 0.001 mJ on toy-phone; the most frugal uses") as caught:
        searcher.search(problem, rng(), BUDGET)
    assert "fits in 0.001 kB on toy-phone; the smallest needs" in str(caught.value)
    assert "has under 0.001 M parameters; the smallest has" in str(caught.value)
    assert "takes under 0.001 M MACs; the lightest takes" in str(caught.value)
    assert len(caught.value.attainable) == 4


def test_finds_the_only_feasible_subnet(searcher: Searcher) -> None:
    space = make_space(stages=3, depths=(1, 2, 3))
    smallest = np.zeros((1, len(space.genes)), dtype=np.int8)
    bound = float(make_problem(space).cost("latency_ms", "toy-phone", smallest)[0])
    result = searcher.search(make_problem(space, latency_ms=bound * (1 + 1e-9)), rng(), BUDGET)
    assert result.genes.tolist() == smallest.tolist()


def test_one_subnet_space(searcher: Searcher) -> None:
    result = searcher.search(make_problem(one_subnet_space(), latency_ms=1000.0), rng(), BUDGET)
    assert result.genes.tolist() == [[0] * result.genes.shape[1]]
    assert result.evaluations == 1


def test_stays_in_a_part_of_the_space(searcher: Searcher) -> None:
    space = make_space(stages=3)
    part = space.restrict(kernels=[5], expands=[3], resolutions=[24])
    problem = make_problem(space, part, latency_ms=16.0)
    result = searcher.search(problem, rng(), BUDGET)
    assert problem.domain.contains(result.genes).all()
    subnets = space.decode(result.genes)
    assert {subnet.resolution for subnet in subnets} == {24}
    assert {block.kernel for subnet in subnets for stage in subnet.stages for block in stage.blocks} == {5}
    part.encode(subnets)


def test_a_part_may_be_infeasible_where_the_space_is_not(searcher: Searcher) -> None:
    space = make_space()
    bound = 1.05 * float(problem_minimum(space))
    searcher.search(make_problem(space, latency_ms=bound), rng(), BUDGET)
    with pytest.raises(Infeasible, match="the fastest takes"):
        searcher.search(make_problem(space, space.restrict(kernels=[5], depths=[2]), latency_ms=bound), rng(), BUDGET)


def test_budget_must_be_positive(searcher: Searcher) -> None:
    with pytest.raises(UserError, match="the search budget is 0; must be at least 1 evaluation"):
        searcher.search(make_problem(make_space()), rng(), 0)


def problem_minimum(space: object) -> float:
    problem = make_problem(space)  # type: ignore[arg-type]
    value = problem.cost("latency_ms", "toy-phone", every_subnet(problem.space)).min()
    assert math.isfinite(value)
    return float(value)
