"""What is searched for: subnets of a space that are accurate and cost little, within limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from latency_tables.metrics import METRICS, number
from ofa.errors import UserError
from ofa.space.search_space import Genes, SearchSpace
from search.problem.genes import Domain

if TYPE_CHECKING:
    from search.searchers.log import SearchLog

Floats = npt.NDArray[np.float64]
ACCURACY = "top1"


class Costs(Protocol):
    """What subnets cost on a platform, float64[n] of int8[n, genes]. `latency_tables` has the real ones."""

    def of(self, metric: str, genes: Genes) -> Floats:
        """One metric of `latency_tables.METRICS`."""


class AccuracyModel(Protocol):
    """The part of a predictor that a search needs."""

    def top1(self, genes: Genes) -> Floats:
        """Top-1 accuracy, float64[n] in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Limit:
    """An upper bound: `metric` on `platform` must be at most `bound`."""

    metric: str
    bound: float
    platform: str

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UserError(f"limit on {self.metric!r}; known metrics are {', '.join(METRICS)}")
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise UserError(f"limit {self.metric} is {self.bound:g}; must be a positive number")

    def __str__(self) -> str:
        metric = METRICS[self.metric]
        place = f" on {self.platform}" if metric.on_platform else ""
        return f"{metric.label.lower()} of at most {number(self.bound)} {metric.unit}{place}"


@dataclass(frozen=True, slots=True)
class Objective:
    """Something to make as good as possible: `top1` is to be high, every cost (on a platform) low."""

    metric: str = ACCURACY
    platform: str = ""
    """Whose cost; empty for accuracy."""

    def __post_init__(self) -> None:
        if self.metric != ACCURACY and self.metric not in METRICS:
            raise UserError(f"objective {self.metric!r}; known are {ACCURACY}, {', '.join(METRICS)}")
        if (self.metric == ACCURACY) != (self.platform == ""):
            wanted = "accuracy is the same on all" if self.platform else "name one of the problem's"
            raise UserError(f"objective {self.metric}: platform is {self.platform!r}; {wanted}")

    def __str__(self) -> str:
        if self.metric == ACCURACY:
            return "accuracy"
        metric = METRICS[self.metric]
        return f"{metric.label.lower()} on {self.platform}" if metric.on_platform else metric.label.lower()


class Infeasible(UserError):  # noqa: N818 - a finding, not a failure of the program
    """No subnet meets the limits; the message names the cheapest attainable value of each violated one.

    `attainable` maps each violated limit to that value (to the closest subnet's value where every limit can be met alone).
    It is empty where only `Problem.min_top1` is out of reach; the message then has the highest accuracy found.
    """

    def __init__(self, message: str, attainable: Mapping[Limit, float]) -> None:
        super().__init__(message)
        self.attainable = dict(attainable)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The question a searcher answers."""

    space: SearchSpace
    predictor: AccuracyModel
    costs: Mapping[str, Costs]
    """Costs by the platform's name."""
    limits: Sequence[Limit] = ()
    """All are kept to at once, on one platform or on several."""
    part: SearchSpace | None = None
    """Only subnets of this part of the space (`space.restrict(...)`)."""
    objectives: Sequence[Objective] = (Objective(),)
    """With one, its best subnets are searched; with several, the subnets that no other beats in all of them."""
    min_top1: float | None = None
    """Only subnets predicted to have at least this accuracy, in [0, 1]."""
    confidence: float | None = None
    """The confidence that `costs` are given at (`platform.costs(space, confidence=0.9)`), for messages."""
    source: str = ""
    """What accuracies come from (a digest of the predictor): a log or a study never mixes two sources."""
    log: SearchLog | None = field(default=None, compare=False)
    """Where evaluations are written, and read from when a search is resumed."""
    domain: Domain = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for limit in self.limits:
            if limit.platform not in self.costs:
                raise UserError(f"limit on platform {limit.platform!r}; the problem has {', '.join(self.costs)}")
        for objective in self.objectives:
            if objective.platform and objective.platform not in self.costs:
                raise UserError(f"objective {objective}: the problem has no such platform, but {', '.join(self.costs)}")
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise UserError(f"objectives are {[str(o) for o in self.objectives]}; must be at least one, and each once")
        if self.min_top1 is not None and not 0 < self.min_top1 <= 1:
            raise UserError(f"min_top1 is {self.min_top1:g}; must be above 0 and at most 1")
        object.__setattr__(self, "domain", Domain(self.space, self.part))

    def top1(self, genes: Genes) -> Floats:
        """Predicted top-1 accuracy, float64[n]."""
        return self.predictor.top1(genes)

    def cost(self, metric: str, platform: str, genes: Genes) -> Floats:
        """One cost, float64[n]; raises `UserError` for a metric the platform does not know."""
        return np.asarray(self.costs[platform].of(metric, genes), dtype=np.float64)

    def use(self, genes: Genes) -> Floats:
        """How much of each limit is used, float64[n, limits]: at most 1 where it is met."""
        columns = [self.cost(limit.metric, limit.platform, genes) / limit.bound for limit in self.limits]
        return np.stack(columns, axis=1) if columns else np.zeros((len(genes), 0))

    def values(self, genes: Genes, top1: Floats) -> Floats:
        """The objectives' values, float64[n, objectives], each in its own unit; `top1` is that of the rows."""
        columns = [
            top1 if objective.metric == ACCURACY else self.cost(objective.metric, objective.platform, genes)
            for objective in self.objectives
        ]
        return np.stack(columns, axis=1)

    @property
    def signs(self) -> Floats:
        """float64[objectives]: `values * signs` is to be low in every column."""
        return np.array([-1.0 if objective.metric == ACCURACY else 1.0 for objective in self.objectives])

    @property
    def asked_costs(self) -> tuple[tuple[str, str], ...]:
        """(metric, platform) of every cost that is limited or an objective, each once."""
        limited = [(limit.metric, limit.platform) for limit in self.limits]
        minimised = [(objective.metric, objective.platform) for objective in self.objectives if objective.platform]
        return tuple(dict.fromkeys(limited + minimised))

    @property
    def accuracy_only(self) -> bool:
        """Whether the most accurate subnet is searched, and nothing else."""
        return tuple(self.objectives) == (Objective(),)
