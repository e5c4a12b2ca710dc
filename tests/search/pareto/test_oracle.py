"""The dominance kernel, nondominated sorting and hypervolume against moocore, which was written by others."""

from __future__ import annotations

import moocore
import numpy as np
import pytest

from search.arrays import Floats
from search.pareto import domination
from search.pareto.front import front_order
from search.pareto.nondominated import BINS, BLOCK, SMALL, nondominated

SIZES = {1: (1, 40, 4 * SMALL[1]), 2: (1, 40, 3 * BLOCK, 2 * SMALL[2]), 3: (1, 40, 5 * BLOCK), 4: (40, 3 * BLOCK)}


def points(n: int, costs: int, levels: int, seed: int) -> Floats:
    """Score and costs, float64[1 + costs, n]; with few levels most points are equal to another."""
    rng = np.random.default_rng([n, costs, levels, seed])
    return np.asarray(rng.integers(0, levels, size=(1 + costs, n)) / levels)


def cases(costs: int) -> list[Floats]:
    """Small and large, few levels and many, independent and (as sums over stages are) correlated."""
    found = []
    for n in SIZES[costs]:
        for levels in (4, 30, 10**6):
            independent = points(n, costs, levels, seed=0)
            together = np.round(independent[:1] + 0.2 * points(n, costs, levels, seed=1), 6)
            found += [independent, together]
    return found


@pytest.mark.parametrize("costs", SIZES)
def test_the_kernel_keeps_what_moocore_keeps_and_of_equal_points_the_first(costs: int) -> None:
    maximise = [True] + [False] * costs
    for values in cases(costs):
        kept = nondominated(values[0], values[1:])
        expected = np.flatnonzero(moocore.is_nondominated(values.T, maximise=maximise))
        assert np.array_equal(np.unique(values[:, kept], axis=1), np.unique(values[:, expected], axis=1))
        assert len(kept) == len(expected)
        assert (np.diff(values[0, kept]) <= 0).all()  # best score first
        _, first = np.unique(values, axis=1, return_index=True)
        assert np.isin(kept, first).all()


def test_scores_at_the_edges_of_bins() -> None:
    """Where points are sorted into bins of scores first, of equal points the first still stays, and of each bin the best."""
    for costs, bins in BINS.items():
        n = 3 * SMALL[costs]
        rng = np.random.default_rng(costs)
        score = rng.integers(0, bins + 1, size=n) / bins
        values = np.stack([score, *(score + rng.integers(0, 3, size=(costs, n)))])
        expected = moocore.is_nondominated(values.T, maximise=[True] + [False] * costs)
        assert len(nondominated(values[0], values[1:])) == expected.sum()


def test_no_points_no_costs_and_one_value() -> None:
    for costs in (0, 1, 2, 3):
        assert len(nondominated(np.zeros(0), np.zeros((costs, 0)))) == 0
        assert nondominated(np.ones(50_000), np.ones((costs, 50_000))).tolist() == [0]
    assert nondominated(np.array([1.0, 3.0, 2.0, 3.0]), np.zeros((0, 4))).tolist() == [1]


def test_front_order_is_that_of_one_cost_ascending() -> None:
    for values in cases(1):
        order = front_order(values[1], values[0])
        assert np.array_equal(order, nondominated(values[0], values[1:])[::-1])
        assert (np.diff(values[1, order]) > 0).all()
        assert (np.diff(values[0, order]) > 0).all()


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_fronts_and_ranks_of_losses(objectives: int) -> None:
    for n, levels in ((1, 4), (2, 4), (700, 12), (700, 10**6)):
        losses = np.random.default_rng(n).integers(0, levels, size=(n, objectives)).astype(np.float64)
        rank = moocore.pareto_rank(losses) if objectives > 1 else np.unique(losses[:, 0], return_inverse=True)[1]
        assert np.array_equal(domination.ranks(losses), rank)
        front = domination.front(losses)
        assert np.array_equal(np.unique(losses[front], axis=0), np.unique(losses[rank == 0], axis=0))
        assert len(front) == len(np.unique(losses[front], axis=0))
        assert (np.diff(losses[front, 0]) >= 0).all()
    assert domination.ranks(np.zeros((0, objectives))).tolist() == []
    assert domination.front(np.zeros((0, objectives))).tolist() == []


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("levels", [6, 10**6])
def test_hypervolume(objectives: int, levels: int) -> None:
    for seed in range(8):
        losses = points(60, objectives - 1, levels, seed).T
        reference = np.full(objectives, 0.8)  # some points lie beyond
        expected = moocore.hypervolume(losses, ref=reference)
        assert domination.hypervolume(losses, reference) == pytest.approx(expected, rel=1e-12)
