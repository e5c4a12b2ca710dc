"""Reading the devices of a fleet from a CSV file, and writing the answer as CSV or JSON."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.metrics import METRICS
from ofa.errors import UserError
from ofa.files.atomic import atomic_write
from ofa.files.csv_table import read_table, safe_cell
from ofa.measure.accuracy import TOP1
from ofa.space.search_space import SearchSpace
from search.arrays import Floats
from search.fleet.answer import COST_COLUMNS, Fleet, FleetAnswer

REQUIRED_COLUMNS = ("platform",)
OPTIONAL_COLUMNS = ("device", *COST_COLUMNS, "confidence")
ANSWER_SUFFIXES = (".csv", ".json")
BOUNDED_METRICS = tuple(name for name, metric in METRICS.items() if metric.estimated)
"""Metrics that have an upper bound at a confidence; the others are exact."""


def read_fleet(path: str | Path) -> Fleet:
    """The devices of a CSV file: a column `platform`, optionally `device`, `confidence` and any of the metrics.

    An empty cell of a metric means no limit; a device without a name is named after its line.

    Raises:
        UserError: there is no such file, no row, an unknown column or an invalid value; the message names the line.
    """
    table = read_table(path, REQUIRED_COLUMNS, OPTIONAL_COLUMNS)
    count = len(table.lines)
    names = table.columns["platform"]
    if "" in names:
        raise UserError(f"{table.place(names.index(''), 'platform')} is empty; each device needs one")
    platforms = {name: i for i, name in enumerate(dict.fromkeys(names))}
    devices = table.columns.get("device", [""] * count)
    bounds = [table.numbers(name, empty=inf) if name in table.columns else [inf] * count for name in COST_COLUMNS]
    confidence = table.numbers("confidence", empty=nan) if "confidence" in table.columns else [nan] * count
    for i, value in enumerate(confidence):
        if not (0.5 <= value < 1 or value != value):
            raise UserError(f"{table.place(i, 'confidence')} is {value:g}; must be at least 0.5 and below 1")
    return Fleet(
        devices=tuple(name or f"line {line}" for name, line in zip(devices, table.lines, strict=True)),
        platforms=tuple(platforms),
        platform=np.array([platforms[name] for name in names], dtype=np.int64),
        bounds=np.array(bounds).T,
        confidence=np.array(confidence),
        lines=np.array(table.lines, dtype=np.int64),
    )


@dataclass(frozen=True, kw_only=True)
class FleetReport:
    """The answer as it is written, with costs and accuracies of its subnets."""

    space: SearchSpace
    answer: FleetAnswer
    costs: Floats
    """Estimated costs of each device's subnet on its platform, float64[n, COST_COLUMNS]; NaN where unknown."""
    upper: Floats
    """Upper bounds of these costs at the device's confidence; NaN without a confidence."""
    std: Floats | None
    """Standard deviation of the predicted accuracy of each subnet; None where the predictor does not estimate it."""
    measured: Floats
    """Measured accuracy of each subnet; NaN if it is not measured."""
    images: int | None
    """Validation images of each measurement."""
    accuracy: str = TOP1.name
    """The metric of accuracy, whose name is in columns and keys."""

    @property
    def ids(self) -> list[str]:
        """A name for each subnet, the same in every answer: a digest of its genes."""
        return [hashlib.sha256(row.tobytes()).hexdigest()[:10] for row in self.answer.subnets]


def check_fleet_format(path: Path) -> None:
    """Raise `UserError` unless an answer can be written to a file of this name."""
    if path.suffix.lower() not in ANSWER_SUFFIXES:
        raise UserError(f"--out is {path}; with --fleet it is a file, ending in {' or '.join(ANSWER_SUFFIXES)}")


def subnets_file(path: Path) -> Path:
    """The file beside a CSV answer that holds its distinct subnets."""
    return path.with_name(f"{path.stem}-subnets.json")


def write_fleet(path: Path, report: FleetReport) -> list[Path]:
    """Write a JSON file with everything, or a CSV with a line per device and beside it a JSON with the subnets; atomic.

    Returns:
        The files written.
    """
    check_fleet_format(path)
    subnets = dict(zip(report.ids, _subnets(report), strict=True))
    columns = _columns(report)
    if path.suffix.lower() == ".json":
        devices = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        document = {"devices": devices, "subnets": subnets, "surfaces": _surfaces(report)}
        atomic_write(path, json.dumps(document, allow_nan=False) + "\n")
        return [path]
    for column in ("device", "platform"):
        columns[column] = [safe_cell(name) for name in columns[column]]
    columns["feasible"] = [int(reached) for reached in columns["feasible"]]
    columns["attainable"] = [" ".join(f"{name}={value}" for name, value in row.items()) for row in columns["attainable"]]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    atomic_write(path, buffer.getvalue())
    document = {"subnets": subnets, "surfaces": _surfaces(report)}
    atomic_write(subnets_file(path), json.dumps(document, allow_nan=False, indent=1) + "\n")
    return [path, subnets_file(path)]


def _columns(report: FleetReport) -> dict[str, list[Any]]:
    """The columns of the answer, with an entry per device; None: unknown, or not asked for."""
    answer, fleet = report.answer, report.answer.fleet
    upper = {name: report.upper[:, COST_COLUMNS.index(name)] for name in BOUNDED_METRICS}
    accuracies = [np.append(values, nan)[answer.chosen] for values in (answer.top1, _std(report), report.measured)]
    predicted, std, measured = (_plain(values) for values in accuracies)
    ids: list[str | None] = [*report.ids, None]
    return {
        "line": fleet.lines.tolist(),
        "device": list(fleet.devices),
        "platform": [fleet.platforms[i] for i in fleet.platform.tolist()],
        "confidence": _plain(fleet.confidence),
        **{f"max_{name}": _plain(column) for name, column in zip(COST_COLUMNS, fleet.bounds.T, strict=True)},
        "feasible": (answer.chosen >= 0).tolist(),
        "subnet": [ids[chosen] for chosen in answer.chosen.tolist()],
        f"predicted_{report.accuracy}": predicted,
        "predicted_std": std,
        f"measured_{report.accuracy}": measured,
        **{name: _plain(column) for name, column in zip(COST_COLUMNS, report.costs.T, strict=True)},
        **{f"upper_{name}": _plain(column) for name, column in upper.items()},
        "attainable": [
            {name: value for name, value in zip(COST_COLUMNS, row, strict=True) if isfinite(value)}
            for row in answer.attainable.tolist()
        ],
    }


def _subnets(report: FleetReport) -> Iterator[dict[str, Any]]:
    """One row per distinct subnet."""
    answer = report.answer
    devices = np.bincount(answer.chosen[answer.chosen >= 0], minlength=len(answer.subnets)).tolist()
    predicted, std, measured = (_plain(values) for values in (answer.top1, _std(report), report.measured))
    for i, (row, subnet) in enumerate(zip(answer.subnets, report.space.decode(answer.subnets), strict=True)):
        yield {
            "devices": devices[i],
            f"predicted_{report.accuracy}": predicted[i],
            "predicted_std": std[i],
            f"measured_{report.accuracy}": measured[i],
            "images": None if measured[i] is None else report.images,
            "genes": row.tolist(),
            "subnet": subnet.to_dict(),
        }


def _surfaces(report: FleetReport) -> list[dict[str, Any]]:
    """One row per surface, with the method that found it."""
    return [
        {
            "platform": group.platform,
            "confidence": group.confidence,
            "costs": [metric for metric, _ in group.surface.pairs],
            "devices": len(group.rows),
            "subnets": len(group.surface.genes),
            "exact": group.surface.exact,
            "method": group.surface.method,
        }
        for group in report.answer.groups
    ]


def _std(report: FleetReport) -> Floats:
    return np.full(len(report.answer.subnets), nan) if report.std is None else report.std


def _plain(values: Floats) -> list[float | None]:
    """A column as JSON and CSV hold it: NaN and infinity become None."""
    return [value if isfinite(value) else None for value in values.tolist()]
