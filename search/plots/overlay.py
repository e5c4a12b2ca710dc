"""Points to plot beside a front: published networks, or a user's own measurements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latency_tables.metrics import METRICS
from ofa.errors import UserError
from ofa.files.csv_table import read_table
from ofa.measure.accuracy import ACCURACIES, TOP1
from search.arrays import Floats


@dataclass(frozen=True)
class Overlay:
    """Named points."""

    names: tuple[str, ...]
    cost: Floats
    top1: Floats
    """Accuracies in [0, 1]."""


def read_overlay(path: str | Path, metric: str, accuracy: str = TOP1.name) -> Overlay:
    """The points of a CSV file with the columns `name`, `accuracy` (fractions) and `metric`; other metrics are allowed.

    Raises:
        UserError: as `ofa.files.csv_table.read_table`; or a cost is not a positive number, or an accuracy above 1.
    """
    others = [name for name in (*METRICS, *ACCURACIES) if name not in (metric, accuracy)]
    table = read_table(path, ("name", accuracy, metric), others)
    cost, top1 = table.numbers(metric), table.numbers(accuracy)
    for i, value in enumerate(top1):
        if value > 1:
            raise UserError(f"{table.place(i, accuracy)} is {value:g}; must be a fraction of at most 1 (0.76 is 76%)")
    return Overlay(tuple(table.columns["name"]), np.array(cost), np.array(top1))
