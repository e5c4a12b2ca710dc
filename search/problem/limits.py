"""Upper limits on costs, and the error that names the attainable values where no subnet meets them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from latency_tables.metrics import METRICS, number
from ofa.errors import UserError


@dataclass(frozen=True, slots=True)
class Limit:
    """An upper bound: `metric` on `platform` must be at most `bound`."""

    metric: str
    bound: float
    platform: str

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UserError(f"limit on {self.metric!r}; known metrics are {', '.join(METRICS)}")
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise UserError(f"limit {self.metric} is {self.bound:g}; must be a positive number")

    def __str__(self) -> str:
        metric = METRICS[self.metric]
        place = f" on {self.platform}" if metric.on_platform else ""
        return f"{metric.label.lower()} of at most {number(self.bound)} {metric.unit}{place}"


class Infeasible(UserError):  # noqa: N818 - a finding, not a failure of the program
    """No subnet meets the limits; the message names the cheapest attainable value of each violated one.

    `attainable` maps each violated limit to that value. Where every limit can be met alone, but not all together, it maps
    every limit to the closest subnet's value. It is empty where only `Problem.min_top1` is out of reach; the message then
    names the highest accuracy found.
    """

    def __init__(self, message: str, attainable: Mapping[Limit, float]) -> None:
        super().__init__(message)
        self.attainable = dict(attainable)
