"""Upper bounds of a platform's estimates: the rule of `cost_models.uncertainty`, applied to each metric and block."""

from __future__ import annotations

from latency_tables.cost_models.block_table import describe
from latency_tables.cost_models.uncertainty import P50, REFUSED_MAPE, combined, run_excess
from latency_tables.costs.computations import COMPUTATIONS
from latency_tables.costs.protocol import CostedPlatform
from latency_tables.metrics import METRICS
from ofa.errors import UserError
from ofa.space.shapes import BlockShape


def has_bounds(platform: CostedPlatform, metric: str) -> bool:
    """Tell whether a metric has upper bounds: it is exact, or its error and the variation of its blocks' runs are known."""
    if not METRICS[metric].estimated:
        return True
    computation, table = COMPUTATIONS[metric], platform.table
    report = computation.error(platform)
    if report is None or report.mape is None:
        return False
    return table is None or not computation.varies(platform) or all(block.p90_ms is not None for block in table.blocks)


def refusals(platform: CostedPlatform) -> list[str]:
    """A line for each metric whose error `ofa calibrate` would refuse; empty for nearly every platform."""
    reports = {name: computation.error(platform) for name, computation in COMPUTATIONS.items()}
    return [
        f"{metric} is off by {report.mape:.0%} on average on {report.networks} networks that were not fitted; ofa calibrate "
        f"refuses more than {REFUSED_MAPE:.0%}: trust only its order of magnitude"
        for metric, report in reports.items()
        if report is not None and report.verdict == "refused"
    ]


class UpperBounds:
    """Upper bounds of a platform's estimated metrics at a confidence, as multiples of their estimates."""

    def __init__(self, platform: CostedPlatform, confidence: float) -> None:
        self._platform, self._confidence = platform, confidence
        self._of_networks: dict[str, tuple[float, float]] = {}

    def ratio(self, metric: str, shape: BlockShape | None = None, resolution: int | None = None) -> float:
        """Upper bound over estimate, for a block's contribution to a metric; without a shape, for the constant part.

        Raises:
            UserError: the error of the metric or the variation of the block's runs is unknown, or too few networks were
                compared for so high a confidence.
        """
        if metric not in self._of_networks:
            self._of_networks[metric] = self._network(metric, P50), self._network(metric, self._confidence)
        middle, upper = self._of_networks[metric]
        if shape is None or self._platform.table is None or not COMPUTATIONS[metric].varies(self._platform):
            return upper
        block = self._platform.table.find(shape, resolution)
        if block.p90_ms is None:
            raise self._unknown(f"how much the times of {describe(shape)} vary is unknown (p90_ms)", "ofa profile")
        return combined(middle, upper, run_excess(block.median_ms, block.p90_ms, self._confidence))

    def _network(self, metric: str, confidence: float) -> float:
        """`ErrorReport.ratio` of a metric."""
        report = COMPUTATIONS[metric].error(self._platform)
        if report is None or report.mape is None:
            raise self._unknown(f"the error of its {metric} on whole networks is unknown", "ofa profile, ofa calibrate")
        try:
            return report.ratio(confidence)
        except UserError as error:
            raise UserError(f"platform {self._platform.name}: {metric}: {error}") from None

    def _unknown(self, what: str, cure: str) -> UserError:
        return UserError(
            f"platform {self._platform.name}: {what}, so there is no upper bound at confidence {self._confidence:g}; "
            f"leave the confidence out, or measure ({cure})"
        )
