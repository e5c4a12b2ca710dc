"""A problem: which subnets of a space are wanted, by objectives and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from latency_tables import Costs
from ofa.errors import UserError
from ofa.measure.accuracy import TOP1, AccuracyMetric
from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats
from search.predictors.protocols import Predictor
from search.problem.domain import Domain
from search.problem.limits import Limit
from search.problem.objectives import ACCURACY, Objective

TOP1_ROUNDING = 1e-9
"""Largest difference between two predictions of one subnet that were computed in different batches."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Space, predictor, costs, objectives and limits: the input of a searcher."""

    space: SearchSpace
    predictor: Predictor
    costs: Mapping[str, Costs]
    """Costs by the platform's name."""
    limits: Sequence[Limit] = ()
    """Limits on one platform or on several; all hold at once."""
    part: SearchSpace | None = None
    """Subspace to which the search is confined (`space.restrict(...)`); None: the whole space."""
    among: Genes | None = None
    """The only subnets to choose from, int8[n, genes], because a run has no statistics for others; None: all."""
    objectives: Sequence[Objective] = (Objective(),)
    """With one objective, the best subnets are searched; with several, the nondominated ones."""
    min_top1: float | None = None
    """Least predicted accuracy of a subnet, in [0, 1], with a tolerance of `TOP1_ROUNDING`; None: no limit."""
    confidence: float | None = None
    """The confidence of `costs` (`platform.costs(space, confidence=0.9)`), for messages."""
    accuracy: AccuracyMetric = TOP1
    """The metric that is predicted and that ranks subnets; names with `top1` here and in results stand for its value."""
    source: str = ""
    """The source of accuracies (a digest of the predictor), so that a log or a study never mixes two predictors."""
    domain: Domain = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for limit in self.limits:
            if limit.platform not in self.costs:
                raise UserError(f"limit on platform {limit.platform!r}; the problem has {', '.join(self.costs)}")
        for objective in self.objectives:
            if objective.platform and objective.platform not in self.costs:
                raise UserError(f"objective {objective}: the problem has no such platform, but {', '.join(self.costs)}")
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise UserError(f"objectives are {[str(o) for o in self.objectives]}; give at least one, and each only once")
        if self.min_top1 is not None and not 0 < self.min_top1 <= 1:
            raise UserError(f"min_top1 is {self.min_top1:g}; must be above 0 and at most 1")
        object.__setattr__(self, "domain", Domain(self.space, self.part))

    def top1(self, genes: Genes) -> Floats:
        """Predicted accuracy, float64[n]."""
        return self.predictor.top1(genes)

    @property
    def least_top1(self) -> float:
        """The lowest prediction that counts as accurate enough: `min_top1`, minus the rounding of a repeated prediction."""
        return 0.0 if self.min_top1 is None else self.min_top1 - TOP1_ROUNDING

    def cost(self, metric: str, platform: str, genes: Genes) -> Floats:
        """One cost, float64[n]; raises `UserError` for a metric the platform does not know."""
        return np.asarray(self.costs[platform].of(metric, genes), dtype=np.float64)

    def utilisation(self, genes: Genes) -> Floats:
        """Cost over bound for each limit, float64[n, limits]: at most 1 where the limit is met."""
        columns = [self.cost(limit.metric, limit.platform, genes) / limit.bound for limit in self.limits]
        return np.stack(columns, axis=1) if columns else np.zeros((len(genes), 0))

    def among_equals(self, genes: Genes) -> Floats:
        """Tie-breaker of equally accurate subnets, float64[n], lower is better: use of the tightest limit, or MACs."""
        if self.limits:
            return np.asarray(self.utilisation(genes).max(axis=1))
        return self.cost("macs_m", next(iter(self.costs)), genes)

    def values(self, genes: Genes, top1: Floats) -> Floats:
        """Values of the objectives, float64[n, objectives], each in its own unit; `top1` is the rows' accuracy."""
        columns = [
            top1 if objective.metric == ACCURACY else self.cost(objective.metric, objective.platform, genes)
            for objective in self.objectives
        ]
        return np.stack(columns, axis=1)

    @property
    def signs(self) -> Floats:
        """-1 for accuracy, 1 for a cost, float64[objectives]: `values * signs` are losses, to be minimised."""
        return np.array([-1.0 if objective.metric == ACCURACY else 1.0 for objective in self.objectives])

    @property
    def asked_costs(self) -> tuple[tuple[str, str], ...]:
        """Pairs (metric, platform) of every cost that is limited or an objective, each once."""
        limited = [(limit.metric, limit.platform) for limit in self.limits]
        minimised = [(objective.metric, objective.platform) for objective in self.objectives if objective.platform]
        return tuple(dict.fromkeys(limited + minimised))

    @property
    def accuracy_only(self) -> bool:
        """True where accuracy is the only objective."""
        return tuple(self.objectives) == (Objective(),)
