"""Accuracy predictors, searchers, Pareto fronts and plots: the best subnet for a budget. No torch here.

A `Problem` defines the search; a searcher, made by `find_searcher`, solves it. The folders contain the algorithms.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.evaluations.log import SearchLog, read_log
    from search.evaluations.result import SearchResult
    from search.exact.solve import exact_front
    from search.predictors.protocols import Predictor
    from search.predictors.storage import load_predictor
    from search.problem.limits import Infeasible, Limit
    from search.problem.objectives import Objective
    from search.problem.problem import Problem
    from search.searchers.catalogue import Searcher, find_searcher
    from search.searchers.optuna_search import OptunaSearch

_HOMES = {
    "Infeasible": "problem.limits",
    "Limit": "problem.limits",
    "Objective": "problem.objectives",
    "OptunaSearch": "searchers.optuna_search",
    "Predictor": "predictors.protocols",
    "Problem": "problem.problem",
    "SearchLog": "evaluations.log",
    "SearchResult": "evaluations.result",
    "Searcher": "searchers.catalogue",
    "exact_front": "exact.solve",
    "find_searcher": "searchers.catalogue",
    "load_predictor": "predictors.storage",
    "read_log": "evaluations.log",
}
__all__ = [
    "Infeasible",
    "Limit",
    "Objective",
    "OptunaSearch",
    "Predictor",
    "Problem",
    "SearchLog",
    "SearchResult",
    "Searcher",
    "exact_front",
    "find_searcher",
    "load_predictor",
    "read_log",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"search.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'search' has no attribute {name!r}")
