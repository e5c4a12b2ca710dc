"""The noise of measured accuracies, and how well the best possible predictor could rank them.

All subnets are measured on the same images, so what is hard for all of them cancels in every comparison, and the binomial
standard error is far too wide for one. What counts is by how much subnets disagree about which images are hard. A two-way
analysis of variance over subnets and groups of the images gives it: what is neither the subnet's nor the group's. The
fraction of the variance between subnets that is not noise is their reliability (Cronbach's alpha, Psychometrika 16, 1951).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ofa.errors import UserError
from search.arrays import Floats
from search.statistics import kendall_tau, mean_tau, shown

SIMULATIONS = 50


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The noise of top-1 measured on shared images, which are seen as a sample of all such images."""

    std: float
    """Standard deviation of one subnet's top-1, without what all share; sqrt(2) times it for a difference of two."""
    reliability: float | None
    """Variance of the subnets' true top-1 over the variance of the measured one, in [0, 1]; None where all are equal."""
    tau_ceiling: float | None
    """Kendall tau that true top-1 would have with measured top-1, on average; None where all measured ones are equal."""
    tau_halves: float | None
    """Kendall tau of top-1 on one half of the images with top-1 on the other, averaged over splits; measured. None where
    all are equal on a half."""

    def lines(self) -> list[str]:
        """The noise for people."""
        return [
            f"measuring noise    {100 * self.std:.3f} points (differences: {100 * 2**0.5 * self.std:.3f});"
            f" two halves of the images rank the subnets with tau {shown(self.tau_halves, '.3f')}",
            f"noise ceiling      tau {shown(self.tau_ceiling, '.3f')}, of the true accuracies with the measured ones",
        ]


def measurement_noise(groups: Floats, rng: np.random.Generator) -> Noise:
    """Estimate the noise from the top-1 of subnets on groups of the images.

    The ceiling is simulated: noise of the estimated size is added to accuracies spread like the measured ones, but with
    their true variance. It bounds how well a predictor ranks accuracies on *other* images. Cross-validation on the same
    images may exceed it: what this sample of images likes in a kernel or a depth is learnt with it.

    Args:
        groups: top-1, float64[subnets, groups]; groups of equal size, to within an image.
        rng: of the simulation.

    Raises:
        UserError: fewer than 2 groups or 3 subnets.
    """
    subnets, count = groups.shape
    if subnets < 3 or count < 2:
        raise UserError(f"{subnets} subnets on {count} groups of the images; at least 3 and 2 are needed to tell the noise")
    top1 = groups.mean(axis=1)
    residual = groups - top1[:, None] - groups.mean(axis=0) + groups.mean()
    variance = float((residual**2).sum() / ((subnets - 1) * (count - 1)) / count)
    total = float(top1.var(ddof=1))
    reliability = max(0.0, 1 - variance / total) if total > 0 else None
    return Noise(
        std=float(np.sqrt(variance)),
        reliability=reliability,
        tau_ceiling=None if reliability is None else _ceiling(top1, reliability, variance, rng),
        tau_halves=_halves(groups, rng),
    )


def _ceiling(top1: Floats, reliability: float, variance: float, rng: np.random.Generator) -> float:
    """Kendall tau of simulated true accuracies with noisy ones; 0 where all that is measured is noise."""
    true = top1.mean() + np.sqrt(reliability) * (top1 - top1.mean())
    noise = rng.normal(0, np.sqrt(variance), (SIMULATIONS, len(top1)))
    return mean_tau([kendall_tau(true, true + row) for row in noise]) or 0.0


def _halves(groups: Floats, rng: np.random.Generator, splits: int = 20) -> float | None:
    half = groups.shape[1] // 2
    taus = []
    for _ in range(splits):
        order = rng.permutation(groups.shape[1])
        taus.append(kendall_tau(groups[:, order[:half]].mean(axis=1), groups[:, order[half : 2 * half]].mean(axis=1)))
    return mean_tau(taus)
