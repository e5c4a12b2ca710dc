"""What a subnet costs on a platform: tables, cost models, cost factors, profiling. Imports `ofa`, never `search`."""

from latency_tables.catalogue import load_platform, platform_names, save_platform
from latency_tables.costs.costs import METRICS, Costs
from latency_tables.platform import Platform

__all__ = ["METRICS", "Costs", "Platform", "load_platform", "platform_names", "save_platform"]
