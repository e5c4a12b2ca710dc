"""The exact search under limits on an arena, which is neither a sum nor a maximum over blocks, against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latency_tables import load_platform
from latency_tables.costs.composed import ComposedFactors
from ofa.space.search_space import HeadSpace, SearchSpace, StageSpace, StemSpace
from search.exact.solve import exact_front, why_no_front
from search.fleet.surface import exact_surface
from search.problem.limits import Infeasible, Limit
from search.problem.problem import Problem
from search.searchers.exact import Exact
from tests.search_toys import ToyAccuracy, every_subnet, make_space

MICRO = "silabs-xg24"


def large_maps() -> SearchSpace:
    """Maps so large that they outweigh the planning of every subnet; the toy's do not."""
    stages = (
        StageSpace(widths=(16, 24), depths=(1, 2), kernels=(3, 5), expands=(2, 4), stride=2, activation="h_swish"),
        StageSpace(widths=(32,), depths=(1, 2), kernels=(3,), expands=(2, 4), stride=2, activation="swish", se=(True,)),
    )
    stem, head = StemSpace(widths=(8, 16)), HeadSpace(width=64, activation="h_swish")
    sizes = {"resolutions": (80, 96), "in_channels": 3, "classes": 5}
    return SearchSpace(name="large-maps", block="mbconv", stem=stem, stages=stages, head=head, **sizes)  # type: ignore[arg-type]


SPACES = {"planning may outweigh maps": make_space(resolutions=(8, 16)), "maps outweigh planning": large_maps()}


def problem_of(space: SearchSpace, **quantiles: float) -> Problem:
    """Limits at quantiles of the costs of all subnets."""
    costs, rows = load_platform(MICRO).costs(space), every_subnet(space)
    limits = [Limit(metric, float(np.quantile(costs.of(metric, rows), share)), MICRO) for metric, share in quantiles.items()]
    return Problem(space=space, predictor=ToyAccuracy(space, seed=2), costs={MICRO: costs}, limits=limits)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize(
    "quantiles", [{"memory_kb": 0.2}, {"memory_kb": 0.5, "latency_ms": 0.4}, {"activations_kb": 0.4, "memory_kb": 0.3}]
)
def test_equals_brute_force(name: str, quantiles: dict[str, float]) -> None:
    problem = problem_of(SPACES[name], **quantiles)
    rows = every_subnet(problem.space)
    feasible = (problem.utilisation(rows) <= 1).all(axis=1)
    assert 0 < feasible.sum() < len(rows)
    result = Exact().search(problem, np.random.default_rng(0), 5000)
    assert (problem.utilisation(result.genes) <= 1).all()
    assert result.top1[0] == pytest.approx(problem.top1(rows[feasible]).max(), abs=1e-12)


def test_both_shapes_of_the_arena_occur() -> None:
    few, many = (load_platform(MICRO).costs(space).factors("memory_kb") for space in SPACES.values())
    assert isinstance(few, ComposedFactors)
    assert isinstance(many, ComposedFactors)
    assert (len(few.alternatives), len(many.alternatives)) == (2, 1)
    rows = every_subnet(SPACES["planning may outweigh maps"])
    of_maps, of_planning = (sum(part(rows) for part in parts) for parts in few.alternatives)
    assert 0 < (of_planning > of_maps).sum() < len(rows)


@pytest.mark.parametrize("name", SPACES)
def test_the_front_under_a_limit_on_the_arena(name: str) -> None:
    problem = problem_of(SPACES[name], memory_kb=0.5)
    front = exact_front(problem, "latency_ms", MICRO)
    rows = every_subnet(problem.space)
    rows = rows[problem.utilisation(rows)[:, 0] <= 1]
    cost, top1 = problem.cost("latency_ms", MICRO, rows), problem.top1(rows)
    order = np.lexsort((-top1, cost))
    better = top1[order] > np.append(-np.inf, np.maximum.accumulate(top1[order])[:-1]) + 1e-12
    assert len(front.genes) > 3
    np.testing.assert_allclose(np.sort(front.top1), np.sort(top1[order][better]), rtol=0, atol=1e-12)
    assert (problem.utilisation(front.genes) <= 1).all()
    assert "memory_kb is a maximum" in str(why_no_front(problem, "memory_kb", MICRO))


def test_a_fleet_with_limits_on_the_arena() -> None:
    space = SPACES["planning may outweigh maps"]
    problem = replace(problem_of(space, memory_kb=0.3), limits=())
    surface = exact_surface(problem, (("memory_kb", MICRO),))
    assert not isinstance(surface, str)
    rows = every_subnet(space)
    costs, top1 = problem.cost("memory_kb", MICRO, rows), problem.top1(rows)
    bounds = np.quantile(costs, [0.05, 0.3, 0.7])
    found = surface.lookup(bounds[:, None])
    assert surface.top1[found] == pytest.approx([top1[costs <= bound].max() for bound in bounds], abs=1e-12)


def test_what_does_not_fit_names_the_smallest_arena() -> None:
    space = SPACES["maps outweigh planning"]
    problem = problem_of(space, memory_kb=0.0)
    smallest = problem.limits[0].bound
    none = replace(problem, limits=[Limit("memory_kb", smallest * 0.9, MICRO)])
    with pytest.raises(Infeasible, match=f"the smallest needs {smallest:.4g}"[:22]):
        Exact().search(none, np.random.default_rng(0), 100)
