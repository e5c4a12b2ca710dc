"""What every searcher takes and returns, and the list of those there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.space import Genes
from search.feasibility import violation
from search.genes import distinct, keys
from search.problem import Floats, Problem

KEEP = 256
DEFAULT_BUDGET = 20_000


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found: distinct, canonical, feasible subnets, the best predicted first."""

    genes: Genes
    """int8[found, genes], found >= 1."""
    top1: Floats
    """Predicted, float64[found], descending."""
    algorithm: str
    evaluations: int
    """Feasible subnets whose accuracy was predicted; each counts once."""
    seconds: float
    history: tuple[tuple[int, float], ...] = ()
    """(evaluations, best top-1 so far), one per batch."""
    optimal: bool = False
    """Whether no feasible subnet has a higher predicted top-1; false where that is not proven."""


class Searcher(Protocol):
    """A way to solve a `Problem`. `tests/test_search_conformance.py` states what each must do."""

    @property
    def name(self) -> str:
        """As in `ofa query --algorithm`."""

    def search(self, problem: Problem, rng: np.random.Generator, budget: int) -> SearchResult:
        """The best subnets found with at most `budget` evaluations of the predictor.

        Raises:
            Infeasible: no subnet meets the limits.
            UserError: the budget is not positive.
        """


def _best(genes: Genes, top1: Floats) -> npt.NDArray[np.int64]:
    return np.argsort(-top1, kind="stable")[:KEEP]


@dataclass
class Archive:
    """The feasible subnets that a search has evaluated; each subnet is evaluated once and counts once."""

    problem: Problem
    budget: int
    evaluations: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)
    select: Callable[[Genes, Floats], npt.NDArray[np.int64]] = _best
    """Which of the subnets evaluated so far (genes, top-1) stay at hand, in which order; the best first by default."""
    _seen: set[int] = field(default_factory=set)
    _started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise UserError(f"the search budget is {self.budget}; must be at least 1 evaluation")
        self.genes: Genes = self.problem.space.sample(0, np.random.default_rng(0))
        self.top1: Floats = np.zeros(0)

    @property
    def left(self) -> int:
        """Evaluations left."""
        return self.budget - self.evaluations

    def new(self, genes: Genes) -> Genes:
        """The rows that are feasible and not yet evaluated, without repetition."""
        if not len(genes):
            return genes
        genes = distinct(genes)
        fresh = genes[[key not in self._seen for key in keys(genes).tolist()]]
        return fresh[violation(self.problem, fresh) <= 0] if len(fresh) else fresh

    def add(self, genes: Genes) -> Floats:
        """Evaluate rows out of `new`, as many as the budget allows, and keep the selected ones; returns top-1 in order."""
        genes = genes[: self.left]
        if not len(genes):
            return np.zeros(0)
        self._seen.update(keys(genes).tolist())
        self.evaluations += len(genes)
        top1 = self.problem.top1(genes)
        everything = np.concatenate([self.top1, top1])
        candidates = np.concatenate([self.genes, genes])
        kept = self.select(candidates, everything)
        self.genes, self.top1 = candidates[kept], everything[kept]
        self.history.append((self.evaluations, float(self.top1.max())))
        return top1

    def result(self, algorithm: str) -> SearchResult:
        """The best of what was evaluated."""
        seconds = time.perf_counter() - self._started
        return SearchResult(
            genes=self.genes,
            top1=self.top1,
            algorithm=algorithm,
            evaluations=self.evaluations,
            seconds=seconds,
            history=tuple(self.history),
        )


def searchers() -> dict[str, Callable[[], Searcher]]:
    """Every searcher by name."""
    from search.evolution import Evolution
    from search.exact import Exact
    from search.random_search import RandomSearch

    return {"exact": Exact, "evolution": Evolution, "random": RandomSearch}


def find_searcher(name: str, problem: Problem | None = None) -> tuple[Searcher, str]:
    """A searcher by name, and why this one; `auto` picks: exact where the problem allows it, else evolution.

    Raises:
        UserError: unknown name; the message lists what exists.
    """
    known = searchers()
    if name == "auto":
        from search.exact import exact_obstacle

        reason = "it is not known yet what is searched" if problem is None else exact_obstacle(problem)
        if reason is None:
            return known["exact"](), "auto: predictor and costs are sums over stages, so the optimum can be computed"
        return known["evolution"](), f"auto: not exact, because {reason}; evolution beats random sampling"
    if name not in known:
        raise UserError(f"algorithm is {name!r}; available are auto, {', '.join(known)}")
    return known[name](), "as asked"
