"""Accuracy predictors, searchers, Pareto fronts and plots: which subnet for which budget. No torch here."""

from search.evolution import Evolution
from search.exact import Exact, exact_front
from search.history import SearchLog, read_log
from search.nsga2 import Nsga2
from search.optuna_search import OptunaSearch
from search.predictor import Predictor, load_predictor, save_predictor
from search.problem import Infeasible, Limit, Objective, Problem
from search.random_search import RandomSearch
from search.ridge import RidgePredictor, fit_ridge
from search.searcher import Searcher, SearchResult, find_searcher

__all__ = [
    "Evolution",
    "Exact",
    "Infeasible",
    "Limit",
    "Nsga2",
    "Objective",
    "OptunaSearch",
    "Predictor",
    "Problem",
    "RandomSearch",
    "RidgePredictor",
    "SearchLog",
    "SearchResult",
    "Searcher",
    "exact_front",
    "find_searcher",
    "fit_ridge",
    "load_predictor",
    "read_log",
    "save_predictor",
]
