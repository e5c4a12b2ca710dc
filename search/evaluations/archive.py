"""The archive of a search: which subnets were evaluated, and the best of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from ofa.errors import UserError
from ofa.space.search_space import Genes
from search.arrays import Floats, Indices
from search.evaluations.log import SearchLog
from search.evaluations.result import SearchResult
from search.pareto.domination import front, hypervolume
from search.problem.feasibility import not_accurate_enough, violation
from search.problem.problem import Problem
from search.rows import keys

BEST_KEPT = 256
"""Subnets kept by a search with one objective."""


@dataclass
class Archive:
    """The feasible subnets that a search has evaluated; each subnet is evaluated once and counts once.

    It keeps the `BEST_KEPT` best for one objective, or all nondominated ones for several. Only the archive reads and writes
    the search's log.
    """

    problem: Problem
    budget: int
    log: SearchLog | None = None
    any_objective: bool = False
    """True where the searcher supports other objectives than accuracy alone."""
    evaluations: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)
    reference: Floats | None = None
    _known: dict[int, float] = field(default_factory=dict)
    """Top-1 of everything evaluated, by the row's hash."""
    _started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise UserError(f"the search budget is {self.budget}; must be at least 1 evaluation")
        if not (self.problem.accuracy_only or self.any_objective):
            asked = ", ".join(str(objective) for objective in self.problem.objectives)
            raise UserError(f"this algorithm searches for accuracy alone; the objectives are {asked}: use nsga2 or auto")
        self.genes: Genes = self.problem.space.sample(0, np.random.default_rng(0))
        self.top1: Floats = np.zeros(0)
        self.losses: Floats = np.zeros((0, len(self.problem.objectives)))

    @property
    def left(self) -> int:
        """Number of evaluations left in the budget."""
        return max(0, self.budget - self.evaluations)

    def new(self, genes: Genes) -> Genes:
        """The rows that are feasible and not yet evaluated, each once."""
        return genes[self.new_places(genes)]

    def new_places(self, genes: Genes) -> Indices:
        """Indices of the rows that `new` returns, int64[rows]."""
        return self._new_places(genes, keys(genes).tolist())

    def _new_places(self, genes: Genes, hashes: list[int]) -> Indices:
        known = self._known
        last = len(hashes) - 1
        first = {key: last - i for i, key in enumerate(reversed(hashes)) if key not in known}  # of equal rows, the first
        fresh = np.sort(np.fromiter(first.values(), dtype=np.int64, count=len(first)))
        return fresh[violation(self.problem, genes[fresh]) <= 0] if len(fresh) else fresh

    def top1_of(self, genes: Genes) -> Floats:
        """Top-1 of rows, float64[n], of which those not yet evaluated are evaluated now.

        NaN for rows beyond the limits, and for those that the budget does not allow.
        """
        hashes = keys(genes).tolist()
        self.add(genes[self._new_places(genes, hashes)])
        return np.array([self._known.get(key, np.nan) for key in hashes], dtype=np.float64)

    def add(self, genes: Genes, top1: Floats | None = None) -> Floats:
        """Evaluate rows that `new` returned, as many as the budget allows, and keep the best; returns their top-1 in order.

        Given `top1`, the rows were evaluated elsewhere: all of them are added, and count as evaluations.
        """
        if top1 is None:
            genes = genes[: self.left]
        if not len(genes):
            return np.zeros(0)
        if top1 is None:
            top1 = self.problem.top1(genes) if self.log is None else self.log.top1(self.problem, genes)
        self._known.update(zip(keys(genes).tolist(), top1.tolist(), strict=True))
        self.evaluations += len(genes)
        losses = self.problem.values(genes, top1) * self.problem.signs
        if self.reference is None and losses.shape[1] > 1:
            self.reference = losses.max(axis=0)
        self._keep(genes, top1, losses)
        best, volume = self._progress()
        if best is not None:
            self.history.append((self.evaluations, best if volume is None else volume))
        if self.log is not None:
            self.log.batch(self.evaluations, best, volume, genes, top1)
        return top1

    def _keep(self, genes: Genes, top1: Floats, losses: Floats) -> None:
        """Keep the best of what is kept already and of new rows."""
        if len(self.top1) == BEST_KEPT and losses.shape[1] == 1 and self.top1.min() >= self.problem.least_top1:
            may = np.flatnonzero((losses[:, 0] <= self.losses[-1, 0]) & (top1 >= self.problem.least_top1))
            if not len(may):
                return
            genes, top1, losses = genes[may], top1[may], losses[may]
        candidates, everything = np.concatenate([self.genes, genes]), np.concatenate([self.top1, top1])
        self.losses = np.concatenate([self.losses, losses])
        kept = self._best(candidates, everything)
        self.genes, self.top1, self.losses = candidates[kept], everything[kept], self.losses[kept]

    def _best(self, genes: Genes, top1: Floats) -> Indices:
        """Indices of the rows to keep: the best (where equal, the more accurate, then the cheaper first), or the front.

        While no row is accurate enough, the most accurate ones.
        """
        accurate = top1 >= self.problem.least_top1
        if not accurate.any():
            return np.argsort(-top1, kind="stable")[:BEST_KEPT]
        enough = np.flatnonzero(accurate)
        if self.losses.shape[1] == 1:
            columns = [-top1[enough], self.losses[enough, 0]]
            order = np.lexsort(columns)
            if np.all([np.diff(column[order]) == 0 for column in columns], axis=0).any():
                order = np.lexsort([self.problem.among_equals(genes[enough]), *columns])
            return np.asarray(enough[order[:BEST_KEPT]])
        return np.asarray(enough[front(self.losses[enough])])

    def _progress(self) -> tuple[float | None, float | None]:
        """Best value of the first objective, and hypervolume with two or three; None while nothing is accurate enough."""
        if self.top1.max() < self.problem.least_top1:
            return None, None
        best = float(self.losses[:, 0].min() * self.problem.signs[0])
        few = self.reference is not None and len(self.reference) <= 3
        return best, hypervolume(self.losses, self.reference) if few and self.reference is not None else None

    def result(self, algorithm: str) -> SearchResult:
        """The best of the evaluated subnets; raises `Infeasible` where none reaches `Problem.min_top1`."""
        enough = self.top1 >= self.problem.least_top1
        if not enough.any():
            raise not_accurate_enough(self.problem, float(self.top1.max()))
        return SearchResult(
            genes=self.genes[enough],
            top1=self.top1[enough],
            values=self.losses[enough] * self.problem.signs,
            algorithm=algorithm,
            evaluations=self.evaluations,
            seconds=time.perf_counter() - self._started,
            history=tuple(self.history),
            reference=None if self.reference is None else self.reference * self.problem.signs,
        )
