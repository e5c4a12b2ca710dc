"""How sure an estimate is: what is known of its error, and the upper bound that follows at a confidence. No torch here.

The rule. Let an estimate of a network be x (a median: `p50`). What a new network is measured to take is x (1 + e) with

- e of the whole network: its mean absolute error on n networks that were not fitted is `mape`. For a normal error that is
  sqrt(2 / pi) of the standard deviation, so with probability c

      e <= t(n, c) sqrt(pi / 2) mape        (t: Student's quantile at n degrees of freedom, as `mape` itself is uncertain)

- e of a run of a measured block: its 90th percentile over its median, minus 1; at other confidences in proportion to the
  normal quantile z(c) / z(0.9). Blocks are taken to be slow together (a warm device is), so their spreads add up linearly.

Both are independent: a block is charged the root of the sum of their squares. Everything stays a sum over blocks, so the
cost factors, and the searches on them, are as exact and as fast as for the estimate itself. How many of the published
measurements really lie below their `p90` is in docs/platforms.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, pi, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError

Floats = npt.NDArray[np.float64]

P90 = 0.9
"""The confidence at which a table knows the spread of its blocks, and which cards show."""


@dataclass(frozen=True, kw_only=True)
class ErrorReport:
    """How far estimates are from whole networks measured on the device; None where nobody has compared."""

    note: str
    """In words: what was compared, or what to expect and why."""
    networks: int = 0
    """Whole networks compared, none of them used for fitting."""
    mape: float | None = None
    """Mean absolute relative error of latency, 0.05 is 5%."""
    worst: float | None = None
    """The largest absolute relative error among them."""
    spearman: float | None = None
    """Rank correlation of predicted and measured latency."""
    within_5: float | None = None
    """Share of the networks whose relative error is at most 5%; 0.9 is nine of ten."""
    within_10: float | None = None
    """The same, at most 10%."""

    def __post_init__(self) -> None:
        for name in ("mape", "worst"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}; must be a finite number, at least 0")
        for name in ("within_5", "within_10"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; must be a share between 0 and 1")
        if self.worst is not None and (self.mape is None or self.worst < self.mape):
            raise ValueError(f"worst is {self.worst} and mape {self.mape}; the largest error is at least the mean")
        if self.spearman is not None and not -1 <= self.spearman <= 1:
            raise ValueError(f"spearman is {self.spearman}; must be between -1 and 1")
        if (self.mape is None) != (self.networks == 0):
            raise ValueError(f"mape is {self.mape} on {self.networks} networks; give both or neither")

    def excess(self, confidence: float) -> float | None:
        """By what share of the estimate a network's measurement may exceed it; None where nobody has compared."""
        if self.mape is None:
            return None
        return network_excess(self.mape, self.networks, confidence)


def compare(predicted: Floats, measured: Floats, note: str) -> ErrorReport:
    """The error of predictions, float64[networks], of networks that were not fitted."""
    from scipy.stats import spearmanr

    errors = np.abs(predicted / measured - 1)
    ranked = min(len(set(predicted)), len(set(measured))) > 2
    return ErrorReport(
        note=note,
        networks=len(measured),
        mape=round(float(errors.mean()), 4),
        worst=round(float(errors.max()), 4),
        spearman=round(float(spearmanr(predicted, measured).statistic), 4) if ranked else None,
        within_5=round(float((errors <= 0.05).mean()), 4),
        within_10=round(float((errors <= 0.1).mean()), 4),
    )


def check_confidence(confidence: float) -> None:
    """Raise `UserError` unless a confidence is one of an upper bound."""
    if not 0.5 <= confidence < 1:
        raise UserError(f"confidence is {confidence:g}; must be at least 0.5 (the estimate itself) and below 1")


def network_excess(mape: float, networks: int, confidence: float) -> float:
    """By what share of its estimate a whole network's measurement may exceed it; see the rule above."""
    from scipy.special import stdtrit

    return float(stdtrit(networks, confidence)) * sqrt(pi / 2) * mape


def run_excess(median: float, p90: float, confidence: float) -> float:
    """By what share of its median a measured block's run may exceed it."""
    normal = NormalDist()
    return (p90 / median - 1) * normal.inv_cdf(confidence) / normal.inv_cdf(P90)


def combined(network: float, run: float) -> float:
    """Both excesses, which are independent."""
    return hypot(network, run)
