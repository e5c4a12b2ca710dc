from __future__ import annotations

import numpy as np
import pytest

from ofa.space.search_space import load_space
from search.evaluations.archive import Archive
from search.problem.domain import Domain
from search.searchers.evolution.evolution import Evolution, _Run
from search.searchers.evolution.populations import Population, generation
from search.searchers.evolution.surrogate import Surrogate
from search.searchers.random_search import RandomSearch
from tests.search_toys import ToyAccuracy, best_by_force, make_problem, make_space, one_subnet_space


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
    assert problem.utilisation(found.genes[:1])[0, 0] > 0.98


def test_the_surrogate_learns_what_is_additive() -> None:
    """Depth too: a gene of an absent block counts for nothing."""
    space = make_space(stages=4, depths=(1, 2, 3))
    domain, accuracy = Domain(space), ToyAccuracy(space, seed=4)
    rows = domain.sample(800, np.random.default_rng(0))
    surrogate = Surrogate.fit(domain, rows[:400], accuracy.sums(rows[:400]))
    found, true = surrogate(rows[400:]), accuracy.sums(rows[400:])
    assert np.abs((found - found.mean()) - (true - true.mean())).max() < 0.05 * true.std()


def test_the_surrogate_of_a_space_with_one_subnet() -> None:
    domain = Domain(one_subnet_space())
    row = domain.sample(1, np.random.default_rng(0))
    assert Surrogate.fit(domain, row, np.array([0.7]))(row) == pytest.approx(0)


def test_a_population_starts_from_crosses_of_those_that_ended() -> None:
    problem = make_problem(load_space("mbv3-w1.2"), latency_ms=45.0)
    rng = np.random.default_rng(0)
    archive = Archive(problem, 4000)
    run = _Run(Evolution(changes=0.0), archive, rng, 20, 0)
    ended = []
    for _ in range(3):  # populations of one subnet each
        row = archive.new(problem.domain.sample(200, rng))[:1]
        ended.append(Population(problem.domain, 0, 20, row, archive.add(row)))
        ended[-1].stale = 6
    assert run.going_on(list(ended)) == []
    run.founded = 1
    another = run.another()
    assert another is not None
    parents = np.concatenate([population.genes for population in ended])
    shared = np.flatnonzero((parents == parents[0]).all(axis=0) & (np.arange(parents.shape[1]) > 0))
    known = problem.space.rows(parents).present()[:, shared].all(axis=0)
    assert (another.genes[:, shared[known]] == parents[0, shared[known]]).all()
    assert known.sum() > 10
    assert len(another.genes) == 20


def test_a_generation_stays_on_its_islands_and_within_its_budget() -> None:
    problem = make_problem(make_space(stages=3, depths=(1, 2, 3)), latency_ms=15.0)
    rng = np.random.default_rng(0)
    archive = Archive(problem, 200)
    populations = []
    for island in (0, 1):
        rows = problem.domain.sample(60, rng)
        rows[:, 0] = island
        rows = archive.new(rows)
        populations.append(Population(problem.domain, island, 20, rows, archive.add(rows)))
    before = archive.evaluations
    leaders = [population.top1[0] for population in populations]
    for _ in range(6):
        generation(archive, populations, np.array([0, 1]), brood=8, changes=1.0, reserve=50, rng=rng)
    assert before < archive.evaluations == 150
    for island, population in enumerate(populations):
        assert len(population.genes) == 20
        assert set(population.genes[:, 0].tolist()) == {island}
        assert np.array_equal(population.top1, problem.top1(population.genes))
        assert (np.diff(population.top1) <= 0).all()
        assert population.top1[0] > leaders[island]
