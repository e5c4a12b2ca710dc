"""The kinds of predictor that are fitted to measured subnets; to add one, add its class and its fit here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats
from search.predictors.constant import ConstantPredictor, fit_constant
from search.predictors.mlp import MLPPredictor, fit_mlp
from search.predictors.published import PublishedPredictor
from search.predictors.ridge import RidgePredictor, fit_ridge
from search.predictors.stage_additive import StageAdditivePredictor, fit_stage_additive

FittedPredictor = RidgePredictor | StageAdditivePredictor | MLPPredictor | ConstantPredictor
StoredPredictor = FittedPredictor | PublishedPredictor


@dataclass(frozen=True)
class Kind:
    """A kind of predictor."""

    predictor: type[RidgePredictor] | type[StageAdditivePredictor] | type[MLPPredictor] | type[ConstantPredictor]
    """The class that is stored and restored."""
    fit: Callable[[SearchSpace, Genes, Floats], FittedPredictor]
    """Takes a space, measured genes int8[n, genes] and their top-1 float64[n]."""


_ALL = Kind(RidgePredictor, fit_ridge), Kind(StageAdditivePredictor, fit_stage_additive), Kind(MLPPredictor, fit_mlp)
KINDS = {kind.predictor.kind: kind for kind in _ALL}
"""Every kind by the name that options and files use; for each there is a case where it is the best (`docs/search.md`)."""
CONSTANT = Kind(ConstantPredictor, fit_constant)
"""The kind that replaces all others where every measured subnet has the same accuracy."""
STORED = {cls.kind: cls for cls in (*(kind.predictor for kind in (*_ALL, CONSTANT)), PublishedPredictor)}
"""Class of every predictor that a file may hold, by its kind."""
