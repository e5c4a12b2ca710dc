"""Fronts, nondominated sorting, crowding and hypervolume of any number of losses (objectives that are all minimised)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np

from search.arrays import Floats, Indices
from search.pareto.nondominated import no_lower, nondominated


def front(losses: Floats) -> Indices:
    """Indices of the nondominated rows of float64[n, objectives], ascending in the first objective.

    Of equal rows only the first is kept. `search.pareto.nondominated` is the kernel.
    """
    return nondominated(-losses[:, 0], losses[:, 1:].T)


def ranks(losses: Floats, violation: Floats | None = None) -> Indices:
    """Nondominated sorting with constraint domination (Deb et al. 2002, sections III.A and VI.A), int64[n].

    Rank 0 is the front of the feasible rows of float64[n, objectives], rank 1 the front of the rest, and so on. The
    infeasible rows (`violation` above 0, float64[n]) follow, those with the smallest violation first. Two objectives take
    O(n log n) (Jensen 2003), more take O(n^2).
    """
    result = np.zeros(len(losses), dtype=np.int64)
    feasible = np.ones(len(losses), dtype=np.bool_) if violation is None else violation <= 0
    result[feasible] = _ranks_of_feasible(losses[feasible])
    if violation is not None and not feasible.all():
        _, order = np.unique(violation[~feasible], return_inverse=True)
        result[~feasible] = result[feasible].max(initial=-1) + 1 + order
    return result


def _ranks_of_feasible(losses: Floats) -> Indices:
    if losses.shape[1] == 1:
        return np.asarray(np.unique(losses[:, 0], return_inverse=True)[1])
    return _fronts_of_two(losses) if losses.shape[1] == 2 else _peel(losses)


def _fronts_of_two(losses: Floats) -> Indices:
    """Ranks for two objectives: in lexicographic order, a row joins the first front whose last row does not dominate it."""
    distinct, inverse = np.unique(losses, axis=0, return_inverse=True)
    lowest: list[float] = []  # the second objective of each front's last row: its lowest; ascending over the fronts
    found = np.zeros(len(distinct), dtype=np.int64)
    for i, second in enumerate(distinct[:, 1].tolist()):
        front = bisect_right(lowest, second)
        found[i] = front
        lowest[front : front + 1] = [second]
    return np.asarray(found[inverse.reshape(-1)])


def _peel(losses: Floats) -> Indices:
    """Ranks front by front: the next front are the rows that no unranked row dominates any more."""
    worse = no_lower(losses.T, losses.T)
    worse &= ~worse.T  # equal rows do not dominate each other
    rivals = worse.sum(axis=1)
    found = np.full(len(losses), -1, dtype=np.int64)
    front = 0
    while (found < 0).any():
        current = (rivals == 0) & (found < 0)
        found[current] = front
        rivals = rivals - worse[:, current].sum(axis=1)
        front += 1
    return found


def crowding(losses: Floats, rank: Indices) -> Floats:
    """Crowding distance of each row within its rank, float64[n]; infinite at the ends (Deb et al. 2002, section III.B)."""
    distance = np.zeros(len(losses))
    for values in losses.T:
        order = np.lexsort((values, rank))
        value, group = values[order], rank[order]
        first = np.concatenate([[True], group[1:] != group[:-1]])
        last = np.concatenate([first[1:], [True]])
        starts = np.flatnonzero(first)
        spans = value[np.flatnonzero(last)] - value[starts]
        span = np.maximum(spans[np.cumsum(first) - 1], 1e-300)
        gap = (np.roll(value, -1) - np.roll(value, 1)) / span
        distance[order] += np.where(first | last, np.inf, gap)
    return distance


def hypervolume(losses: Floats, reference: Floats) -> float:
    """Area or volume of the points that some row dominates and that dominate the reference; exact, 2 or 3 objectives.

    Rows of float64[n, objectives] that are not below the reference in every objective add nothing.

    Raises:
        ValueError: there are neither 2 nor 3 objectives.
    """
    objectives = losses.shape[1]
    if objectives not in (2, 3):
        raise ValueError(f"the hypervolume is computed for 2 or 3 objectives; there are {objectives}")
    inside = losses[(losses < reference).all(axis=1)]
    inside = inside[front(inside)]
    if not len(inside):
        return 0.0
    if objectives == 2:
        widths = np.diff(np.append(inside[:, 0], reference[0]))
        return float((widths * (reference[1] - inside[:, 1])).sum())
    return _volume(inside[np.argsort(inside[:, 2], kind="stable")].tolist(), reference.tolist())


def _volume(rows: list[list[float]], reference: list[float]) -> float:
    """Volume for three objectives: with rows ascending in the third, each adds to the area covered in the first two."""
    xs, ys = [-np.inf, reference[0]], [reference[1], -np.inf]  # a staircase: x ascending, y descending, with both ends
    area = volume = 0.0
    below = rows[0][2]
    for x, y, z in rows:
        volume += area * (z - below)
        below = z
        left = bisect_right(xs, x) - 1  # the last step at or left of x
        if ys[left] <= y:
            continue
        right = bisect_left(xs, x)
        corner, ceiling = x, ys[left]
        while ys[right] >= y:  # steps that the new one covers
            area += (xs[right] - corner) * (ceiling - y)
            corner, ceiling = xs[right], ys[right]
            right += 1
        area += (xs[right] - corner) * (ceiling - y)
        first = bisect_left(xs, x)
        xs[first:right], ys[first:right] = [x], [y]
    return volume + area * (reference[2] - below)
