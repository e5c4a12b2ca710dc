"""What every searcher must do; each test runs for each of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables import load_platform
from latency_tables.metrics import least_number, limit_number
from ofa.errors import UserError
from search.evaluations.log import SearchLog, read_log
from search.evaluations.result import SearchResult
from search.problem.limits import Infeasible, Limit
from search.problem.problem import Problem
from search.searchers.catalogue import SEARCHERS, Searcher, find_searcher
from search.searchers.optuna_search import OptunaSearch
from search.searchers.random_search import RandomSearch
from tests.search_toys import ToyAccuracy, ToyCosts, every_subnet, make_problem, make_space, one_subnet_space

BUDGET = 2000
FEW = 60


@pytest.fixture(params=sorted(SEARCHERS))
def searcher(request: pytest.FixtureRequest) -> Searcher:
    """Optuna with its fastest sampler; `tests/search/searchers/test_optuna_search.py` has the others."""
    if request.param == "optuna":
        return OptunaSearch(sampler="RandomSampler", batch=20, patience=4)
    return find_searcher(request.param)[0]


@pytest.fixture
def budget(searcher: Searcher) -> int:
    """A trial of optuna takes a millisecond at least."""
    return FEW if searcher.name == "optuna" else BUDGET


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_returns_distinct_canonical_feasible_subnets_best_first(searcher: Searcher, budget: int) -> None:
    space = make_space(stages=3, depths=(1, 2, 3))
    problem = make_problem(space, latency_ms=14.0, energy_mj=2.5)
    result = searcher.search(problem, rng(), budget)
    assert len(result.genes) == len(result.top1) > 1
    assert np.array_equal(result.genes, space.canonical(result.genes))
    assert len(np.unique(result.genes, axis=0)) == len(result.genes)
    assert (problem.utilisation(result.genes) <= 1).all()
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
    for budget in (1, 7, 100 if searcher.name == "optuna" else 500):
        seen = 0
        result = searcher.search(counted, rng(), budget)
        assert 1 <= result.evaluations == seen <= budget
        assert result.history[-1] == (result.evaluations, result.top1[0])
        assert [best for _, best in result.history] == sorted(best for _, best in result.history)


def test_same_seed_same_answer(searcher: Searcher) -> None:
    problem = make_problem(make_space(stages=3), latency_ms=12.0)
    first, again, other = (searcher.search(problem, rng(seed), FEW) for seed in (3, 3, 4))
    assert np.array_equal(first.genes, again.genes)
    assert first.history == again.history
    assert first.history != other.history or first.optimal  # the optimum is the same for every seed


def test_without_limits_finds_a_large_net(searcher: Searcher, budget: int) -> None:
    problem = make_problem(make_space())
    result = searcher.search(problem, rng(), budget)
    near = 0.02 if searcher.name == "optuna" else 2e-3  # of a few random trials, little is expected
    assert result.top1[0] == pytest.approx(problem.top1(every_subnet(problem.space)).max(), abs=near)


def test_infeasible_names_the_cheapest_value(searcher: Searcher, budget: int) -> None:
    space = make_space()
    problem = make_problem(space, latency_ms=0.5, params_m=100.0)
    rows = every_subnet(space)
    cheapest = problem.cost("latency_ms", "toy-phone", rows).min()
    expected = rf"^no subnet of toy runs under 0.5 ms on toy-phone; the fastest takes {limit_number(cheapest)} ms$"
    with pytest.raises(Infeasible, match=expected) as caught:
        searcher.search(problem, rng(), budget)
    assert list(caught.value.attainable.values()) == pytest.approx([cheapest])


def test_infeasible_names_every_violated_limit(searcher: Searcher, budget: int) -> None:
    problem = make_problem(make_space(), energy_mj=1e-3, memory_kb=1e-3, macs_m=1e-3, params_m=1e-3)
    with pytest.raises(Infeasible, match=r"uses under 0.001 mJ on toy-phone; the most frugal uses") as caught:
        searcher.search(problem, rng(), budget)
    assert "fits in 0.001 kB on toy-phone; the smallest needs" in str(caught.value)
    assert "has under 0.001 M parameters; the smallest has" in str(caught.value)
    assert "takes under 0.001 M MACs; the lightest takes" in str(caught.value)
    assert len(caught.value.attainable) == 4


def test_finds_the_only_feasible_subnet(searcher: Searcher, budget: int) -> None:
    space = make_space(stages=3, depths=(1, 2, 3))
    smallest = np.zeros((1, len(space.genes)), dtype=np.int8)
    bound = float(make_problem(space).cost("latency_ms", "toy-phone", smallest)[0])
    result = searcher.search(make_problem(space, latency_ms=bound * (1 + 1e-9)), rng(), budget)
    assert result.genes.tolist() == smallest.tolist()


def test_one_subnet_space(searcher: Searcher, budget: int) -> None:
    result = searcher.search(make_problem(one_subnet_space(), latency_ms=1000.0), rng(), budget)
    assert result.genes.tolist() == [[0] * result.genes.shape[1]]
    assert result.evaluations == 1


def test_stays_in_a_part_of_the_space(searcher: Searcher, budget: int) -> None:
    space = make_space(stages=3)
    part = space.restrict(kernels=[5], expands=[3], resolutions=[24])
    problem = make_problem(space, part, latency_ms=16.0)
    result = searcher.search(problem, rng(), budget)
    assert problem.domain.contains(result.genes).all()
    subnets = space.decode(result.genes)
    assert {subnet.resolution for subnet in subnets} == {24}
    assert {block.kernel for subnet in subnets for stage in subnet.stages for block in stage.blocks} == {5}
    part.encode(subnets)


def test_a_part_may_be_infeasible_where_the_space_is_not(searcher: Searcher, budget: int) -> None:
    space = make_space()
    bound = 1.05 * float(problem_minimum(space))
    searcher.search(make_problem(space, latency_ms=bound), rng(), budget)
    with pytest.raises(Infeasible, match="the fastest takes"):
        searcher.search(make_problem(space, space.restrict(kernels=[5], depths=[2]), latency_ms=bound), rng(), budget)


def test_budget_must_be_positive(searcher: Searcher) -> None:
    with pytest.raises(UserError, match="the search budget is 0; must be at least 1 evaluation"):
        searcher.search(make_problem(make_space()), rng(), 0)


def test_keeps_to_limits_on_several_platforms_at_once(searcher: Searcher, budget: int) -> None:
    space = make_space(stages=3)
    costs = {name: ToyCosts(space, seed) for name, seed in (("a", 1), ("b", 5), ("c", 9))}
    limits = [Limit("latency_ms", 14.0, "a"), Limit("latency_ms", 13.0, "b"), Limit("energy_mj", 2.1, "c")]
    problem = Problem(space=space, predictor=ToyAccuracy(space, 2), costs=costs, limits=limits)
    result = searcher.search(problem, rng(), budget)
    for limit in limits:
        assert (problem.cost(limit.metric, limit.platform, result.genes) <= limit.bound).all()
    alone = searcher.search(replace(problem, limits=limits[:1]), rng(), budget)
    assert alone.top1[0] > result.top1[0]
    impossible = [*limits, Limit("latency_ms", 1.0, "c")]
    with pytest.raises(Infeasible, match=r"^no subnet of toy runs under 1.0 ms on c; the fastest takes [\d.]+ ms$"):
        searcher.search(replace(problem, limits=impossible), rng(), budget)


def test_keeps_to_budgets_at_a_confidence(searcher: Searcher, budget: int) -> None:
    """Limits hold for the costs that the problem is given: here upper bounds at 90%."""
    space = make_space(resolutions=(32, 48))
    platform = load_platform("note10")
    median, safe = platform.costs(space), platform.costs(space, confidence=0.9)
    bound = float(np.quantile(safe.latency_ms(every_subnet(space)), 0.3))
    limits = [Limit("latency_ms", bound, "note10")]
    problem = Problem(space=space, predictor=ToyAccuracy(space, 2), costs={"note10": safe}, limits=limits, confidence=0.9)
    result = searcher.search(problem, rng(), budget)
    assert (safe.latency_ms(result.genes) <= bound).all()
    assert (median.latency_ms(result.genes) < bound * 0.999).all()
    tight = [Limit("latency_ms", 0.9 * float(safe.latency_ms(problem.domain.extremes()).min()), "note10")]
    with pytest.raises(Infeasible, match=r"ms on note10 at 90% confidence; the fastest takes"):
        searcher.search(replace(problem, limits=tight), rng(), budget)


def test_asks_for_an_accuracy(searcher: Searcher, budget: int) -> None:
    problem = make_problem(make_space(stages=3), latency_ms=12.0)
    free = searcher.search(problem, rng(), budget)
    floor = float(np.median(free.top1))
    held = searcher.search(replace(problem, min_top1=floor), rng(), budget)
    assert (held.top1 >= floor).all()
    assert held.top1[0] == pytest.approx(free.top1[0], abs=5e-3)
    wanted = r"^no subnet of toy within latency of at most 12.0 ms on toy-phone is found with a predicted accuracy of 0.99; "
    with pytest.raises(Infeasible, match=wanted + rf"the most accurate has {least_number(free.top1[0])}$"):
        searcher.search(replace(problem, min_top1=0.99), rng(), budget)


class PowerCutError(Exception):
    """Ends a search in the middle."""


class Measuring(ToyAccuracy):
    """Counts what it evaluates, and fails after so many."""

    def start(self, most: int) -> Measuring:
        self.evaluated, self.most = 0, most
        return self

    def top1(self, genes: np.ndarray) -> np.ndarray:
        self.evaluated += len(genes)
        if self.evaluated > self.most:
            raise PowerCutError
        return super().top1(genes)


def test_resumes_without_evaluating_twice(searcher: Searcher, tmp_path: Path) -> None:
    problem = make_problem(make_space(stages=3), latency_ms=12.0)
    if isinstance(searcher, RandomSearch):
        searcher = RandomSearch(batch=20)  # so that there are several
    whole = searcher.search(problem, rng(), FEW)
    predictor = Measuring(problem.space, seed=2)
    path = tmp_path / "search.jsonl"

    def search(most: int) -> SearchResult:
        asked = replace(problem, predictor=predictor.start(most))
        log = SearchLog.open(path, asked, algorithm=searcher.name, seed=0, budget=FEW)
        return searcher.search(asked, rng(), FEW, log)

    with pytest.raises(PowerCutError):
        search(most=whole.evaluations - 1)
    before = len(read_log(path).genes)
    assert 0 < before < whole.evaluations
    resumed = search(most=FEW)
    assert predictor.evaluated == whole.evaluations - before
    assert np.array_equal(resumed.genes, whole.genes)
    assert np.array_equal(resumed.top1, whole.top1)
    assert resumed.history == whole.history
    logged = read_log(path)
    assert list(zip(logged.evaluations.tolist(), logged.best.tolist(), strict=True)) == list(whole.history)
    search(most=0)  # once more: everything is in the log


def problem_minimum(space: object) -> float:
    problem = make_problem(space)  # type: ignore[arg-type]
    value = problem.cost("latency_ms", "toy-phone", every_subnet(problem.space)).min()
    assert math.isfinite(value)
    return float(value)
