"""The noise of measured accuracies, and the best rank correlation that a predictor could reach.

All subnets are measured on the same images, so images that are hard for all of them cancel in every comparison, and the
binomial standard error is far too wide for a comparison. What counts is how much subnets disagree about which images are
hard. A two-way analysis of variance over subnets and groups of images estimates it: the variance that neither the subnet nor
the group explains. The fraction of the variance between subnets that is not noise is their reliability (Cronbach's alpha,
Psychometrika 16, 1951).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ofa.errors import UserError
from search.arrays import Floats
from search.statistics import kendall_tau, mean_tau, shown

SIMULATIONS = 50
"""Simulations from which the ceiling is averaged."""
SPLITS = 20
"""Random splits of the images from which the tau of two halves is averaged."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The noise of top-1 measured on shared images, which are taken as a sample of all such images."""

    std: float
    """Standard deviation of one subnet's top-1, without the error that all share (`paired_error`)."""
    reliability: float | None
    """Variance of the subnets' true top-1 over that of their measured top-1, in [0, 1]; None if all measured are equal."""
    tau_ceiling: float | None
    """Expected Kendall tau of true and measured top-1; None if all measured ones are equal."""
    tau_halves: float | None
    """Kendall tau of measured top-1 on two halves of the images, averaged over random splits; None if all subnets are equal
    on a half."""

    def lines(self) -> list[str]:
        """The noise as lines of text."""
        return [
            f"measuring noise    {100 * self.std:.3f} points (differences: {100 * 2**0.5 * self.std:.3f});"
            f" two halves of the images rank the subnets with tau {shown(self.tau_halves, '.3f')}",
            f"noise ceiling      tau {shown(self.tau_ceiling, '.3f')}, of the true accuracies with the measured ones",
        ]


def paired_error(groups: Floats | None) -> float | None:
    """Standard error of an accuracy beside others that are measured on the same images; a difference has sqrt(2) of it.

    Args:
        groups: accuracy, float64[subnets, groups]; the sizes of the groups differ by at most one image. None: not recorded.

    Returns:
        The error, in the unit of accuracy; None where it cannot be told: there are fewer than 2 groups or 3 subnets.
    """
    if groups is None or len(groups) < 3 or groups.shape[1] < 2:
        return None
    subnets, count = groups.shape
    residual = groups - groups.mean(axis=1, keepdims=True) - groups.mean(axis=0) + groups.mean()
    return float(np.sqrt((residual**2).sum() / ((subnets - 1) * (count - 1)) / count))


def measurement_noise(groups: Floats, rng: np.random.Generator) -> Noise:
    """Estimate the noise from the top-1 of subnets on groups of the images.

    The ceiling is simulated: the measured accuracies, scaled to their true variance, are compared with themselves plus noise
    of the estimated size. It bounds the rank correlation of a predictor with accuracies on *other* images. Cross-validation
    on the same images may exceed it, because the predictor also learns the peculiarities of these images.

    Args:
        groups: top-1, float64[subnets, groups]; the sizes of the groups differ by at most one image.
        rng: source of randomness of the simulation.

    Raises:
        UserError: there are fewer than 2 groups or 3 subnets.
    """
    std = paired_error(groups)
    if std is None:
        subnets, count = groups.shape
        raise UserError(f"{subnets} subnets on {count} groups of the images; at least 3 and 2 are needed to tell the noise")
    top1 = groups.mean(axis=1)
    total = float(top1.var(ddof=1))
    reliability = max(0.0, 1 - std**2 / total) if total > 0 else None
    return Noise(
        std=std,
        reliability=reliability,
        tau_ceiling=None if reliability is None else _ceiling(top1, reliability, std, rng),
        tau_halves=_halves(groups, rng),
    )


def _ceiling(top1: Floats, reliability: float, std: float, rng: np.random.Generator) -> float:
    """Mean Kendall tau of simulated true accuracies with noisy ones; 0 where the measured variance is all noise."""
    true = top1.mean() + np.sqrt(reliability) * (top1 - top1.mean())
    noise = rng.normal(0, std, (SIMULATIONS, len(top1)))
    return mean_tau([kendall_tau(true, true + row) for row in noise]) or 0.0


def _halves(groups: Floats, rng: np.random.Generator) -> float | None:
    half = groups.shape[1] // 2
    taus = []
    for _ in range(SPLITS):
        order = rng.permutation(groups.shape[1])
        taus.append(kendall_tau(groups[:, order[:half]].mean(axis=1), groups[:, order[half : 2 * half]].mean(axis=1)))
    return mean_tau(taus)
