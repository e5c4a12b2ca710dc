"""Accuracy of subnets by Bayesian linear regression on the logit of top-1.

With a Gaussian prior on the weights, the posterior mean is ridge regression, and the posterior variance is the uncertainty
(Bishop, Pattern Recognition and Machine Learning, section 3.3). Feature set and penalty are those with the smallest
leave-one-out error, which has an exact closed form, so a fit takes milliseconds. The logit keeps predictions inside (0, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats
from search.predictors.features import FEATURE_SETS, FeatureMap, standard
from search.predictors.regression import check_samples, expit, linear_score, logit, solve, top1_std, with_intercept


@dataclass(frozen=True, kw_only=True)
class RidgePredictor:
    """Top-1 of the subnets of a space; make one with `fit_ridge`."""

    kind: ClassVar[str] = "ridge"
    ARRAYS: ClassVar[dict[str, str]] = {
        "offset": "offset",
        "scale": "scale",
        "weights": "weights",
        "variance_factor": "spread",
    }
    """Fields that are arrays, with their names in a file."""

    space: SearchSpace
    features: str
    """One of `FEATURE_SETS`."""
    penalty: float
    samples: int
    """Subnets fitted."""
    offset: Floats
    """Mean of each feature, float64[features]."""
    scale: Floats
    """Standard deviation of each feature, float64[features]."""
    weights: Floats
    """Weights of the standardised features, then of the intercept, float64[features + 1]."""
    variance_factor: Floats
    """Factor S: posterior variance = prior variance - ||x S||^2, float64[features + 1, rank]."""
    variance: float
    """Prior variance of a weight, calibrated on the leave-one-out errors."""

    def top1(self, genes: Genes) -> Floats:
        """Predicted top-1, float64[n] in (0, 1)."""
        return expit(self.score(genes))

    def score(self, genes: Genes) -> Floats:
        """The logit of `top1`, float64[n]: a sum of terms that each depend on one stage and the resolution."""
        features = FeatureMap(self.space, self.features)
        return linear_score(features, genes, self.weights, self.offset, self.scale)

    def stage_scores(self, genes: Genes, base: Genes) -> Floats:
        """`score(genes) - score(base)` at every resolution, float64[resolutions, n]; resolution genes are ignored.

        The features are linear in the logarithm of the resolution (`predictors.features`), so two resolutions decide the
        others.
        """
        ends = []
        for resolution in {0, len(self.space.resolutions) - 1}:
            rows = np.concatenate([base[:1], genes])
            self.space.rows(rows).resolution[:] = resolution
            score = self.score(rows)
            ends.append(score[1:] - score[0])
        logs = np.log(np.asarray(self.space.resolutions, dtype=np.float64))
        along = (logs - logs[0]) / max(logs[-1] - logs[0], 1e-12)
        return np.asarray(ends[0] + along[:, None] * (ends[-1] - ends[0]))

    def std(self, genes: Genes) -> Floats:
        """Standard deviation of a measurement around the prediction, float64[n]: model error and measuring noise."""
        return top1_std(self.score(genes), self.variance * (self.penalty + self._left(genes)))

    def leverage(self, genes: Genes) -> Floats:
        """The leverage of each fitted subnet: the weight of its measurement in its own prediction, float64[n] in [0, 1).

        A leave-one-out residual is the residual divided by (1 - leverage).
        """
        return np.minimum(self._left(genes) / self.penalty, 1 - 1e-9)

    def _left(self, genes: Genes) -> Floats:
        """Prior variance that the samples leave unexplained, float64[n]."""
        x = with_intercept((FeatureMap(self.space, self.features)(genes) - self.offset) / self.scale)
        return np.asarray(np.maximum((x**2).sum(axis=1) - ((x @ self.variance_factor) ** 2).sum(axis=1), 0))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that are stored."""
        return {stored: getattr(self, name) for name, stored in self.ARRAYS.items()}

    def facts(self) -> dict[str, Any]:
        """The numbers that are stored as JSON."""
        return {name: getattr(self, name) for name in ("features", "samples", "penalty", "variance")}

    @classmethod
    def restore(cls, space: SearchSpace, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> RidgePredictor:
        """The inverse of `arrays` and `facts`; raises `ValueError` when shapes do not fit."""
        return cls(
            space=space,
            features=facts["features"],
            samples=int(facts["samples"]),
            penalty=float(facts["penalty"]),
            variance=float(facts["variance"]),
            **{name: arrays[stored].astype(np.float64) for name, stored in cls.ARRAYS.items()},
        )

    def describe(self) -> str:
        """The fitted choices in words, for users."""
        return f"features {self.features}, penalty {self.penalty:g}, both by leave-one-out"


def fit_ridge(space: SearchSpace, genes: Genes, top1: npt.ArrayLike) -> RidgePredictor:
    """Fit to measured subnets; features and penalty by leave-one-out.

    Args:
        space: the space of the genes.
        genes: int8[n, genes], canonical, n >= 8.
        top1: measured top-1 accuracies, float64[n] in [0, 1].

    Raises:
        UserError: too few samples, or a top-1 outside [0, 1].
    """
    accuracies = check_samples(genes, top1)
    return min((_fit(space, kind, genes, accuracies) for kind in FEATURE_SETS), key=lambda pair: pair[0])[1]


def _fit(space: SearchSpace, kind: str, genes: Genes, top1: Floats) -> tuple[float, RidgePredictor]:
    """The best penalty for one set of features: its leave-one-out squared error, and the fitted model."""
    raw = FeatureMap(space, kind)(genes)
    offset, scale = standard(raw)
    x = with_intercept((raw - offset) / scale)
    solution = solve(x @ x.T, logit(top1))
    predictor = RidgePredictor(
        space=space,
        features=kind,
        penalty=solution.penalty,
        samples=len(genes),
        offset=offset,
        scale=scale,
        weights=x.T @ solution.dual,
        variance_factor=x.T @ solution.inverse_root,
        variance=solution.variance,
    )
    return solution.error, predictor
