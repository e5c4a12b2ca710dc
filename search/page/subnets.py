"""The subnets of a report, each described once: its blocks, costs on every platform, shares of its blocks, energy label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latency_tables import METRICS, Costs
from ofa import footprint
from ofa.footprint.label_entry import UNSTATED_FACTOR
from ofa.space.search_space import Genes, SearchSpace
from ofa.space.shapes import walk_blocks
from ofa.space.subnet import Subnet
from search.predictors.protocols import Predictor

SHARED = ("energy_mj", "latency_ms", "macs_m")
"""Metrics whose parts a diagram can show; others are not sums."""


@dataclass(eq=False)
class Subnets:
    """A list of distinct subnets that grows; each has its place in the list as its number."""

    space: SearchSpace
    rows: list[Genes] = field(default_factory=list)
    _numbers: dict[bytes, int] = field(default_factory=dict)

    def numbers(self, genes: Genes) -> list[int]:
        """Numbers of rows, int8[n, genes]; new ones are added."""
        found = []
        for row in genes:
            key = row.tobytes()
            if key not in self._numbers:
                self._numbers[key] = len(self.rows)
                self.rows.append(row)
            found.append(self._numbers[key])
        return found

    @property
    def genes(self) -> Genes:
        """All of them, int8[n, genes]."""
        return np.array(self.rows, dtype=np.int8).reshape(len(self.rows), -1)


def describe(
    subnets: Subnets,
    predictor: Predictor,
    costs: Mapping[str, Costs],
    measured: Mapping[bytes, float],
    input_values: int,
    label: bool,
) -> list[dict[str, Any]]:
    """Each subnet as plain data.

    `measured` is accuracy by the bytes of the genes; a label needs `input_values`, values of a native input, and top-1.
    """
    genes, space = subnets.genes, subnets.space
    top1, std = predictor.top1(genes), predictor.std(genes)
    accuracies = [measured.get(row.tobytes(), float(value)) for row, value in zip(genes, top1, strict=True)]
    on = {name: _on_platform(space, cost, genes) for name, cost in costs.items()}
    letters = {name: _letters(space, cost, genes, accuracies, input_values) if label else [] for name, cost in costs.items()}
    found: list[dict[str, Any]] = []
    of_blocks: dict[str, dict[Any, float]] = {name: {} for name in costs}
    for i, subnet in enumerate(space.decode(genes)):
        known = measured.get(genes[i].tobytes())
        found.append(
            {
                "genes": genes[i].tolist(),
                "predicted": round(float(top1[i]), 6),
                "std": None if std is None else round(float(std[i]), 6),
                "measured": known,
                "resolution": subnet.resolution,
                "blocks": _blocks(space, subnet),
                "shares": {name: _shares(space, cost, subnet, of_blocks[name]) for name, cost in costs.items()},
                "costs": {name: rows[i] for name, rows in on.items()},
                "letters": {name: values[i] for name, values in letters.items() if values},
            }
        )
    return found


def _shares(space: SearchSpace, costs: Costs, subnet: Subnet, known: dict[Any, float]) -> dict[str, list[float]]:
    """Cost of each block of a subnet, by metric, in the order of `_blocks`. `known`: costs of blocks seen so far."""
    shapes = list(walk_blocks(space, subnet))
    found = {}
    for metric in (metric for metric in SHARED if costs.why_unknown(metric) is None):
        keys = [(metric, shape, subnet.resolution) for shape in shapes]
        for key in keys:
            if key not in known:
                known[key] = float(f"{costs.block(*key):.3g}")
        found[metric] = [known[key] for key in keys]
    return found


def _blocks(space: SearchSpace, subnet: Subnet) -> list[dict[str, Any]]:
    """Stem, blocks and head in order, as a diagram labels them."""
    blocks: list[dict[str, Any]] = [{"stage": "stem", "width": subnet.stem.width}]
    for s, stage in enumerate(subnet.stages):
        for block in stage.blocks:
            facts = {"stage": s + 1, "width": stage.width, "kernel": block.kernel, "expand": block.expand}
            blocks.append(facts | {"se": bool(space.stages[s].se if stage.se is None else stage.se)})
    return [*blocks, {"stage": "head", "width": space.head.width}]


def _on_platform(space: SearchSpace, costs: Costs, genes: Genes) -> list[dict[str, float]]:
    """Costs of each subnet, by metric, with the 90th percentile where it is known."""
    columns: dict[str, Any] = {}
    for metric in METRICS:
        if costs.why_unknown(metric) is None:
            columns[metric] = costs.of(metric, genes)
            bounds = costs.p50_p90(metric, genes)
            if bounds is not None and not np.array_equal(*bounds):
                columns[f"{metric}_p90"] = bounds[1]
    return [{name: float(f"{values[i]:.6g}") for name, values in columns.items()} for i in range(len(genes))]


def _letters(space: SearchSpace, costs: Costs, genes: Genes, top1: Sequence[float], input_values: int) -> list[str | None]:
    """The energy label of each subnet; None where there is no letter; empty where the platform states no energy."""
    if costs.why_unknown("energy_mj") is not None:
        return []
    joules, bounds = costs.energy_mj(genes) / 1000, costs.p50_p90("energy_mj", genes)
    low, high = np.full(len(genes), 1 / UNSTATED_FACTOR), np.full(len(genes), UNSTATED_FACTOR)
    if bounds is not None and costs.error("energy_mj") is not None:
        median, high = (bound / 1000 / joules for bound in bounds)
        low = median**2 / high
    rows = zip(joules.tolist(), top1, low.tolist(), high.tolist(), strict=True)
    return [footprint.label(j, input_values, value, space.classes, p10, p90).letters for j, value, p10, p90 in rows]
