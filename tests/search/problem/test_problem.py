from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latency_tables.metrics import limit_number
from ofa.errors import UserError
from ofa.space.search_space import load_space
from search.evaluations.archive import Archive
from search.problem.domain import Domain
from search.problem.feasibility import feasible_seeds
from search.problem.limits import Infeasible, Limit
from search.problem.objectives import Objective
from search.problem.problem import Problem
from search.rows import distinct, keys
from search.searchers.catalogue import find_searcher
from tests.search_toys import ToyAccuracy, ToyCosts, every_subnet, make_problem, make_space, one_subnet_space


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan"), float("inf")])
def test_limits_must_be_positive_numbers(bound: float) -> None:
    with pytest.raises(UserError, match=r"limit latency_ms is .*; must be a positive number"):
        Limit("latency_ms", bound, "phone")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.55312, "1.554"), (0.0092854839, "0.009286"), (11.0, "11.0"), (999.91, "1000"), (123456.0, "1.235e+05")],
)
def test_an_attainable_value_is_never_rounded_down(value: float, text: str) -> None:
    assert limit_number(value) == text


def test_a_limit_just_below_the_attainable_value_is_told_apart() -> None:
    space = make_space()
    cheapest = make_problem(space).cost("latency_ms", "toy-phone", every_subnet(space)).min()
    bound = float(cheapest) * (1 - 1e-9)
    problem = make_problem(space, latency_ms=bound)
    with pytest.raises(Infeasible, match=f"under {bound} ms on toy-phone; the fastest takes {limit_number(cheapest)} ms$"):
        feasible_seeds(problem, np.random.default_rng(0))


def test_unknown_metric_platform_and_algorithm_are_named() -> None:
    with pytest.raises(UserError, match="limit on 'latency'; known metrics are latency_ms, energy_mj"):
        Limit("latency", 1.0, "phone")
    space = make_space()
    with pytest.raises(UserError, match="limit on platform 'other'; the problem has phone"):
        Problem(
            space=space,
            predictor=ToyAccuracy(space, 1),
            costs={"phone": ToyCosts(space, 1)},
            limits=[Limit("latency_ms", 1.0, "other")],
        )
    known = "auto, exact, evolution, nsga2, optuna, random"
    with pytest.raises(UserError, match=f"algorithm is 'annealing'; available are {known}"):
        find_searcher("annealing")
    assert find_searcher("auto")[0].name == "evolution"


def test_limits_that_exclude_each_other_are_told_apart() -> None:
    """Each limit can be met alone, but one asks for few blocks and the other (a reversed cost) for many."""
    space = make_space()
    costs, reverse = ToyCosts(space, 1), ToyCosts(space, 1)
    reverse.of = lambda metric, genes: 40 - costs.sums(genes)  # type: ignore[method-assign]
    sums = costs.sums(every_subnet(space))
    low, high = float(sums.min()) * 1.05, float(40 - sums.max()) * 1.05
    problem = Problem(
        space=space,
        predictor=ToyAccuracy(space, 2),
        costs={"a": costs, "b": reverse},
        limits=[Limit("latency_ms", low, "a"), Limit("latency_ms", high, "b")],
    )
    with pytest.raises(Infeasible, match=r"on a and latency of at most .* ms on b together, though each alone is"):
        feasible_seeds(problem, np.random.default_rng(0))


def test_of_equally_cheap_subnets_the_most_accurate_comes_first() -> None:
    space = make_space()
    problem = replace(make_problem(space), objectives=[Objective("memory_kb", "toy-phone")])
    genes = every_subnet(space)
    archive = Archive(problem, len(genes), any_objective=True)
    top1 = archive.add(archive.new(genes))
    result = archive.result("all")
    equal = result.values[:, 0] == result.values[0, 0]
    assert equal.sum() > 1
    assert (np.diff(result.top1[equal]) <= 0).all()
    assert top1.max() > result.top1[0]  # it is the cheapest that is asked for


def test_present_marks_exactly_the_blocks_of_the_subnet() -> None:
    space = make_space(stages=2, depths=(1, 3))
    genes = space.sample(50, np.random.default_rng(0))
    mask = space.rows(genes).present()
    for row, subnet in zip(mask, space.decode(genes), strict=True):
        assert row.sum() == 4 + sum(2 + 2 * len(stage.blocks) for stage in subnet.stages)
    assert (genes[~mask] == 0).all()


def test_keys_tell_rows_apart_and_distinct_keeps_order() -> None:
    space = load_space("mbv3-w1.2")
    genes = space.sample(5000, np.random.default_rng(0))
    assert len(np.unique(keys(genes))) == len(np.unique(genes, axis=0))
    rows = genes[[3, 1, 3, 2, 1]]
    assert distinct(rows).tolist() == genes[[3, 1, 2]].tolist()


@pytest.mark.parametrize("restricted", [False, True])
def test_domain_moves_stay_inside_and_reach_everything(restricted: bool) -> None:
    space = make_space()
    part = space.restrict(kernels=[5], resolutions=[24]) if restricted else None
    domain = Domain(space, part)
    rng = np.random.default_rng(0)
    inside = [row for row in every_subnet(space) if domain.contains(row[None])[0]]
    assert len(inside) == domain.count == (part or space).count()
    genes = domain.sample(64, rng)
    moves = {
        "sample": genes,
        "sizes": domain.sample_sizes(64, rng),
        "cross": domain.vary(domain.grown(genes, rng), domain.grown(domain.sample(64, rng), rng), len(genes), 0.0, rng),
        "mutate": domain.mutate(genes, 2.0, rng),
        "neighbours": domain.neighbours(genes),
        "extremes": domain.extremes(),
    }
    for name, rows in moves.items():
        assert domain.contains(rows).all(), name
        assert np.array_equal(rows, space.canonical(rows)), name
    reached = distinct(domain.sample(150_000, rng))
    assert len(reached) == domain.count


def test_neighbours_differ_in_one_gene_and_are_complete() -> None:
    space = make_space(depths=(2,))  # no elastic depth: neighbours are exactly the rows at distance one
    domain = Domain(space)
    row = space.sample(1, np.random.default_rng(0))
    around = domain.neighbours(row)
    assert ((around != row).sum(axis=1) == 1).all()
    assert len(around) == (space.levels - 1).sum()
    assert len(Domain(one_subnet_space()).neighbours(np.zeros((1, 12), dtype=np.int8))) == 0


def test_only_the_first_children_are_crossed_and_inherit_from_both() -> None:
    space = make_space(stages=3, depths=(2,))
    domain, rng = Domain(space), np.random.default_rng(0)
    mothers, fathers = domain.sample(2000, rng), domain.sample(2000, rng)
    children = domain.vary(mothers, fathers, 1500, 0.0, rng)
    assert np.array_equal(children[1500:], mothers[1500:])
    crossed, differ = children[:1500], (mothers != fathers)[:1500]
    assert ((crossed == mothers[:1500]) | (crossed == fathers[:1500])).all()
    assert abs((crossed == fathers[:1500])[differ].mean() - 0.5) < 0.02


def test_mutation_and_crossover_do_not_favour_small_choices_in_new_blocks() -> None:
    """A block that a parent lacks has genes 0; children must not inherit that as a choice."""
    space = make_space(stages=1, depths=(1, 2))
    domain = Domain(space)
    shallow = np.zeros((4000, len(space.genes)), dtype=np.int8)
    grown = domain.mutate(shallow, 3.0, np.random.default_rng(0))
    deep = grown[grown[:, 5] == 1]
    kernel, expand = deep[:, 8], deep[:, 9]
    assert abs(kernel.mean() - 0.5) < 0.06
    assert np.abs(np.bincount(expand, minlength=3) / len(expand) - 1 / 3).max() < 0.06


def test_sample_sizes_covers_small_and_large_nets() -> None:
    space = load_space("mbv3-w1.2")
    domain = Domain(space)
    rng = np.random.default_rng(0)
    costs = ToyCosts(space, 1)
    plain, sizes = costs.sums(domain.sample(2000, rng)), costs.sums(domain.sample_sizes(2000, rng))
    ends = costs.sums(domain.extremes())
    assert sizes.min() < 0.5 * (ends[0] + plain.min())
    assert sizes.max() > 0.5 * (ends[1] + plain.max())


def test_a_foreign_subspace_is_refused() -> None:
    with pytest.raises(UserError, match="toy: the subspace toy has choices that the space does not have"):
        make_problem(make_space(), make_space(resolutions=(16, 32)))
    with pytest.raises(UserError, match="the subspace toy has choices"):
        Domain(make_space(), make_space(stages=3))
