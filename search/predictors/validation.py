"""Cross-validation: the errors of an accuracy model on subnets that it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ofa.errors import UserError
from ofa.space.search_space import Genes
from search.arrays import Floats
from search.predictors.protocols import Predictor
from search.statistics import kendall_tau, shown


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of k-fold cross-validation; every figure is over predictions of held-out subnets."""

    samples: int
    folds: int
    kendall_tau: float | None
    """Rank correlation (tau-b) of predicted and measured top-1 over all pairs of subnets; None where either is constant."""
    mean_absolute_error: float
    """Error in top-1: 0.01 is one point."""
    r2: float | None
    """1 - squared error over the variance of the measurements; None where they do not vary."""
    within_1_std: float | None
    """Fraction of measurements within 1 predicted std of the prediction, 0.68 when the std is right; None without std."""
    within_2_std: float | None
    """The same for 2 std; 0.95 when the std is right."""
    z_std: float | None
    """Root mean square of error over predicted std: 1 when the std is right, above 1 when too small; None without std."""
    top1_std: float
    """Standard deviation of the measured top-1, to compare errors with."""

    def lines(self) -> list[str]:
        """The report as lines of text."""
        return [
            f"cross-validation   {self.folds} folds over {self.samples} measured subnets",
            f"Kendall tau        {shown(self.kendall_tau, '.3f')}",
            f"mean abs. error    {100 * self.mean_absolute_error:.3f} points"
            f" (subnets differ by {100 * self.top1_std:.2f} points, one standard deviation)",
            f"R2                 {shown(self.r2, '.3f')}",
            f"coverage           {self.coverage()}",
        ]

    def coverage(self) -> str:
        """The fractions of measurements within the predicted uncertainty, as text."""
        if self.within_1_std is None:
            return "unknown: the predictor gives no std"
        return (
            f"{self.within_1_std:.0%} within 1 std, {shown(self.within_2_std, '.0%')} within 2 std (68% and 95% when right);"
            f" errors are {shown(self.z_std, '.2f')} times the predicted std"
        )


def cross_validate(
    fit: Callable[[Genes, Floats], Predictor],
    genes: Genes,
    top1: Floats,
    rng: np.random.Generator,
    folds: int = 5,
    scored: int | None = None,
) -> Report:
    """Predict each fold with a fit on all others; choices made inside the fit are validated too.

    Args:
        fit: takes genes and top-1, returns a fitted predictor.
        genes: measured subnets, int8[n, genes].
        top1: measured accuracies, float64[n].
        rng: source of the folds.
        folds: number of folds.
        scored: number of subnets, from the first on, that the report is about; None: all. The first may be a random sample,
            and the rest subnets that were measured because they were predicted to be good.

    Raises:
        UserError: fewer than two subnets per fold.
    """
    if len(genes) < 2 * folds:
        raise UserError(f"{len(genes)} measured subnets; cross-validation over {folds} folds needs at least {2 * folds}")
    fold = rng.permutation(len(genes)) % folds
    predicted, std = np.zeros(len(genes)), np.zeros(len(genes))
    has_std = True
    for k in range(folds):
        model = fit(genes[fold != k], top1[fold != k])
        predicted[fold == k] = model.top1(genes[fold == k])
        uncertainty = model.std(genes[fold == k])
        if uncertainty is None:
            has_std = False
        else:
            std[fold == k] = uncertainty
    predicted, std, top1 = predicted[:scored], std[:scored], top1[:scored]
    error = np.abs(predicted - top1)
    variation = ((top1 - top1.mean()) ** 2).sum()
    return Report(
        samples=len(top1),
        folds=folds,
        kendall_tau=kendall_tau(predicted, top1),
        mean_absolute_error=float(error.mean()),
        r2=float(1 - (error**2).sum() / variation) if np.ptp(top1) > 0 else None,
        within_1_std=float((error <= std).mean()) if has_std else None,
        within_2_std=float((error <= 2 * std).mean()) if has_std else None,
        z_std=float(np.sqrt(np.mean((error / std) ** 2))) if has_std else None,
        top1_std=float(top1.std()),
    )
