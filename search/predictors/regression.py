"""Gaussian process regression on the logit of top-1 in its dual form, which the closed-form accuracy models share.

With a Gaussian prior on a function, the posterior mean is `gram @ dual`. Posterior variance and leave-one-out errors also
have closed forms in the eigenbasis of the Gram matrix (Rasmussen and Williams, Gaussian Processes for Machine Learning,
2006, sections 2.2 and 5.4.2). The logit keeps predictions inside (0, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.space.search_space import Genes
from search.arrays import Floats

PENALTIES = tuple(float(value) for value in np.logspace(-2, 3, 21))
"""Candidates for `Solution.penalty`."""
FEWEST_SAMPLES = 8
ROWS_AT_ONCE = 4096
"""Rows predicted at once, so that their features stay in the cache."""
INTERCEPT_STD = 30.0
"""Prior standard deviation of the intercept over that of the other weights; so large that the intercept is almost free."""
LOGIT_MARGIN = 1e-4
"""Measured accuracies are moved this far from 0 and 1, where the logit is infinite."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A fit with the penalty that has the smallest leave-one-out error."""

    error: float
    """Mean squared leave-one-out error."""
    penalty: float
    """Variance of the noise over the prior variance."""
    dual: Floats
    """(gram + penalty)^-1 targets, float64[n]."""
    variance: float
    """Prior variance, scaled so that the predicted leave-one-out variances match the observed errors."""
    inverse_root: Floats
    """The root R of (gram + penalty)^-1 = R R^T, float64[n, n]."""


def solve(gram: Floats, targets: Floats) -> Solution:
    """Fit `targets`, float64[n], with the prior covariance `gram`, float64[n, n], known up to a factor."""
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0)
    rotated = vectors.T @ targets
    best: tuple[float, float, Floats, Floats] = (np.inf, 0.0, targets, targets)
    for penalty in PENALTIES:
        inverse_diagonal = (vectors**2) @ (1 / (values + penalty))
        dual = vectors @ (rotated / (values + penalty))
        error = float(np.mean((dual / inverse_diagonal) ** 2))
        if error < best[0]:
            best = (error, penalty, dual, inverse_diagonal)
    error, penalty, dual, inverse_diagonal = best
    # A leave-one-out residual is dual / inverse_diagonal and its variance is the prior's over inverse_diagonal.
    return Solution(
        error=error,
        penalty=penalty,
        dual=dual,
        variance=max(float(np.mean(dual**2 / inverse_diagonal)), 1e-12),
        inverse_root=vectors / np.sqrt(values + penalty),
    )


def with_intercept(features: Floats) -> Floats:
    """The features with a last column for the intercept."""
    return np.concatenate([features, np.full((len(features), 1), INTERCEPT_STD)], axis=1)


def linear_score(
    features: Callable[[Genes], Floats], genes: Genes, weights: Floats, offset: Floats, scale: Floats
) -> Floats:
    """`with_intercept((features(genes) - offset) / scale) @ weights`, float64[n], without large intermediate arrays."""
    inner = weights[:-1] / scale
    constant = INTERCEPT_STD * weights[-1] - offset @ inner
    parts = [features(genes[i : i + ROWS_AT_ONCE]) @ inner + constant for i in range(0, len(genes), ROWS_AT_ONCE)]
    return np.concatenate(parts) if parts else np.zeros(0)


def check_samples(genes: Genes, top1: npt.ArrayLike) -> Floats:
    """The accuracies as float64[n]; raises `UserError` for too few samples, or a value outside [0, 1]."""
    top1 = np.asarray(top1, dtype=np.float64)
    if top1.shape != (len(genes),):
        raise UserError(f"top1 has shape {top1.shape} for {len(genes)} subnets; expected ({len(genes)},)")
    if len(genes) < FEWEST_SAMPLES:
        raise UserError(f"{len(genes)} measured subnets; at least {FEWEST_SAMPLES} are needed to fit a predictor")
    wrong = np.flatnonzero(~((top1 >= 0) & (top1 <= 1)))
    if len(wrong):
        raise UserError(f"top1[{wrong[0]}] is {top1[wrong[0]]}; accuracies must be between 0 and 1")
    return top1


def logit(top1: Floats) -> Floats:
    """Log odds; accuracies of 0 and 1 are first moved inside by `LOGIT_MARGIN`."""
    inside = np.clip(top1, LOGIT_MARGIN, 1 - LOGIT_MARGIN)
    return np.asarray(np.log(inside / (1 - inside)))


def expit(score: Floats) -> Floats:
    """The inverse of `logit`, in (0, 1)."""
    return np.asarray(0.5 * (1 + np.tanh(score / 2)))


def top1_std(score: Floats, score_variance: Floats) -> Floats:
    """Standard deviation of top-1 from the variance of its logit, to first order."""
    mean = expit(score)
    return np.asarray(mean * (1 - mean) * np.sqrt(score_variance))
