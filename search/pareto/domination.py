"""Who beats whom in several objectives, and how much a front covers; everything is to be low ("losses").

One point beats another when it is at most as high in every objective and lower in one; equal points do not beat each other.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
CHUNK = 256


def nondominated(losses: Floats, front: int = 0) -> Mask:
    """Which rows of float64[n, objectives] no other row beats, bool[n]; O(n log n) for one or two objectives.

    The first `front` rows are known not to beat each other, which saves comparing them.
    """
    n, objectives = losses.shape
    if n == 0 or objectives == 1:
        return np.asarray(losses[:, 0] == losses[:, 0].min(initial=np.inf))
    mask = np.ones(n, dtype=np.bool_)
    if front and objectives > 2:
        known, rest = losses[:front], losses[front:]
        mask[front:] = ~_beats(known, rest).any(axis=0)
        mask[front:][mask[front:]] = nondominated(rest[mask[front:]])
        mask[:front] = ~_beats(losses[front:][mask[front:]], known).any(axis=0)
        return mask
    order = np.lexsort(losses.T[::-1])
    mask[order] = _sweep(losses[order]) if objectives == 2 else _by_chunks(losses[order])
    return mask


def _sweep(ordered: Floats) -> Mask:
    """Two objectives, rows in lexicographic order: a row is kept when it is lower in the second than all before it."""
    best_before = np.concatenate([[np.inf], np.minimum.accumulate(ordered[:, 1])[:-1]])
    better = ordered[:, 1] < best_before
    last = np.maximum.accumulate(np.where(better, np.arange(len(ordered)), 0))  # the kept row at or before each one
    return np.asarray(better | (ordered == ordered[last]).all(axis=1))


def _by_chunks(ordered: Floats) -> Mask:
    """Rows in lexicographic order (a later one beats no earlier one): chunk after chunk against what is kept so far."""
    mask = np.zeros(len(ordered), dtype=np.bool_)
    kept = ordered[:0]
    for start in range(0, len(ordered), CHUNK):
        chunk = ordered[start : start + CHUNK]
        rivals = np.concatenate([kept, chunk])
        beaten = _beats(rivals, chunk).any(axis=0)
        mask[start : start + CHUNK] = ~beaten
        kept = np.concatenate([kept, chunk[~beaten]])
    return mask


def _beats(first: Floats, second: Floats) -> Mask:
    """Whether row i of `first` beats row j of `second`, bool[len(first), len(second)]."""
    not_worse = np.ones((len(first), len(second)), dtype=np.bool_)
    better = np.zeros((len(first), len(second)), dtype=np.bool_)
    for one, other in zip(first.T, second.T, strict=True):
        not_worse &= one[:, None] <= other
        better |= one[:, None] < other
    return not_worse & better


def ranks(losses: Floats, violation: Floats | None = None) -> Indices:
    """Nondominated sorting with constraint domination (Deb et al. 2002, sections III.A and VI.A), int64[n].

    Rank 0 is the front of the feasible rows, rank 1 the front of the rest, and so on; then come the infeasible rows, those
    that violate least first. Two objectives take O(n log n) (Jensen 2003), more take O(n^2).

    Args:
        losses: float64[n, objectives].
        violation: float64[n], at most 0 for a feasible row; all are feasible by default.
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
    """Rows in lexicographic order; each joins the first front whose last row does not beat it."""
    distinct, inverse = np.unique(losses, axis=0, return_inverse=True)
    lowest: list[float] = []  # the second objective of each front's last row: its lowest; ascending over the fronts
    found = np.zeros(len(distinct), dtype=np.int64)
    for i, second in enumerate(distinct[:, 1].tolist()):
        front = bisect_right(lowest, second)
        found[i] = front
        lowest[front : front + 1] = [second]
    return np.asarray(found[inverse.reshape(-1)])


def _peel(losses: Floats) -> Indices:
    """Front after front, by counting how many rows not yet ranked beat each one."""
    beats = _beats(losses, losses)
    rivals = beats.sum(axis=0)
    found = np.full(len(losses), -1, dtype=np.int64)
    front = 0
    while (found < 0).any():
        current = (rivals == 0) & (found < 0)
        found[current] = front
        rivals = rivals - beats[current].sum(axis=0)
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
    """What a set covers: the measure of all points that it beats and that beat the reference; 2 or 3 objectives, exact.

    Args:
        losses: float64[n, objectives]; rows that do not lie below the reference in every objective add nothing.
        reference: float64[objectives].

    Raises:
        ValueError: there are neither 2 nor 3 objectives.
    """
    objectives = losses.shape[1]
    if objectives not in (2, 3):
        raise ValueError(f"the hypervolume is computed for 2 or 3 objectives; there are {objectives}")
    inside = losses[(losses < reference).all(axis=1)]
    inside = inside[nondominated(inside)]
    if not len(inside):
        return 0.0
    if objectives == 2:
        ordered = inside[np.lexsort((inside[:, 1], inside[:, 0]))]
        widths = np.diff(np.append(ordered[:, 0], reference[0]))
        return float((widths * (reference[1] - ordered[:, 1])).sum())
    return _volume(inside[np.argsort(inside[:, 2], kind="stable")].tolist(), reference.tolist())


def _volume(rows: list[list[float]], reference: list[float]) -> float:
    """Three objectives, the third ascending: the area covered in the first two grows row by row; each area is a slice."""
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
