"""Searchers: their protocol, the list of them, and the choice of one for a problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import numpy as np

from ofa.errors import UserError
from search.evaluations.log import SearchLog
from search.evaluations.result import SearchResult
from search.problem.problem import Problem
from search.searchers.evolution.evolution import Evolution
from search.searchers.exact import Exact, why_not_exact
from search.searchers.listed import Listed
from search.searchers.nsga2 import Nsga2
from search.searchers.optuna_search import OptunaSearch
from search.searchers.random_search import RandomSearch


class Searcher(Protocol):
    """A way to solve a `Problem`. `tests/search/searchers/test_search_conformance.py` states what each must do."""

    name: ClassVar[str]
    """The name for `ofa query --algorithm`."""

    def search(self, problem: Problem, rng: np.random.Generator, budget: int, log: SearchLog | None = None) -> SearchResult:
        """The best subnets found with at most `budget` evaluations of the predictor.

        Args:
            problem: the problem to solve.
            rng: the only source of randomness, so that equal seeds give equal searches.
            budget: most evaluations.
            log: file to which evaluations are written, and from which they are read when a search is resumed.

        Raises:
            Infeasible: no subnet meets the limits.
            UserError: the budget is not positive, or the searcher does not support the problem's objectives.
        """


_ALL: tuple[type[Searcher], ...] = (Exact, Evolution, Nsga2, OptunaSearch, RandomSearch)
SEARCHERS: dict[str, Callable[[], Searcher]] = {searcher.name: searcher for searcher in _ALL}
"""Every searcher by name."""
AUTO = "auto"
DEFAULT_BUDGET = 20_000
DEFAULT_BUDGET_OF_OPTUNA = 300
"""Optuna's samplers take longer to propose one subnet than a predictor takes to evaluate a thousand."""


def default_budget(name: str) -> int:
    """Default number of evaluations of a searcher, by name."""
    return DEFAULT_BUDGET_OF_OPTUNA if name == "optuna" else DEFAULT_BUDGET


def find_searcher(name: str, problem: Problem | None = None) -> tuple[Searcher, str]:
    """A searcher by name, and the reason; `auto` chooses: exact where the problem allows it, else evolution or nsga2.

    Raises:
        UserError: the name is unknown; the message lists the names.
    """
    if problem is not None and problem.among is not None:
        if name != AUTO:
            raise UserError(f"algorithm is {name!r}, but only {len(problem.among)} subnets can be answered; leave it out")
        return Listed(), "auto: only these subnets can be answered"
    if name not in (AUTO, *SEARCHERS):
        raise UserError(f"algorithm is {name!r}; available are {AUTO}, {', '.join(SEARCHERS)}")
    if name != AUTO:
        return SEARCHERS[name](), "as asked"
    accuracy_only = problem is None or problem.accuracy_only
    reason = "the problem is not known yet" if problem is None else why_not_exact(problem)
    if reason is None and accuracy_only:
        return Exact(), "auto: predictor and costs are sums over stages, so the optimum can be computed"
    if reason is None:
        return Exact(), "auto: predictor and cost are sums over stages, so the whole front can be computed"
    if accuracy_only:
        return Evolution(), f"auto: not exact, because {reason}; evolution beats random sampling"
    return Nsga2(), f"auto: not exact, because {reason}; nsga2 evolves the whole front"
