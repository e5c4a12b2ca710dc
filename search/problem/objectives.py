"""Objectives: accuracy, which is maximised, and costs, which are minimised."""

from __future__ import annotations

from dataclasses import dataclass

from latency_tables.metrics import METRICS
from ofa.errors import UserError

ACCURACY = "top1"


@dataclass(frozen=True, slots=True)
class Objective:
    """Something to optimise: `top1` is maximised, a cost (on a platform) is minimised."""

    metric: str = ACCURACY
    platform: str = ""
    """Platform of the cost; empty for accuracy."""

    def __post_init__(self) -> None:
        if self.metric != ACCURACY and self.metric not in METRICS:
            raise UserError(f"objective {self.metric!r}; known are {ACCURACY}, {', '.join(METRICS)}")
        if (self.metric == ACCURACY) != (self.platform == ""):
            wanted = "accuracy is the same on all" if self.platform else "name one of the problem's"
            raise UserError(f"objective {self.metric}: platform is {self.platform!r}; {wanted}")

    def __str__(self) -> str:
        if self.metric == ACCURACY:
            return "accuracy"
        metric = METRICS[self.metric]
        return f"{metric.label.lower()} on {self.platform}" if metric.on_platform else metric.label.lower()
