"""Iterated local search through single moves and exchanges, several climbs side by side.

Under limits, single moves soon find nothing better: what improves accuracy costs too much. An exchange is two moves, one
that makes room and one that uses it. There are tens of thousands around a subnet, too many to predict. So the gain of every
move is measured once, alone or together with the move that makes room for it at the least loss, and exchanges are predicted
in the order of the sum of the gains of their moves.

A climb that ends is followed by another, from one of the best optima of a pool with some of its moves redone at random. A
pool that no longer improves is replaced by a new one, from fresh samples. Nothing here depends on the kind of predictor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ofa.space.search_space import Genes
from search.arrays import Floats, Indices, Mask
from search.evaluations.archive import Archive
from search.problem.feasibility import violation
from search.searchers.evolution.moves import Moves

SIDE_BY_SIDE = 12
"""Climbs at the same time."""
MOST_MOVES = 400
"""Moves tried per step: a random choice where a domain has more."""
FIRST_EXCHANGES, MORE_EXCHANGES = 48, 144
"""Exchanges predicted per step; the second number where none of the first is better."""
FOUNDERS = 6
"""Optima in a pool before one of them is perturbed."""
POOL = 10
"""Optima kept in a pool."""
STALE = 12
"""Climbs without a better optimum after which a pool is replaced."""
REDONE = 0.2, 0.5
"""Fraction of the blocks (and of other genes) that a perturbation redoes: at least, at most."""
DRAWN, TRIED = 200, 32
"""Perturbed subnets drawn per climb, and those predicted to start from the best: the nearest to the limits."""
IDLE = 20
"""Steps without a new subnet after which the search ends: it has seen all it can reach."""


@dataclass
class Climb:
    """A subnet on its way up."""

    row: Genes
    """int8[genes]"""
    top1: float


@dataclass
class Exchanges:
    """Iterated local search in an archive's problem, until the budget ends or nothing new is found."""

    archive: Archive
    fresh: Callable[[], Genes]
    """Draws new subnets within the limits, int8[n, genes]."""
    rng: np.random.Generator
    moves: Moves = field(init=False)
    pool: list[Climb] = field(default_factory=list)
    """Distinct local optima, the best first."""
    stale: int = 0
    """Climbs since the pool became better."""
    _passed: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.moves = Moves.of(self.archive.problem.domain)

    def run(self, starts: Genes) -> None:
        """Climb from `starts`, int8[n, genes] within the limits, and then from perturbed optima."""
        waiting = [Climb(row, top1) for row, top1 in zip(starts, self.archive.top1_of(starts).tolist(), strict=True)][::-1]
        climbs: list[Climb] = []
        idle = 0
        while self.archive.left > 0 and idle < IDLE and len(self.moves):
            before = self.archive.evaluations
            while len(climbs) < SIDE_BY_SIDE:
                climbs += [waiting.pop() if waiting else self._next()]
            climbs = [climb for climb in climbs if self._first_time(climb)]
            if climbs:
                climbs = self._step(climbs)
            idle = 0 if self.archive.evaluations > before else idle + 1

    def _first_time(self, climb: Climb) -> bool:
        """Whether no climb has passed this subnet; where one has, the rest of the way is known."""
        key = climb.row.tobytes()
        if key in self._passed:
            self.stale += 1
            return False
        self._passed.add(key)
        return True

    def _next(self) -> Climb:
        """The start of the next climb: the best of some fresh samples, or of some perturbations of one optimum."""
        if self.stale >= STALE:
            self.pool, self.stale = [], 0
        drawn = self._perturbed() if len(self.pool) >= FOUNDERS else self.fresh()
        if not len(drawn):
            drawn = self.archive.genes[self.rng.integers(0, len(self.archive.genes), size=1)]
        top1 = self.archive.top1_of(drawn)
        best = int(np.nanargmax(top1)) if np.isfinite(top1).any() else 0
        return Climb(drawn[best], float(top1[best]))

    def _perturbed(self) -> Genes:
        """Variants of an optimum of the pool within the limits: those nearest to them, at most `TRIED`."""
        problem, moves = self.archive.problem, self.moves
        chosen = self.pool[self.rng.integers(0, len(self.pool))].row
        count = max(1, round(self.rng.uniform(*REDONE) * len(np.unique(moves.group))))
        inner = np.flatnonzero(moves.columns[:, 0] > 0)  # at the same resolution, where there are other moves
        picked = self.rng.choice(inner if len(inner) else np.arange(len(moves)), size=(DRAWN, count))
        drawn = moves.apply(np.repeat(chosen[None], DRAWN, axis=0), picked)
        drawn = drawn[violation(problem, drawn) <= 0]
        used = problem.utilisation(drawn)
        order = np.argsort(-used.max(axis=1), kind="stable") if used.shape[1] else np.arange(len(drawn))
        return np.asarray(drawn[order[:TRIED]])

    def _step(self, climbs: list[Climb]) -> list[Climb]:
        """Move every climb to its best neighbour; those that have none end, and enter the pool."""
        steps = [_Step(self, climb) for climb in climbs]
        self._try(steps, [step.near[step.fits] for step in steps], _Step.alone)
        self._try(steps, [step.with_room() for step in steps], _Step.roomy)
        self._try(steps, [step.exchanges(0, FIRST_EXCHANGES) for step in steps], _Step.look)
        stuck = [step for step in steps if not step.better]
        self._try(stuck, [step.exchanges(FIRST_EXCHANGES, FIRST_EXCHANGES + MORE_EXCHANGES) for step in stuck], _Step.look)
        for step in stuck:
            if not step.better:
                self._end(step.climb)
        return [Climb(step.best, step.best_top1) for step in steps if step.better]

    def _try(self, steps: list[_Step], genes: list[Genes], then: Callable[[_Step, Genes, Floats], None]) -> None:
        """Predict rows of several climbs at once, and give each its own."""
        if steps:
            ends = np.cumsum([len(rows) for rows in genes])
            top1 = np.split(self.archive.top1_of(np.concatenate(genes)), ends[:-1])
            for step, rows, own in zip(steps, genes, top1, strict=True):
                then(step, rows, np.where(np.isnan(own), -np.inf, own))

    def _end(self, climb: Climb) -> None:
        """Enter a local optimum into the pool."""
        full = len(self.pool) >= FOUNDERS
        self.stale = 0 if not full or climb.top1 > self.pool[0].top1 else self.stale + 1
        self.pool.append(climb)
        self.pool.sort(key=lambda optimum: -optimum.top1)
        del self.pool[POOL:]


class _Step:
    """The neighbourhood of one climb."""

    def __init__(self, search: Exchanges, climb: Climb) -> None:
        self.climb, self.moves = climb, search.moves
        problem, count = search.archive.problem, len(search.moves)
        self.best, self.best_top1 = climb.row, climb.top1
        self.tried: Indices = np.arange(count)
        if count > MOST_MOVES:
            self.tried = search.rng.choice(count, size=MOST_MOVES, replace=False)
        self.near = self.moves.apply(np.repeat(climb.row[None], len(self.tried), axis=0), self.tried)
        used = problem.utilisation(np.concatenate([climb.row[None], self.near]))
        self.room = 1 - used[0]
        self.cost = used[1:] - used[0]
        differs = (self.near != climb.row).any(axis=1)
        fits = (used[1:] <= 1).all(axis=1)
        self.fits: Indices = np.flatnonzero(differs & fits)
        self.dear: Indices = np.flatnonzero(differs & ~fits)
        self.gain: Floats = np.full(len(self.tried), -np.inf)
        """What each move adds to the top-1; -inf where that is unknown."""

    @property
    def better(self) -> bool:
        """Whether a better neighbour is known."""
        return self.best_top1 > self.climb.top1

    def look(self, genes: Genes, top1: Floats) -> None:
        """Remember the best of some neighbours."""
        if len(top1) and top1.max() > self.best_top1:
            self.best, self.best_top1 = genes[top1.argmax()], float(top1.max())

    def alone(self, genes: Genes, top1: Floats) -> None:
        """Take the gains of the moves that fit alone."""
        self.look(genes, top1)
        self.gain[self.fits] = top1 - self.climb.top1

    def with_room(self) -> Genes:
        """Each move that does not fit, after the one that makes room for it at the least loss."""
        if not len(self.fits):
            self.dear = self.dear[:0]
        loss = np.where(self._fit_together(self.dear, self.fits), -self.gain[self.fits], np.inf)
        self.maker = self.fits[loss.argmin(axis=1)] if len(self.dear) else self.dear
        kept = np.flatnonzero(np.isfinite(loss.min(axis=1, initial=np.inf)))
        self.dear, self.maker = self.dear[kept], self.maker[kept]
        return self.moves.apply(self.near[self.maker], self.tried[self.dear])

    def roomy(self, genes: Genes, top1: Floats) -> None:
        """Take the gains of the moves that were tried with room."""
        self.look(genes, top1)
        self.gain[self.dear] = top1 - (self.climb.top1 + self.gain[self.maker])

    def exchanges(self, start: int, end: int) -> Genes:
        """The exchanges that promise most, from the `start`-th to the `end`-th."""
        if start == 0:
            known = np.flatnonzero(np.isfinite(self.gain))
            gain = self.gain[known]
            place = np.arange(len(known))
            pair = np.flatnonzero(self._fit_together(known, known) & (place[:, None] < place))
            loss = -(gain[:, None] + gain).ravel()[pair]
            most = min(FIRST_EXCHANGES + MORE_EXCHANGES, len(loss))
            best = np.argpartition(loss, most - 1)[:most] if most else pair
            best = best[np.argsort(loss[best], kind="stable")]
            self.pairs = known[pair[best] // len(known)], known[pair[best] % len(known)]
        one, other = (side[start:end] for side in self.pairs)
        return self.moves.apply(self.near[one], self.tried[other])

    def _fit_together(self, some: Indices, others: Indices) -> Mask:
        """Which pairs of moves of different groups keep the limits, as far as their costs add up: bool[some, others]."""
        group = self.moves.group[self.tried]
        fit = group[some][:, None] != group[others]
        for cost, room in zip(self.cost.T, self.room, strict=True):
            fit &= cost[some][:, None] + cost[others] <= room
        return np.asarray(fit)
