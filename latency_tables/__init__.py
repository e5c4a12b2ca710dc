"""Costs of subnets on platforms: tables, cost models, cost factors, profiling. Imports `ofa`, never `search`.

`from latency_tables import METRICS` imports nothing heavy. Of the other names, `Costs` and the costs of a platform import
numpy; none imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latency_tables.catalogue import load_platform, platform_names, save_platform
    from latency_tables.costs.costs import Costs
    from latency_tables.metrics import METRICS, Metric
    from latency_tables.platform import Platform

_HOMES = {
    "METRICS": "metrics",
    "Costs": "costs.costs",
    "Metric": "metrics",
    "Platform": "platform",
    "load_platform": "catalogue",
    "platform_names": "catalogue",
    "save_platform": "catalogue",
}
__all__ = ["METRICS", "Costs", "Metric", "Platform", "load_platform", "platform_names", "save_platform"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"latency_tables.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'latency_tables' has no attribute {name!r}")
