"""What no other beats in a score (up) and in several costs (down), of millions of points."""

from __future__ import annotations

import numpy as np

from search.arrays import Floats, Indices, Mask

BLOCK = 512
FEW = 20_000
"""Below, sorting at once is as fast."""
BINS = 300


def unbeaten(score: Floats, costs: Floats) -> Indices:
    """Indices of those that no other beats in score and in every cost, best score first; of equal ones, one.

    One cost is a running minimum. Two are kept as a staircase of what is cheapest so far, against which the rest is compared
    in blocks. More are compared block by block with all that are kept.
    """
    few = _rough(score, costs) if len(costs) == 2 and len(score) > FEW else np.arange(len(score))
    order = few[np.lexsort((*costs[::-1, few], -score[few]))]
    ordered = costs[:, order]
    if len(costs) == 1:
        best = np.minimum.accumulate(ordered[0])
        return np.asarray(order[np.concatenate([[True], best[1:] < best[:-1]])] if len(order) else order)
    kept: list[Indices] = []
    filtered = _Staircase() if len(costs) == 2 else _Rivals(len(costs))
    for start in range(0, len(order), BLOCK):
        block = ordered[:, start : start + BLOCK]
        open_ = np.flatnonzero(~filtered.beats(block))
        block = block[:, open_]
        worse = np.tril(np.ones((len(open_), len(open_)), dtype=np.bool_), -1)
        for values in block:
            worse &= values[None] <= values[:, None]
        inside = ~worse.any(axis=1)
        filtered.add(block[:, inside])
        kept.append(order[start + open_[inside]])
    return np.concatenate(kept) if kept else order


def _rough(score: Floats, costs: Floats) -> Indices:
    """A small superset of what nothing beats in score and two costs: what nothing in a bin of higher scores beats.

    Sorting into bins of 16 bits is ten times faster than sorting, and leaves little to sort.
    """
    low, high = score.min(), score.max()
    bins = ((high - score) * (BINS / max(high - low, 1e-300))).astype(np.uint16)  # the best score is in bin 0
    order = np.argsort(bins, kind="stable")
    ends = np.cumsum(np.bincount(bins, minlength=BINS + 1))
    higher = _Staircase()
    kept = []
    for start, end in zip(np.append(0, ends[:-1]), ends, strict=True):
        inside = order[start:end]
        inside = inside[~higher.beats(costs[:, inside])]
        higher.add(costs[:, inside])
        kept.append(inside)
    return np.concatenate(kept)


class _Staircase:
    """The lowest second cost at or below each first cost."""

    def __init__(self) -> None:
        self.first, self.second = np.array([-np.inf]), np.array([np.inf])

    def beats(self, costs: Floats) -> Mask:
        """Whether something is as cheap in both, bool[n]."""
        step = np.searchsorted(self.first, costs[0], side="right") - 1
        return np.asarray(self.second[step] <= costs[1])

    def add(self, costs: Floats) -> None:
        first, second = np.append(self.first, costs[0]), np.append(self.second, costs[1])
        order = np.lexsort((second, first))
        lowest = np.minimum.accumulate(second[order])
        steps = np.concatenate([[True], lowest[1:] < lowest[:-1]])
        self.first, self.second = first[order][steps], lowest[steps]


class _Rivals:
    """Everything that is kept, for any number of costs."""

    def __init__(self, count: int) -> None:
        self.costs = np.zeros((count, 0))

    def beats(self, costs: Floats) -> Mask:
        """Whether something is as cheap in all, bool[n]."""
        cheaper = np.ones((costs.shape[1], self.costs.shape[1]), dtype=np.bool_)
        for mine, theirs in zip(costs, self.costs, strict=True):
            cheaper &= theirs <= mine[:, None]
        return np.asarray(cheaper.any(axis=1))

    def add(self, costs: Floats) -> None:
        self.costs = np.concatenate([self.costs, costs], axis=1)
