"""What every searcher takes and returns, and the list of those there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.space.search_space import Genes
from search.pareto.domination import hypervolume, nondominated
from search.problem.feasibility import not_accurate_enough, violation
from search.problem.genes import first_places, keys
from search.problem.problem import Floats, Problem

KEEP = 256
DEFAULT_BUDGET = 20_000
DEFAULT_BUDGET_OF_OPTUNA = 300
"""Its samplers take longer to propose a subnet than a predictor to evaluate a thousand."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found: distinct, canonical subnets within the limits, the best first.

    With several objectives: all found that no other found subnet beats, the best in the first objective first.
    """

    genes: Genes
    """int8[found, genes], found >= 1."""
    top1: Floats
    """Predicted, float64[found]; descending where accuracy is the first objective."""
    values: Floats
    """Of the problem's objectives, each in its own unit, float64[found, objectives]."""
    algorithm: str
    evaluations: int
    """Feasible subnets whose accuracy was predicted; each counts once."""
    seconds: float
    history: tuple[tuple[int, float], ...] = ()
    """One per batch: evaluations, and the best value so far of the objective; of several, the hypervolume so far."""
    reference: Floats | None = None
    """Where that hypervolume ends: the worst values of the first batch, float64[objectives]; None with one objective."""
    optimal: bool = False
    """Whether no feasible subnet is predicted better (beats one of these); false where that is not proven."""


class Searcher(Protocol):
    """A way to solve a `Problem`. `tests/search/searchers/test_search_conformance.py` states what each must do."""

    @property
    def name(self) -> str:
        """As in `ofa query --algorithm`."""

    def search(self, problem: Problem, rng: np.random.Generator, budget: int) -> SearchResult:
        """The best subnets found with at most `budget` evaluations of the predictor.

        Raises:
            Infeasible: no subnet meets the limits.
            UserError: the budget is not positive, or the searcher is not made for such objectives.
        """


@dataclass
class Archive:
    """The feasible subnets that a search has evaluated; each subnet is evaluated once and counts once.

    It keeps the `KEEP` best by one objective, or all that no other beats in several. It also keeps the search's log.
    """

    problem: Problem
    budget: int
    any_objective: bool = False
    """Whether the searcher can do more than find the most accurate subnets."""
    evaluations: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)
    reference: Floats | None = None
    _seen: set[int] = field(default_factory=set)
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
        """Evaluations left."""
        return max(0, self.budget - self.evaluations)

    def new(self, genes: Genes) -> Genes:
        """The rows that are feasible and not yet evaluated, without repetition."""
        return genes[self.new_places(genes)]

    def new_places(self, genes: Genes) -> npt.NDArray[np.int64]:
        """Where the rows of `new` are, int64[rows]."""
        hashes = keys(genes)
        first = first_places(hashes)
        fresh = first[[key not in self._seen for key in hashes[first].tolist()]]
        return fresh[violation(self.problem, genes[fresh]) <= 0] if len(fresh) else fresh

    def add(self, genes: Genes, top1: Floats | None = None) -> Floats:
        """Evaluate rows out of `new`, as many as the budget allows, and keep the best; returns top-1 in order.

        With `top1` they have been evaluated elsewhere; all are taken, and count.
        """
        log = self.problem.log
        if top1 is None:
            genes = genes[: self.left]
        if not len(genes):
            return np.zeros(0)
        if top1 is None:
            top1 = self.problem.top1(genes) if log is None else log.top1(self.problem, genes)
        self._seen.update(keys(genes).tolist())
        self.evaluations += len(genes)
        losses = self.problem.values(genes, top1) * self.problem.signs
        if self.reference is None and losses.shape[1] > 1:
            self.reference = losses.max(axis=0)
        candidates, everything = np.concatenate([self.genes, genes]), np.concatenate([self.top1, top1])
        self.losses = np.concatenate([self.losses, losses])
        kept = self._best(everything, len(self.genes))
        self.genes, self.top1, self.losses = candidates[kept], everything[kept], self.losses[kept]
        best, volume = self._progress()
        if best is not None:
            self.history.append((self.evaluations, best if volume is None else volume))
        if log is not None:
            log.batch(self.evaluations, best, volume, genes, top1)
        return top1

    def _best(self, top1: Floats, known: int) -> npt.NDArray[np.int64]:
        """What stays: the best, of equals the most accurate first, or the front; `known` were there before.

        While none is accurate enough, the most accurate.
        """
        accurate = top1 >= (self.problem.min_top1 or 0.0)
        if not accurate.any():
            return np.argsort(-top1, kind="stable")[:KEEP]
        enough = np.flatnonzero(accurate)
        if self.losses.shape[1] == 1:
            return np.asarray(enough[np.lexsort((-top1[enough], self.losses[enough, 0]))[:KEEP]])
        front = enough[nondominated(self.losses[enough], int(accurate[:known].sum()))]
        return np.asarray(front[np.argsort(self.losses[front, 0], kind="stable")])

    def _progress(self) -> tuple[float | None, float | None]:
        """Best value of the first objective, and the hypervolume of two or three; None while nothing is accurate enough."""
        if self.top1.max() < (self.problem.min_top1 or 0.0):
            return None, None
        best = float(self.losses[:, 0].min() * self.problem.signs[0])
        few = self.reference is not None and len(self.reference) <= 3
        return best, hypervolume(self.losses, self.reference) if few and self.reference is not None else None

    def result(self, algorithm: str) -> SearchResult:
        """The best of what was evaluated.

        Raises:
            Infeasible: nothing reaches `Problem.min_top1`.
        """
        enough = self.top1 >= (self.problem.min_top1 or 0.0)
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


def searchers() -> dict[str, Callable[[], Searcher]]:
    """Every searcher by name."""
    from search.exact.solve import Exact
    from search.searchers.evolution.evolution import Evolution
    from search.searchers.nsga2 import Nsga2
    from search.searchers.optuna_search import OptunaSearch
    from search.searchers.random_search import RandomSearch

    return {"exact": Exact, "evolution": Evolution, "nsga2": Nsga2, "optuna": OptunaSearch, "random": RandomSearch}


def default_budget(name: str) -> int:
    """Evaluations of the searcher of that name, where nobody says how many."""
    return DEFAULT_BUDGET_OF_OPTUNA if name == "optuna" else DEFAULT_BUDGET


def find_searcher(name: str, problem: Problem | None = None) -> tuple[Searcher, str]:
    """A searcher by name, and why this one; `auto` picks: exact where the problem allows it, else evolution or nsga2.

    Raises:
        UserError: unknown name; the message lists what exists.
    """
    known = searchers()
    if name not in ("auto", *known):
        raise UserError(f"algorithm is {name!r}; available are auto, {', '.join(known)}")
    if problem is not None and not problem.accuracy_only and name in ("auto", "exact"):
        return _front_searcher(name, problem)
    if name != "auto":
        return known[name](), "as asked"
    from search.exact.solve import exact_obstacle

    reason = "it is not known yet what is searched" if problem is None else exact_obstacle(problem)
    if reason is None:
        return known["exact"](), "auto: predictor and costs are sums over stages, so the optimum can be computed"
    return known["evolution"](), f"auto: not exact, because {reason}; evolution beats random sampling"


def _front_searcher(name: str, problem: Problem) -> tuple[Searcher, str]:
    """For objectives other than accuracy alone."""
    from search.searchers.exact import ExactObjectives, objectives_obstacle
    from search.searchers.nsga2 import Nsga2

    reason = objectives_obstacle(problem)
    if name == "exact":
        return ExactObjectives(), "as asked"
    if reason is None:
        return ExactObjectives(), "auto: predictor and cost are sums over stages, so the whole front can be computed"
    return Nsga2(), f"auto: not exact, because {reason}; nsga2 evolves the whole front"
