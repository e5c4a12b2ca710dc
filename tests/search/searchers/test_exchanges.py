from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ofa.space.search_space import load_space
from search.evaluations.archive import Archive
from search.problem.domain import Domain
from search.searchers.evolution.exchanges import Exchanges
from search.searchers.evolution.moves import Moves
from tests.search_toys import best_by_force, every_subnet, make_problem, make_space, one_subnet_space


def all_moves(domain: Domain, row: np.ndarray) -> np.ndarray:
    moves = Moves.of(domain)
    return moves.apply(np.repeat(row[None], len(moves), axis=0), np.arange(len(moves)))


def test_moves_set_a_whole_block_and_deepen_its_stage() -> None:
    space = make_space(stages=1, depths=(1, 2, 3))
    domain = Domain(space)
    smallest = domain.extremes()[0]
    found = {row.tobytes() for row in all_moves(domain, smallest)}
    rows = every_subnet(space)
    of_rows = space.rows(rows)
    larger = of_rows.block("kernel", 0) + of_rows.block("expand", 0) > 0  # bool[n, blocks]
    depth, size = of_rows.depth(0), of_rows.resolution
    of_block = (larger.sum(axis=1) == 1) & (size == 0) & ((larger.argmax(axis=1) == depth) | (depth == 0))
    of_gene = ~larger.any(axis=1) & ((size == 0) | (depth == 0))
    assert found == {row.tobytes() for row in rows[of_block | of_gene]}


def test_moves_stay_in_the_domain() -> None:
    space = load_space("mbv3-w1.2")
    domain = Domain(space, space.restrict(resolutions=[160, 224], depths=[2, 4], kernels=[5, 7]))
    rng = np.random.default_rng(0)
    moves = Moves.of(domain)
    moved = moves.apply(domain.sample(3000, rng), rng.integers(0, len(moves), size=(3000, 3)))
    assert domain.contains(moved).all()
    assert np.array_equal(moved, space.canonical(moved))
    assert len(Moves.of(Domain(one_subnet_space()))) == 0


def test_a_compound_space_keeps_its_ties() -> None:
    compound = replace(make_space(stages=2, depths=(1, 2, 3)), compound=True)
    moved = all_moves(Domain(compound), compound.sample(1, np.random.default_rng(0))[0])
    assert np.array_equal(moved, compound.canonical(moved))


def searched(budget: int, **bounds: float) -> Archive:
    problem = make_problem(make_space(depths=(1, 2)), **bounds)
    archive, rng = Archive(problem, budget), np.random.default_rng(0)

    def fresh() -> np.ndarray:
        return archive.new(problem.domain.sample(40, rng))[:4]

    starts = archive.new(problem.domain.extremes()[:1])
    Exchanges(archive, fresh, rng).run(starts)
    return archive


@pytest.mark.parametrize("bounds", [{"latency_ms": 9.0}, {"latency_ms": 12.0, "memory_kb": 1.5}, {}])
def test_climbs_to_the_optimum_under_any_limits(bounds: dict[str, float]) -> None:
    archive = searched(1000, **bounds)
    assert archive.top1[0] == pytest.approx(best_by_force(archive.problem), abs=1e-12)


def test_predicts_nothing_beyond_the_limits_and_keeps_to_the_budget() -> None:
    archive = searched(100, latency_ms=11.0)
    assert archive.evaluations == 100
    assert (archive.problem.utilisation(archive.genes) <= 1).all()


def test_ends_where_everything_has_been_seen() -> None:
    problem = make_problem(make_space(), latency_ms=8.0)
    archive, rng = Archive(problem, 10**6), np.random.default_rng(0)
    Exchanges(archive, lambda: archive.new(problem.domain.sample(40, rng)), rng).run(
        archive.new(problem.domain.extremes()[:1])
    )
    assert archive.evaluations < 1000
    assert archive.top1[0] == best_by_force(problem)


def test_known_subnets_are_not_evaluated_again() -> None:
    problem = make_problem(make_space(), latency_ms=11.0)
    archive, rows = Archive(problem, 12), every_subnet(make_space())
    rows = rows[problem.utilisation(rows)[:, 0].argsort()]
    first = archive.top1_of(rows[[0, 1, 0, 2, len(rows) - 1]])
    assert np.array_equal(first[:4], problem.top1(rows[[0, 1, 0, 2]]))
    assert np.isnan(first[4])  # beyond the limit
    assert archive.evaluations == 3
    assert np.isfinite(archive.top1_of(rows[:20])).sum() == archive.evaluations == 12
