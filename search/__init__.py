"""Accuracy predictors, searchers, Pareto fronts and plots: which subnet for which budget. No torch here."""

from search.evaluations.log import SearchLog, read_log
from search.evaluations.result import SearchResult
from search.exact.solve import exact_front
from search.predictors.protocols import Predictor
from search.predictors.ridge import RidgePredictor, fit_ridge
from search.predictors.storage import load_predictor, save_predictor
from search.problem.limits import Infeasible, Limit
from search.problem.objectives import Objective
from search.problem.problem import Problem
from search.searchers.catalogue import Searcher, find_searcher
from search.searchers.evolution.evolution import Evolution
from search.searchers.exact import Exact
from search.searchers.nsga2 import Nsga2
from search.searchers.optuna_search import OptunaSearch
from search.searchers.random_search import RandomSearch

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
