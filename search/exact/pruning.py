"""Pruning under upper bounds on summed costs: paths that cannot end within the bounds, or not at a score already known."""

from __future__ import annotations

import numpy as np

from search.arrays import Floats, Indices, Mask
from search.exact.chains import merge
from search.exact.stage_tables import Chain
from search.pareto.nondominated import nondominated

MIXTURES = 9
"""Weighted sums of the costs that are tried to find a first good subnet."""


class Pruning:
    """Drops paths that cannot be completed within every bound; `chains.merge` calls it.

    With several bounds, it also drops a path whose best completion within some single bound stays below `incumbent`, the
    score of a known subnet.

    Args:
        chain: its bounds are on sums, or on sums with maxima: what is ahead adds to the sum, and to the maxima at least 0.
        bounds: float64[bounds], in fixed point as the costs are; infinite where there is no limit.
    """

    def __init__(self, chain: Chain, bounds: Floats) -> None:
        self.chain, self.bounds, self.incumbent = chain, bounds, -np.inf
        self._ahead = [_completions(chain, group[-1], whole_front=len(bounds) > 1) for group in chain.limited]

    def __call__(self, parts: int, width: int, score: Floats, costs: Floats) -> Mask:
        """True for the paths to keep, bool[n]; they have passed `parts` parts (stem and stages) and end in `width`."""
        spent = self.chain.limited_costs(costs)
        if len(self.bounds) == 1:
            return np.asarray(spent[0] + self._ahead[0][parts][width][0, 1:].min(initial=np.inf) <= self.bounds[0])
        alive = np.ones(len(score), dtype=np.bool_)
        for i, cost in enumerate(spent):
            reached = score + self._best_completion(i, parts, width, cost)
            alive &= (reached > -np.inf) & (reached >= self.incumbent)
        return alive

    def upper_bound(self) -> float:
        """A score that no path within the bounds exceeds (with one bound: some path's); -inf where a bound is too tight."""
        return min(float(self._best_completion(i, 0, 0, np.zeros(1))[0]) for i in range(len(self.bounds)))

    def _best_completion(self, i: int, parts: int, width: int, cost: Floats) -> Floats:
        """The highest score of a completion within bound `i` alone, float64[n]; -inf where there is none."""
        costs, scores = self._ahead[i][parts][width]
        return np.asarray(scores[np.searchsorted(costs, self.bounds[i] - cost, side="right") - 1])


def _completions(chain: Chain, i: int, whole_front: bool) -> list[list[Floats]]:
    """Cost `i` (ascending) and score of completions, float64[2, 1 + n], by the number of parts passed and the width there.

    The first column, -inf and -inf, stands for no completion; then comes the front, or only its cheapest point.
    """
    fronts = [[np.array([[-np.inf, 0.0], [-np.inf, 0.0]]) for _ in range(chain.scores[-1].shape[1])]]
    for part in range(len(chain.scores) - 1, -1, -1):
        states = range(len(chain.scores[part]))
        fronts.insert(0, [_before(chain, i, part, state, fronts[0], whole_front) for state in states])
    return fronts


def _before(chain: Chain, i: int, part: int, state: int, after: list[Floats], whole_front: bool) -> Floats:
    """Completions before a part, from the completions after it."""
    costs, scores = [np.array([])], [np.array([])]
    for width, (further_cost, further_score) in enumerate(after):
        options = np.flatnonzero(chain.allowed[part][state, width])
        cost, score = chain.costs[i][part][state, width][options], chain.scores[part][state, width][options]
        useful = nondominated(score, cost[None]) if whole_front else np.flatnonzero(cost == cost.min(initial=np.inf))[:1]
        costs.append((cost[useful][:, None] + further_cost[1:]).ravel())
        scores.append((score[useful][:, None] + further_score[1:]).ravel())
    cost, score = np.concatenate(costs), np.concatenate(scores)
    front = nondominated(score, cost[None])[::-1]
    return np.stack([np.append(-np.inf, cost[front]), np.append(-np.inf, score[front])])


def good_score(chain: Chain, bounds: Floats) -> float:
    """The score of a good subnet within all bounds, from fronts of weighted sums of the costs; -inf where none is found."""
    sums = [chain.costs[group[-1]] for group in chain.limited]
    best = -np.inf
    for share in np.linspace(0, 1, MIXTURES):
        weights = np.append(share, np.full(len(bounds) - 1, (1 - share) / (len(bounds) - 1))) / bounds
        mixed = tuple(np.tensordot(weights, of_part, axes=1) for of_part in zip(*sums, strict=True))
        paths = merge(Chain(chain.scores, (mixed,), chain.allowed, (np.add,), ((0,),)))
        costs = np.stack([_along(chain, i, paths.picks) for i in range(len(chain.costs))])
        within = (chain.limited_costs(costs) <= bounds[:, None]).all(axis=0)
        best = max(best, float(paths.score[within].max(initial=-np.inf)))
    return best


def _along(chain: Chain, i: int, picks: Indices) -> Floats:
    """Cost `i` of complete paths, float64[paths]."""
    total, before = np.zeros(len(picks)), np.zeros(len(picks), dtype=np.int64)
    for part, values in enumerate(chain.costs[i]):
        width, option = np.divmod(picks[:, part], chain.scores[part].shape[2])
        total = chain.reduce[i](total, values[before, width, option])
        before = width
    return total
