"""Uncertainty of estimates: reports of their error, and upper bounds at a confidence that follow from it. No torch here.

The rule. Estimates are compared with n whole networks that were measured and not used in the fit; let r be the ratio of
measured to predicted. At confidence c, a new network's measurement is expected to stay below its estimate times

- from ten networks on: the ceil((n + 1) c)-th smallest of the ratios. That holds with probability c at least, whatever their
  distribution and however biased the estimate (split-conformal prediction: Vovk et al., Algorithmic Learning in a Random
  World, 2005; Lei et al., JASA 113, 2018), for networks drawn as those compared were. Where each of these was predicted by a
  fit without it (leave-one-out), it holds approximately; docs/platforms.md has the measured coverage.
- below ten: 1 + t(n, c) sqrt(pi / 2) mape (t: Student's quantile at n degrees of freedom). The errors are taken as normal
  and centred on the estimate, so that `mape` is sqrt(2 / pi) of their standard deviation. A platform file without quantiles
  is treated in the same way.

The runs of a measured block vary in addition: a run exceeds the median by (90th percentile / median - 1) at confidence 0.9,
at others in proportion to the normal quantile z(c) / z(0.9). All blocks are taken to be slow at the same time (as on a warm
device), so these excesses add up linearly.

The two causes are independent: the ratio of a block is the median ratio plus the root of the sum of the two squared excesses
over it. Everything stays a sum over blocks, so the cost factors, and the searches on them, are as exact and as fast as for
the estimate itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import atan, ceil, cos, exp, hypot, inf, lgamma, log, log1p, pi, sin, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated

from ofa.errors import UserError
from ofa.files.bounds import Above, AtLeast, AtMost, Below, Bounded, NotNegative, Positive, UnitInterval, WholeNumber

if TYPE_CHECKING:
    from latency_tables.arrays import Floats

P50, P90 = 0.5, 0.9
"""The confidences that cards show; a block table holds the 90th percentile of its runs."""
CONFIDENCES = (P50, 0.6, 0.7, 0.8, 0.85, P90, 0.95, 0.975, 0.99, 0.995, 0.999)
"""The confidences at which a report keeps quantiles; one in between uses the next higher."""
LEAST_RATIOS = 10
"""Fewest compared networks for which quantiles are kept."""
DIGITS = 5
"""Decimals of a quantile, rounded up."""
ACCEPTED_MAPE, REFUSED_MAPE = 0.10, 0.50
"""Estimates with a mean error above the first fail their check; above the second, `ofa calibrate` makes no platform."""


@dataclass(frozen=True, kw_only=True)
class ErrorReport(Bounded):
    """Error of estimates on whole networks measured on the device; its fields are None where nothing was compared."""

    note: str
    """Text for users: the comparison behind the error, or the error to expect and why."""
    networks: WholeNumber = 0
    """Whole networks compared, none of them used for fitting."""
    mape: NotNegative | None = None
    """Mean absolute relative error of the predictions, 0.05 is 5%."""
    worst: NotNegative | None = None
    """The largest absolute relative error among them."""
    spearman: Annotated[float, AtLeast(-1), AtMost(1)] | None = None
    """Rank correlation of predictions and measurements."""
    within_5: UnitInterval | None = None
    """Share of the networks whose relative error is at most 5%; 0.9 is nine of ten."""
    within_10: UnitInterval | None = None
    """The same, at most 10%."""
    quantiles: dict[float, Positive] = field(default_factory=dict)
    """Ratio of measured to predicted that new networks stay below, by confidence; empty below `LEAST_RATIOS` networks."""
    expected_factor: Annotated[float, Above(1), Below(inf)] | None = None
    """Factor by which estimates may be too high or too low, judged from other workloads, where no network was compared."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.worst is not None and (self.mape is None or self.worst < self.mape):
            raise ValueError(f"worst is {self.worst} and mape {self.mape}; the largest error is at least the mean")
        if (self.mape is None) != (self.networks == 0):
            raise ValueError(f"mape is {self.mape} on {self.networks} networks; give both or neither")
        if self.expected_factor is not None and self.mape is not None:
            raise ValueError(
                f"expected_factor is {self.expected_factor} and mape {self.mape}; give one: judged, or compared"
            )
        self._check_quantiles()

    @property
    def expectation(self) -> str | None:
        """The error that is expected though no network was compared, in words; None where none is stated."""
        factor = self.expected_factor
        return None if factor is None else f"expected within a factor of {factor:g}; no network was compared"

    def _check_quantiles(self) -> None:
        if self.quantiles and self.networks < LEAST_RATIOS:
            raise ValueError(f"quantiles are given of {self.networks} networks; at least {LEAST_RATIOS} are needed")
        for confidence in self.quantiles:
            if not (isinstance(confidence, float) and P50 <= confidence < 1):
                raise ValueError(f"quantiles: confidence is {confidence!r}; must be a number, at least {P50:g} and below 1")
        if self.quantiles and P50 not in self.quantiles:
            raise ValueError(f"quantiles has no {P50:g}, the median; it has {', '.join(map(str, self.quantiles))}")
        before = 0.0
        for confidence, ratio in sorted(self.quantiles.items()):
            if ratio < before:
                raise ValueError(f"quantiles: {confidence:g} is {ratio}; must not fall from one confidence to the next")
            before = ratio

    @property
    def verdict(self) -> str | None:
        """`passed`, `failed` (mean error above 10%) or `refused` (above 50%); None where nothing was compared."""
        if self.mape is None:
            return None
        return "passed" if self.mape <= ACCEPTED_MAPE else "failed" if self.mape <= REFUSED_MAPE else "refused"

    @property
    def rule(self) -> str | None:
        """Rule behind the upper bounds, in words; None where there are no bounds."""
        if self.mape is None:
            return None
        if self.quantiles:
            return f"quantiles of measured over predicted, {self.networks} networks (split-conformal)"
        few = f"{self.networks} networks are too few for quantiles" if self.networks < LEAST_RATIOS else "no quantiles given"
        return f"errors taken as normal and centred on the estimate: {few}"

    def marked(self, cure: str) -> ErrorReport:
        """The same report; where it does not pass, its note says so and names `cure`, what to do about it."""
        if self.verdict in (None, "passed"):
            return self
        return replace(self, note=f"FAILS its own check (error above {ACCEPTED_MAPE:.0%}; {cure}): {self.note}")

    def ratio(self, confidence: float) -> float:
        """The bound that a new network's measurement stays below, as a multiple of its estimate.

        Raises:
            UserError: nothing was compared, or too few networks for so high a confidence.
        """
        if self.mape is None:
            raise UserError(f"the error on whole networks is unknown, so there is no upper bound at {confidence:g}")
        if not self.quantiles:
            return 1 + normal_excess(self.mape, self.networks, confidence)
        known = sorted(known for known in self.quantiles if known >= confidence)
        if not known:
            given = f"no upper bound at confidence {confidence:g}; the highest is at {max(self.quantiles):g}"
            raise UserError(f"{self.networks} networks give {given}")
        return self.quantiles[known[0]]


def compare(predicted: Floats, measured: Floats, note: str) -> ErrorReport:
    """The error of predictions, float64[networks], for networks that were not used for fitting."""
    from scipy.stats import spearmanr

    errors = abs(predicted / measured - 1)
    ranked = min(len(set(predicted)), len(set(measured))) > 2
    return ErrorReport(
        note=note,
        networks=len(measured),
        mape=round(float(errors.mean()), 4),
        worst=round(float(errors.max()), 4),
        spearman=round(float(spearmanr(predicted, measured).statistic), 4) if ranked else None,
        within_5=round(float((errors <= 0.05).mean()), 4),
        within_10=round(float((errors <= 0.1).mean()), 4),
        quantiles=conformal(measured / predicted),
    )


def conformal(ratios: Floats) -> dict[float, float]:
    """Bounds that a further ratio from the same distribution stays below, by confidence; empty where ratios are too few."""
    if len(ratios) < LEAST_RATIOS:
        return {}
    ranked = sorted(ratios)
    ranks = {confidence: ceil(round((len(ratios) + 1) * confidence, 9)) for confidence in CONFIDENCES}
    scale = 10**DIGITS
    return {c: ceil(round(ranked[rank - 1] * scale, 3)) / scale for c, rank in ranks.items() if rank <= len(ratios)}


def check_confidence(confidence: float) -> None:
    """Raise `UserError` unless a confidence is at least 0.5 and below 1."""
    if not P50 <= confidence < 1:
        raise UserError(f"confidence is {confidence:g}; must be at least 0.5 (the median) and below 1")


def normal_excess(mape: float, networks: int, confidence: float) -> float:
    """Fraction of its estimate by which a network's measurement may exceed it, if errors are normal and centred on 0."""
    return student_quantile(networks, confidence) * sqrt(pi / 2) * mape


def student_quantile(degrees: int, confidence: float) -> float:
    """The quantile of Student's t with so many degrees of freedom, for a confidence in [0.5, 1).

    `scipy.special.stdtrit` has it too, but to import scipy takes as long as a whole answer. The distribution function is
    concave above 0 and rises more slowly than the normal one, so Newton's method comes from below and never overshoots.
    """
    log_scale = lgamma((degrees + 1) / 2) - lgamma(degrees / 2) - log(degrees * pi) / 2
    t, step = max(0.0, NormalDist().inv_cdf(confidence)), inf
    while step > 1e-13 * t:
        density = exp(log_scale - (degrees + 1) / 2 * log1p(t * t / degrees))
        step = max(0.0, (confidence - _student_distribution(degrees, t)) / density)
        t += step
    return t


def _student_distribution(degrees: int, t: float) -> float:
    """Probability below `t` (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4)."""
    angle = atan(t / sqrt(degrees))
    odd = degrees % 2
    term = cos(angle) if odd else 1.0
    total = 0.0
    for k in range(1 + odd, degrees, 2):
        total += term
        term *= cos(angle) ** 2 * k / (k + 1)
    within = 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
    return (1 + within) / 2


def run_excess(median: float, p90: float, confidence: float) -> float:
    """Fraction of its median by which a run of a measured block may exceed it."""
    normal = NormalDist()
    return (p90 / median - 1) * normal.inv_cdf(confidence) / normal.inv_cdf(P90)


def combined(middle: float, upper: float, run: float) -> float:
    """Ratio of bound to estimate for both errors: on networks (`middle`: median, `upper`: bound) and of a block's runs."""
    return middle + hypot(upper - middle, middle * run)
