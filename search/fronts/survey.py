"""A survey: the data of one platform's front that is plotted and written, computed without files or figures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from latency_tables import Costs
from ofa.measure.accuracy import TOP1, AccuracyMetric
from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats, Indices
from search.fronts.find import FRONT_BUDGET, predicted_front
from search.pareto.front import front_order, hypervolume, thin
from search.predictors.protocols import Predictor
from search.problem.problem import Problem
from search.statistics import standard_error

DEFAULT_POINTS = 11


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A space's accuracy against one cost on one platform; costs in the metric's unit, accuracies in [0, 1]."""

    space: SearchSpace
    metric: str
    platform: str
    cloud: Genes
    """Random subnets, int8[samples, genes]."""
    cloud_cost: Floats
    cloud_top1: Floats
    """Predicted."""
    front: Genes
    """The predicted front, cost ascending, int8[points, genes]."""
    front_cost: Floats
    front_top1: Floats
    """Predicted."""
    front_std: Floats | None
    """Standard deviation of the predicted top-1; None where the predictor does not estimate it."""
    front_p90: Floats | None = None
    """Cost that 9 of 10 measurements are expected to stay below; None where it is unknown, or the cost exact."""
    largest: Genes
    """The largest net, int8[1, genes]."""
    largest_cost: float
    largest_top1: float
    """Predicted."""
    largest_measured: float | None = None
    """Measured top-1."""
    measured: Genes
    """Measured rows of the front, int8[measured, genes], cost ascending; empty before `with_measurements`."""
    measured_cost: Floats
    measured_top1: Floats
    measured_error: Floats
    """Standard error of each; NaN if it cannot be estimated, because all images or none are classified correctly."""
    largest_error: float | None = None
    """Standard error of `largest_measured`; None if it is not measured."""
    paired_error: float | None = None
    """Standard error of measured accuracies when compared with each other, without the error that all share because they are
    measured on the same images; None where it is unknown."""
    images: int | None = None
    """Images of each measurement."""
    split: str = "validation"
    """Part of the data that these images are of. Those of `test` chose nothing: the front was found on validation images."""
    accuracy: AccuracyMetric = TOP1
    """The metric of all accuracies here; the names of their fields say `top1` whichever it is."""

    def to_measure(self, points: int = DEFAULT_POINTS) -> Genes:
        """Rows to measure: `points` spread over the front, then the largest net."""
        chosen = thin(self.front_cost, self.front_top1, points)
        return np.concatenate([self.front[chosen], self.largest])

    def with_measurements(
        self,
        genes: Genes,
        cost: Floats,
        top1: Floats,
        images: int,
        error: Floats | None = None,
        paired_error: float | None = None,
        split: str = "validation",
    ) -> Survey:
        """The same survey with measurements of rows of the front.

        Args:
            genes: rows of the front, then the largest net, as `to_measure` returns them, int8[n, genes].
            cost: their costs, float64[n].
            top1: their measured top-1, float64[n].
            images: images per measurement.
            error: standard error of each; None: of top-1, from the images.
            paired_error: standard error in comparisons with each other; None where it is unknown.
            split: part of the data that the images are of.
        """
        error = standard_error(top1, images) if error is None else error
        return replace(
            self,
            measured=genes[:-1],
            measured_cost=cost[:-1],
            measured_top1=top1[:-1],
            measured_error=error[:-1],
            largest_measured=float(top1[-1]),
            largest_error=float(error[-1]),
            paired_error=paired_error,
            images=images,
            split=split,
        )

    @property
    def bars(self) -> Floats:
        """Error of each measured row as figures draw it: the paired one where it is known."""
        return self.measured_error if self.paired_error is None else np.full(len(self.measured), self.paired_error)

    @property
    def measured_p90(self) -> Floats | None:
        """`front_p90` of the measured rows."""
        if self.front_p90 is None:
            return None
        known = {row.tobytes(): value for row, value in zip(self.front, self.front_p90, strict=True)}
        return np.array([known[row.tobytes()] for row in self.measured])

    @property
    def reference(self) -> tuple[float, float]:
        """Reference point of hypervolumes: the worst cost and the worst accuracy of the cloud."""
        return float(self.cloud_cost.max()), float(self.cloud_top1.min())

    def predicted_hypervolume(self) -> float:
        """The hypervolume of the predicted front, in units of cost x top-1."""
        return hypervolume(self.front_cost, self.front_top1, *self.reference)

    def measured_hypervolume(self) -> float | None:
        """The hypervolume of the measured points; None where there are none."""
        return hypervolume(self.measured_cost, self.measured_top1, *self.reference) if len(self.measured) else None

    def measured_front(self) -> Indices:
        """Indices of the nondominated measured rows, cost ascending."""
        return front_order(self.measured_cost, self.measured_top1)


def survey(
    space: SearchSpace,
    predictor: Predictor,
    costs: Costs,
    metric: str,
    platform: str,
    samples: int,
    rng: np.random.Generator,
    budget: int = FRONT_BUDGET,
    part: SearchSpace | None = None,
    accuracy: AccuracyMetric = TOP1,
    among: Genes | None = None,
) -> Survey:
    """Predict a cloud of random subnets, and find the front as `predicted_front` does.

    Raises:
        UserError: the platform does not know the metric.
    """
    problem = Problem(space=space, predictor=predictor, costs={platform: costs}, part=part, accuracy=accuracy, among=among)
    cloud = problem.domain.sample(samples, rng)
    front = predicted_front(problem, metric, platform, rng, budget)
    largest = problem.domain.extremes()[1:]
    return Survey(
        space=space,
        metric=metric,
        platform=platform,
        cloud=cloud,
        cloud_cost=problem.cost(metric, platform, cloud),
        cloud_top1=problem.top1(cloud),
        front=front.genes,
        front_cost=front.cost,
        front_top1=front.top1,
        front_std=predictor.std(front.genes),
        front_p90=_p90(costs, metric, front.genes),
        largest=largest,
        largest_cost=float(problem.cost(metric, platform, largest)[0]),
        largest_top1=float(problem.top1(largest)[0]),
        measured=largest[:0],
        measured_cost=np.zeros(0),
        measured_top1=np.zeros(0),
        measured_error=np.zeros(0),
        accuracy=accuracy,
    )


def _p90(costs: Costs, metric: str, genes: Genes) -> Floats | None:
    """The cost that 9 of 10 measurements are expected to stay below; None where it is unknown or the cost exact."""
    known = costs.p50_p90(metric, genes)
    return None if known is None or np.array_equal(*known) else known[1]
