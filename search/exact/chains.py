"""Paths through a chain of stages: merged stage by stage, and dropped when another serves better. See `exact.solve`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search.arrays import Floats
from search.exact.stage_tables import Chain

Indices = npt.NDArray[np.int64]
FEW = 500
"""Below, sorting at once is as fast."""
BINS = (1 << 16) - 1
WEIGHTS = 9
"""Mixtures of two costs tried for a first good subnet."""


@dataclass(frozen=True)
class Paths:
    """Beginnings of subnets that end in one state."""

    score: Floats
    costs: Floats
    """[costs, paths]"""
    picks: Indices
    """[paths, stem and stages]: width and option of each, as width * options + option."""

    def take(self, index: Indices) -> Paths:
        """Some of them."""
        return Paths(self.score[index], self.costs[:, index], self.picks[index])


def merge(chain: Chain, bounds: Floats, ahead: list[list[list[Floats]]], incumbent: float = -np.inf) -> Paths:
    """All paths through a chain worth keeping, within the bounds (and, with several, that may beat the incumbent)."""
    start = Paths(np.zeros(1), np.zeros((len(bounds), 1)), np.zeros((1, 0), dtype=np.int64))
    states = [start]
    for part in range(len(chain.scores)):
        joined: list[list[Paths]] = [[] for _ in range(chain.scores[part].shape[1])]
        for before, paths in enumerate(states):
            for width, arrivals in enumerate(joined):
                arrivals.append(
                    _extend(chain, part, paths, before, width, bounds, [a[part + 1][width] for a in ahead], incumbent)
                )
        states = [_join(arrivals) for arrivals in joined]
    return _join(states)


def _join(parts: list[Paths]) -> Paths:
    """Those of all parts that no other beats; each part alone has none that is beaten."""
    if len(parts) == 1:
        return parts[0]
    paths = Paths(
        np.concatenate([paths.score for paths in parts]),
        np.concatenate([paths.costs for paths in parts], axis=1),
        np.concatenate([paths.picks for paths in parts]),
    )
    return paths.take(_useful(paths.score, paths.costs))


def _extend(
    chain: Chain, part: int, paths: Paths, before: int, width: int, bounds: Floats, ahead: list[Floats], incumbent: float
) -> Paths:
    """Every path with every option of the next stage, less what another beats; `ahead`: per cost, the front of the rest."""
    options = np.flatnonzero(chain.allowed[part][before, width])
    cost = np.stack([costs[part][before, width][options] for costs in chain.costs])
    score = chain.scores[part][before, width][options]
    useful = _useful(score, cost)
    options, score, cost = options[useful], score[useful], cost[:, useful]
    total = (paths.score[:, None] + score).ravel()
    sums = (paths.costs[:, :, None] + cost[:, None, :]).reshape(len(cost), -1)
    kept = _within(total, sums, bounds, ahead, incumbent)
    kept = kept[_useful(total[kept], sums[:, kept])]
    parent, option = np.divmod(kept, max(1, len(options)))
    chosen = width * chain.scores[part].shape[2] + options[option]
    picks = np.concatenate([paths.picks[parent], chosen[:, None]], axis=1)
    return Paths(total[kept], sums[:, kept], picks)


def _within(score: Floats, costs: Floats, bounds: Floats, ahead: list[Floats], incumbent: float) -> Indices:
    """Beginnings that can be completed within every bound and, with several costs, so as to reach the incumbent's score."""
    if any(not len(front[0]) for front in ahead):
        return np.zeros(0, dtype=np.int64)
    fits = np.ones(len(score), dtype=np.bool_)
    for cost, bound, front in zip(costs, bounds, ahead, strict=True):
        if len(ahead) == 1:
            fits = cost <= bound - front[0][0]
        else:
            room = np.searchsorted(front[0], bound - cost, side="right")
            fits &= room > 0
            fits &= score + front[1][np.maximum(room - 1, 0)] >= incumbent
    return np.flatnonzero(fits)


def _useful(score: Floats, cost: Floats) -> Indices:
    """Options that no other beats."""
    if len(cost) == 1:
        return _staircase(cost[0], score)
    return _nondominated(score, cost)


def _cheapest(cost: Floats) -> Indices:
    return np.array([cost.argmin()]) if len(cost) else np.zeros(0, dtype=np.int64)


def _staircase(cost: Floats, score: Floats) -> Indices:
    """Indices of the front, cost ascending; among equals of cost and score, one."""
    few = _coarse(cost, score) if len(cost) > FEW else np.arange(len(cost))
    order = few[np.argsort(cost[few], kind="stable")]
    best = np.maximum.accumulate(score[order])
    return order[np.concatenate([[True], best[1:] > best[:-1]])] if len(order) else order


def _coarse(cost: Floats, score: Floats) -> Indices:
    """A small superset of the front: what nothing in a cheaper bin beats. Bins of 16 bits sort ten times faster."""
    low, high = cost.min(), cost.max()
    bins = ((cost - low) * (BINS / max(high - low, 1e-300))).astype(np.uint16)
    order = np.argsort(bins, kind="stable")
    ordered, best = bins[order], np.maximum.accumulate(score[order])
    starts = np.concatenate([[False], ordered[1:] != ordered[:-1]])
    cheaper = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))  # how many are in cheaper bins
    beaten = (cheaper > 0) & (best[np.maximum(cheaper - 1, 0)] >= score[order])
    return np.asarray(order[~beaten])


def _nondominated(score: Floats, cost: Floats, chunk: int = 256) -> Indices:
    """Indices that no other beats in score and all costs, best score first; blocks against what is kept so far."""
    order = np.lexsort((*cost, -score))
    kept = np.zeros(0, dtype=np.int64)
    for start in range(0, len(order), chunk):
        block = order[start : start + chunk]
        if len(kept):  # those kept have at least the score
            beaten = np.ones((len(block), len(kept)), dtype=np.bool_)
            for values in cost:
                beaten &= values[kept] <= values[block][:, None]
            block = block[~beaten.any(axis=1)]
        inside = np.tril(np.ones((len(block), len(block)), dtype=np.bool_), -1)  # an earlier one beats a later one
        for values in cost:
            inside &= values[block] <= values[block][:, None]
        kept = np.concatenate([kept, block[~inside.any(axis=1)]])
    return kept


def most(ahead: list[list[list[Floats]]], bounds: Floats) -> float:
    """An upper bound of the score of a whole path: the best within any single bound."""
    best = np.inf
    for fronts, bound in zip(ahead, bounds, strict=True):
        cost, score = fronts[0][0]
        within = score[cost <= bound]
        best = min(best, float(within.max()) if len(within) else -np.inf)
    return best


def ahead_of(chain: Chain, count: int) -> list[list[list[Floats]]]:
    """Per cost, after each part and width: the front (costs ascending, scores) of everything that follows."""
    result = []
    for i in range(count):
        fronts: list[list[Floats]] = [[np.zeros((2, 1)) for _ in range(chain.scores[-1].shape[1])]]
        for part in range(len(chain.scores) - 1, -1, -1):
            before = []
            for state in range(chain.scores[part].shape[0]):
                costs, scores = [], []
                for width, front in enumerate(fronts[0]):
                    options = np.flatnonzero(chain.allowed[part][state, width])
                    cost, score = chain.costs[i][part][state, width][options], chain.scores[part][state, width][options]
                    useful = _staircase(cost, score) if count > 1 else _cheapest(cost)
                    costs.append((cost[useful][:, None] + front[0]).ravel())
                    scores.append((score[useful][:, None] + front[1]).ravel())
                cost, score = np.concatenate(costs), np.concatenate(scores)
                useful = _staircase(cost, score)
                before.append(np.stack([cost[useful], score[useful]]))
            fronts.insert(0, before)
        result.append(fronts)
    return result


def good_score(chain: Chain, bounds: Floats) -> float:
    """The score of a good subnet within all bounds: from fronts of mixtures of the costs; -inf where none is found."""
    best = -np.inf
    for share in np.linspace(0, 1, WEIGHTS):
        weights = np.full(len(bounds), (1 - share) / max(1, len(bounds) - 1)) / bounds
        weights[0] = share / bounds[0]
        mixed = tuple(
            sum(weight * costs[part] for weight, costs in zip(weights, chain.costs, strict=True))
            for part in range(len(chain.scores))
        )
        single = Chain(chain.scores, (mixed,), chain.allowed)
        paths = merge(single, np.array([np.inf]), ahead_of(single, 1))
        if not len(paths.score):
            return best
        within = np.ones(len(paths.score), dtype=np.bool_)
        for costs, bound in zip(chain.costs, bounds, strict=True):
            within &= _along(chain, costs, paths.picks) <= bound
        if within.any():
            best = max(best, float(paths.score[within].max()))
    return best


def _along(chain: Chain, costs: tuple[Floats, ...], picks: Indices) -> Floats:
    """One cost of whole paths."""
    total, before = np.zeros(len(picks)), np.zeros(len(picks), dtype=np.int64)
    for part, values in enumerate(costs):
        width, option = np.divmod(picks[:, part], chain.scores[part].shape[2])
        total += values[before, width, option]
        before = width
    return total
