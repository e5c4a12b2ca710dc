"""Accuracy of subnets by Bayesian linear regression on the logit of top-1.

With a Gaussian prior on the weights the posterior mean is ridge regression, and the posterior gives the uncertainty (Bishop,
Pattern Recognition and Machine Learning, section 3.3). Features and penalty are those with the smallest leave-one-out error,
which is exact and closed-form here, so a fit takes milliseconds. The logit keeps predictions inside (0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.space import Genes, SearchSpace
from search.features import FEATURE_SETS, FeatureMap
from search.problem import Floats

PENALTIES = tuple(float(value) for value in np.logspace(-2, 3, 21))
FEWEST = 8
EDGE = 1e-4
"""Measured accuracies are moved this far from 0 and 1, where the logit is infinite."""
CHUNK = 65_536
INTERCEPT = 30.0
"""Prior standard deviation of the intercept, in units of the other weights': it is practically free."""


@dataclass(frozen=True, kw_only=True)
class RidgePredictor:
    """Top-1 of the subnets of a space; make one with `fit`."""

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
    """Of the standardised features, then the intercept, float64[features + 1]."""
    spread: Floats
    """Matrix that takes from the prior variance what the samples explain, float64[features + 1, rank]."""
    variance: float
    """Prior variance of a weight, calibrated on the leave-one-out errors."""

    def top1(self, genes: Genes) -> Floats:
        """Predicted top-1, float64[n] in (0, 1)."""
        return _expit(self.score(genes))

    def score(self, genes: Genes) -> Floats:
        """The logit of `top1`, float64[n]: a sum of terms that each depend on one stage and the resolution."""
        weights = self.weights[:-1] / self.scale
        constant = INTERCEPT * self.weights[-1] - self.offset @ weights
        features = FeatureMap(self.space, self.features)
        parts = [features(genes[i : i + CHUNK]) @ weights + constant for i in range(0, len(genes), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def stage_scores(self, genes: Genes, base: Genes) -> Floats:
        """`score(genes) - score(base)` at every resolution, float64[resolutions, n]; resolution genes are ignored.

        The features are linear in the logarithm of the resolution (`search.features`), so two resolutions give all.
        """
        ends = []
        for resolution in {0, len(self.space.resolutions) - 1}:
            rows = np.concatenate([base[:1], genes])
            rows[:, 0] = resolution
            score = self.score(rows)
            ends.append(score[1:] - score[0])
        logs = np.log(np.asarray(self.space.resolutions, dtype=np.float64))
        along = (logs - logs[0]) / max(logs[-1] - logs[0], 1e-12)
        return np.asarray(ends[0] + along[:, None] * (ends[-1] - ends[0]))

    def std(self, genes: Genes) -> Floats:
        """Standard deviation of what a measurement would give, float64[n]: model error and noise of the measurements."""
        x = self._design(genes)
        explained = ((x @ self.spread) ** 2).sum(axis=1)
        logit_variance = self.variance * (self.penalty + np.maximum((x**2).sum(axis=1) - explained, 0))
        mean = _expit(x @ self.weights)
        return np.asarray(mean * (1 - mean) * np.sqrt(logit_variance))

    def _design(self, genes: Genes) -> Floats:
        x = (FeatureMap(self.space, self.features)(genes) - self.offset) / self.scale
        return np.concatenate([x, np.full((len(x), 1), INTERCEPT)], axis=1)


def fit(space: SearchSpace, genes: Genes, top1: npt.ArrayLike) -> RidgePredictor:
    """Fit to measured subnets; features and penalty by leave-one-out.

    Args:
        space: the space of the genes.
        genes: int8[n, genes], canonical, n >= 8.
        top1: measured top-1 accuracies, float64[n] in [0, 1].

    Raises:
        UserError: too few samples, or accuracies that are none.
    """
    top1 = np.asarray(top1, dtype=np.float64)
    if top1.shape != (len(genes),):
        raise UserError(f"top1 has shape {top1.shape} for {len(genes)} subnets; expected ({len(genes)},)")
    if len(genes) < FEWEST:
        raise UserError(f"{len(genes)} measured subnets; at least {FEWEST} are needed to fit a predictor")
    wrong = np.flatnonzero(~((top1 >= 0) & (top1 <= 1)))
    if len(wrong):
        raise UserError(f"top1[{wrong[0]}] is {top1[wrong[0]]}; accuracies must be between 0 and 1")
    return min((_fit(space, kind, genes, top1) for kind in FEATURE_SETS), key=lambda pair: pair[0])[1]


def _fit(space: SearchSpace, kind: str, genes: Genes, top1: Floats) -> tuple[float, RidgePredictor]:
    """The best penalty for one set of features: its leave-one-out squared error, and the fitted model."""
    raw = FeatureMap(space, kind)(genes)
    offset, scale = raw.mean(axis=0), raw.std(axis=0)
    scale[scale < 1e-9] = np.inf  # a feature that never varies says nothing: standardised to 0
    x = np.concatenate([(raw - offset) / scale, np.full((len(raw), 1), INTERCEPT)], axis=1)
    y = _logit(np.clip(top1, EDGE, 1 - EDGE))
    # Dual form: everything below is in the eigenbasis of the n x n Gram matrix.
    values, vectors = np.linalg.eigh(x @ x.T)
    values = np.maximum(values, 0)
    rotated = vectors.T @ y
    best = (np.inf, 0.0, np.zeros(0), np.zeros(0))
    for penalty in PENALTIES:
        inverse_diagonal = (vectors**2) @ (1 / (values + penalty))
        dual = vectors @ (rotated / (values + penalty))
        error = float(np.mean((dual / inverse_diagonal) ** 2))
        if error < best[0]:
            best = (error, penalty, dual, inverse_diagonal)
    error, penalty, dual, inverse_diagonal = best
    # A leave-one-out residual is dual / inverse_diagonal and its variance is the prior's over inverse_diagonal.
    variance = max(float(np.mean(dual**2 / inverse_diagonal)), 1e-12)
    predictor = RidgePredictor(
        space=space,
        features=kind,
        penalty=penalty,
        samples=len(genes),
        offset=offset,
        scale=scale,
        weights=x.T @ dual,
        spread=(x.T @ vectors) / np.sqrt(values + penalty),
        variance=variance,
    )
    return error, predictor


def _logit(p: Floats) -> Floats:
    return np.asarray(np.log(p / (1 - p)))


def _expit(z: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(z / 2)))
