"""Accuracy of subnets by a Gaussian process that is a sum over stages: any interaction within a stage, none between stages.

The prior of the logit of top-1 is that of `ridge` plus one random function per stage, which depends on all genes of the
stage and on the resolution. The covariance of two choices of a stage falls with the number of genes in which they differ (a
kernel over categories, as in Hutter et al., Parallel Algorithm Configuration, 2012). One network per stage could express the
same; here the posterior mean, its variance and the leave-one-out errors have closed forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats, Indices
from search.predictors.features import FeatureMap, standard
from search.predictors.regression import (
    ROWS_AT_ONCE,
    Solution,
    check_samples,
    expit,
    linear_score,
    logit,
    solve,
    top1_std,
    with_intercept,
)
from search.rows import keys

Indicators = npt.NDArray[np.float32]

LENGTH_SCALES = (0.5, 1.0, 2.0, 4.0)
"""Candidates for the distance at which the covariance falls to 1/e, in units of the samples' mean distance."""
STAGE_VARIANCES = (0.1, 0.3, 1.0, 3.0)
"""Candidates for the prior variance of the stages' functions over that of the linear part."""
SAMPLES_TUNED_ON = 400
"""Number of samples, from the first on, on which the length scale and the variance are chosen."""


class StageKernel:
    """Prior covariances of subnets of a space with the samples of a fit, without noise."""

    def __init__(self, space: SearchSpace, samples: Genes) -> None:
        self.space, self.samples = space, samples
        self._features = FeatureMap(space, "choices+stages")
        self._offset, self._scale = standard(self._features(samples))
        self.design = self.linear(samples)
        self.linear_variance = float((self.design[:, :-1] ** 2).sum() / len(samples))
        gene = self._features.gene
        self._stages = []
        for s in range(len(space.stages)):
            columns = space.columns.stage(s)
            inside = np.isin(gene, columns)
            if inside.any():
                used = np.flatnonzero(inside | (gene == space.columns.resolution))
                inputs = self._inputs(samples, used)
                mean = max(float(_differences(inputs, inputs).mean()), 1e-9)
                self._stages.append((np.r_[space.columns.resolution, columns], used, inputs, mean))

    @property
    def stages(self) -> int:
        """Number of stages that have a choice."""
        return len(self._stages)

    def linear(self, genes: Genes) -> Floats:
        """Standardised features of the linear part and the intercept, float64[n, features + 1]."""
        return with_intercept((self._features(genes) - self._offset) / self._scale)

    def linear_score(self, genes: Genes, dual: Floats) -> Floats:
        """`linear(genes) @ linear(samples).T @ dual`, float64[n]."""
        return linear_score(self._features, genes, self.design.T @ dual, self._offset, self._scale)

    def stage(self, index: int, genes: Genes, length: float) -> Floats:
        """Correlation of a stage's function between `genes` and the samples, float64[n, samples] in (0, 1]."""
        _, used, inputs, mean = self._stages[index]
        differences = _differences(self._inputs(genes, used), inputs)
        return np.asarray(np.exp(-np.arange(len(used) + 1) / (mean * length)).take(differences))

    def distinct(self, index: int, genes: Genes) -> tuple[Genes, Indices]:
        """One row for each distinct choice of a stage and resolution among `genes`, and the index of each row's choice."""
        _, first, which = np.unique(keys(genes[:, self._stages[index][0]]), return_index=True, return_inverse=True)
        return genes[first], which

    def covariance(self, genes: Genes, length: float, weight: float) -> Floats:
        """Prior covariance of `genes` with the samples, float64[n, samples]."""
        total = self.linear(genes) @ self.design.T
        for index in range(self.stages):
            rows, which = self.distinct(index, genes)
            total += (weight / self.stages * self.stage(index, rows, length))[which]
        return np.asarray(total)

    def _inputs(self, genes: Genes, used: Indices) -> Indicators:
        return np.asarray(self._features.choices(genes, self.space.rows(genes).present(), used), dtype=np.float32)


def _differences(a: Indicators, b: Indicators) -> Indices:
    """Number of indicators in which rows differ, int64[len(a), len(b)]: whole numbers, which float32 has exactly."""
    return np.asarray(a.sum(axis=1)[:, None] + b.sum(axis=1) - 2 * a @ b.T, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class StageAdditivePredictor:
    """Top-1 of the subnets of a space; make one with `fit_stage_additive`."""

    kind: ClassVar[str] = "stage-additive"
    NUMBERS: ClassVar[tuple[str, ...]] = ("length", "weight", "penalty", "variance", "mean")

    space: SearchSpace
    genes: Genes
    """The subnets fitted to, int8[samples, genes]."""
    dual: Floats
    """Weight of the covariance with each fitted subnet, float64[samples]."""
    length: float
    """Length scale, as in `LENGTH_SCALES`."""
    weight: float
    """Prior variance of the sum of the stages' functions."""
    penalty: float
    """Variance of the noise over the prior variance."""
    variance: float
    """Unit of all variances, calibrated on the leave-one-out errors."""
    mean: float
    """Mean of the samples' logits."""

    @property
    def samples(self) -> int:
        """Subnets fitted."""
        return len(self.genes)

    def top1(self, genes: Genes) -> Floats:
        """Predicted top-1, float64[n] in (0, 1)."""
        return expit(self.score(genes))

    def score(self, genes: Genes) -> Floats:
        """The logit of `top1`, float64[n]: a sum of terms that each depend on one stage and the resolution."""
        kernel = self._kernel
        total = self.mean + kernel.linear_score(genes, self.dual)
        for index in range(kernel.stages):
            rows, which = kernel.distinct(index, genes)
            parts = [
                kernel.stage(index, rows[i : i + ROWS_AT_ONCE], self.length) @ self.dual
                for i in range(0, len(rows), ROWS_AT_ONCE)
            ]
            if parts:
                total += (self.weight / kernel.stages * np.concatenate(parts))[which]
        return np.asarray(total)

    def stage_scores(self, genes: Genes, base: Genes) -> Floats:
        """`score(genes) - score(base)` at every resolution, float64[resolutions, n]; resolution genes are ignored."""
        rows = np.concatenate([base[:1], genes])
        scores = []
        for resolution in range(len(self.space.resolutions)):
            self.space.rows(rows).resolution[:] = resolution
            score = self.score(rows)
            scores.append(score[1:] - score[0])
        return np.stack(scores)

    def std(self, genes: Genes) -> Floats:
        """Standard deviation of a measurement around the prediction, float64[n]: model error and measuring noise."""
        parts = [self._score_variance(genes[i : i + ROWS_AT_ONCE]) for i in range(0, len(genes), ROWS_AT_ONCE)]
        return top1_std(self.score(genes), np.concatenate(parts) if parts else np.zeros(0))

    def _score_variance(self, genes: Genes) -> Floats:
        kernel = self._kernel
        covariance = kernel.covariance(genes, self.length, self.weight)
        prior = (kernel.linear(genes) ** 2).sum(axis=1) + self.weight
        explained = ((covariance @ self._inverse_root) ** 2).sum(axis=1)
        return np.asarray(self.variance * (self.penalty + np.maximum(prior - explained, 0)))

    @cached_property
    def _kernel(self) -> StageKernel:
        return StageKernel(self.space, self.genes)

    @cached_property
    def _inverse_root(self) -> Floats:
        """The root R of (gram + penalty)^-1 = R R^T, float64[samples, samples]."""
        gram = self._kernel.covariance(self.genes, self.length, self.weight)
        values, vectors = np.linalg.eigh(gram)
        return np.asarray(vectors / np.sqrt(np.maximum(values, 0) + self.penalty))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that are stored."""
        return {"genes": self.genes, "dual": self.dual}

    def facts(self) -> dict[str, Any]:
        """The numbers that are stored as JSON."""
        return {name: getattr(self, name) for name in self.NUMBERS}

    @classmethod
    def restore(
        cls, space: SearchSpace, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]
    ) -> StageAdditivePredictor:
        """The inverse of `arrays` and `facts`; raises `ValueError` when shapes do not fit."""
        genes, dual = arrays["genes"].astype(np.int8), arrays["dual"].astype(np.float64)
        if dual.shape != (len(genes),):
            raise ValueError(f"dual has shape {dual.shape} for {len(genes)} samples")
        try:
            space.decode(genes)
        except UserError as error:
            raise ValueError(str(error)) from None
        return cls(space=space, genes=genes, dual=dual, **{name: float(facts[name]) for name in cls.NUMBERS})

    def describe(self) -> str:
        """The fitted choices in words, for users."""
        return f"length {self.length:g}, stages' functions {self.weight:.3g}, penalty {self.penalty:.3g}, by leave-one-out"


def fit_stage_additive(space: SearchSpace, genes: Genes, top1: npt.ArrayLike) -> StageAdditivePredictor:
    """Fit to measured subnets; length scale, variance and penalty by leave-one-out. Arguments and errors as `fit_ridge`."""
    accuracies = check_samples(genes, top1)
    targets = logit(accuracies)
    mean = float(targets.mean())
    tuned = slice(0, SAMPLES_TUNED_ON)
    _, length, weight = _tune(StageKernel(space, genes[tuned]), targets[tuned] - mean)
    solution = _solve(StageKernel(space, genes), targets - mean, length, weight)
    return StageAdditivePredictor(
        space=space,
        genes=genes.copy(),
        dual=solution.dual,
        length=length,
        weight=weight,
        penalty=solution.penalty,
        variance=solution.variance,
        mean=mean,
    )


def _solve(kernel: StageKernel, targets: Floats, length: float, weight: float) -> Solution:
    return solve(kernel.covariance(kernel.samples, length, weight), targets)


def _tune(kernel: StageKernel, targets: Floats) -> tuple[float, float, float]:
    """The combination with the smallest leave-one-out error: error, length scale and weight."""
    scale = max(kernel.linear_variance, 1.0)
    found = []
    for length in LENGTH_SCALES:
        for variance in STAGE_VARIANCES:
            found.append((_solve(kernel, targets, length, variance * scale).error, length, variance * scale))
    return min(found)
