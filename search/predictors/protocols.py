"""Protocols of an accuracy predictor, as a search needs them. `search.predictors.kinds` lists the predictors."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ofa.space.search_space import Genes
from search.arrays import Floats


class Predictor(Protocol):
    """Genes to accuracy, with its uncertainty."""

    def top1(self, genes: Genes) -> Floats:
        """Predicted accuracy of gene rows int8[n, genes], float64[n] in [0, 1]: top-1, or the metric in `predictor.json`."""

    def std(self, genes: Genes) -> Floats | None:
        """Standard deviation of the predicted top-1, float64[n]; None where a predictor does not estimate it."""


@runtime_checkable
class AtResolutions(Predictor, Protocol):
    """A predictor that knows some resolutions only."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The resolutions that it knows, in pixels."""


@runtime_checkable
class StageAdditive(Predictor, Protocol):
    """A predictor whose top-1 rises with `score`, a sum of terms that each depend on one stage and the resolution."""

    def score(self, genes: Genes) -> Floats:
        """Score of each subnet, float64[n]; rises with the predicted top-1."""

    def stage_scores(self, genes: Genes, base: Genes) -> Floats:
        """`score(genes) - score(base)` at every resolution of the space, float64[resolutions, n]."""
