"""The result of a search."""

from __future__ import annotations

from dataclasses import dataclass

from ofa.space.search_space import Genes
from search.arrays import Floats


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Subnets that a search found: distinct, canonical, within the limits, the best first.

    With several objectives they are the nondominated ones (one of several equal ones), the best in the first objective
    first.
    """

    genes: Genes
    """int8[found, genes], found >= 1."""
    top1: Floats
    """Predicted, float64[found]; descending where accuracy is the first objective."""
    values: Floats
    """Values of the problem's objectives, each in its own unit, float64[found, objectives]."""
    algorithm: str
    evaluations: int
    """Feasible subnets whose accuracy was predicted; each counts once."""
    seconds: float
    history: tuple[tuple[int, float], ...] = ()
    """Per batch: evaluations so far, and the best value of the objective so far (with several, the hypervolume so far)."""
    reference: Floats | None = None
    """Reference point of that hypervolume: worst values in the first batch, float64[objectives]; None with one objective."""
    optimal: bool = False
    """True where the result is proven optimal for the predictor: no feasible subnet is better, or dominates one of these."""
