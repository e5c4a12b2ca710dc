"""Paths through a chain of stages, extended stage by stage; a path that another one of the same end state dominates is
dropped.

Every continuation is open to both paths alike (Bellman's principle), so nothing is lost, whether a cost is a sum or, like
peak memory, a maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from search.arrays import Floats, Indices, Mask
from search.exact.stage_tables import Chain
from search.pareto.nondominated import nondominated

MOST_SUMS = 4_000_000
"""Most paths made at once; bounds the memory."""

Prune = Callable[[int, int, Floats, Floats], Mask]
"""Takes the number of parts (stem and stages) that paths have passed, the width after them, and the paths' scores and costs;
returns which paths to keep."""


class TooManyPathsError(Exception):
    """More nondominated paths than allowed."""


@dataclass(frozen=True)
class Paths:
    """Partial subnets, from the stem to some stage, that end in the same state (the width there)."""

    score: Floats
    """[paths]"""
    costs: Floats
    """[costs, paths]"""
    picks: Indices
    """[paths, stem and stages so far]: the width and the option chosen, as width * options + option."""

    def take(self, index: Indices) -> Paths:
        """The paths of these indices."""
        return Paths(self.score[index], self.costs[:, index], self.picks[index])


def all_live(_parts: int, _width: int, score: Floats, _costs: Floats) -> Mask:
    """Keep every path."""
    return np.ones(len(score), dtype=np.bool_)


def merge(chain: Chain, prune: Prune = all_live, most: float = np.inf) -> Paths:
    """The nondominated paths through a whole chain, out of those that `prune` keeps.

    Raises:
        TooManyPathsError: more than `most` paths end in one state.
    """
    states = [Paths(np.zeros(1), np.zeros((len(chain.costs), 1)), np.zeros((1, 0), dtype=np.int64))]
    for part, scores in enumerate(chain.scores):
        arrivals = []
        for width in range(scores.shape[1]):
            longer = [_extend(chain, part, paths, before, width, prune) for before, paths in enumerate(states)]
            arrivals.append(_join([paths for chunks in longer for paths in chunks]))
            if len(arrivals[-1].score) > most:
                raise TooManyPathsError
        states = arrivals
    return _join(states)


def _join(parts: list[Paths]) -> Paths:
    """The nondominated paths of several sets; within each set none dominates another."""
    if len(parts) == 1:
        return parts[0]
    paths = Paths(
        np.concatenate([paths.score for paths in parts]),
        np.concatenate([paths.costs for paths in parts], axis=1),
        np.concatenate([paths.picks for paths in parts]),
    )
    return paths.take(nondominated(paths.score, paths.costs))


def _extend(chain: Chain, part: int, paths: Paths, before: int, width: int, prune: Prune) -> Iterator[Paths]:
    """Extend every path by every nondominated option of the next part, in chunks; each yields its nondominated paths."""
    options = np.flatnonzero(chain.allowed[part][before, width])
    score = chain.scores[part][before, width][options]
    costs = np.stack([cost[part][before, width][options] for cost in chain.costs])
    useful = nondominated(score, costs)
    options, score, costs = options[useful], score[useful], costs[:, useful]
    at_once = max(1, MOST_SUMS // max(1, len(options)))
    for start in range(0, max(1, len(paths.score)), at_once):  # one chunk also where there is nothing
        some = paths.take(np.arange(len(paths.score))[start : start + at_once])
        total = (some.score[:, None] + score).ravel()
        joined = [
            reduce(have[:, None], more).ravel() for reduce, have, more in zip(chain.reduce, some.costs, costs, strict=True)
        ]
        sums = np.stack(joined)
        alive = np.flatnonzero(prune(part + 1, width, total, sums))
        kept = alive[nondominated(total[alive], sums[:, alive])]
        parent, option = np.divmod(kept, max(1, len(options)))
        chosen = width * chain.scores[part].shape[2] + options[option]
        yield Paths(total[kept], sums[:, kept], np.concatenate([some.picks[parent], chosen[:, None]], axis=1))
