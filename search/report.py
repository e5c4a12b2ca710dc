"""Writes what was computed elsewhere: the CSV beside a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ofa.files import atomic_write
from ofa.space import Genes
from search.problem import Floats
from search.survey import Survey

COLUMNS = (
    "predicted_top1",
    "predicted_std",
    "measured_top1",
    "measured_standard_error",
    "images",
    "on_measured_front",
    "resolution",
    "genes",
)


def write_csv(path: str | Path, surveys: Sequence[Survey]) -> None:
    """One row per point of a figure: platform, kind (`front`, `largest`, `cloud`), cost, accuracies, genes.

    Two rows per platform have the hypervolume of the predicted front and of the measured points, with the reference point as
    their cost and predicted accuracy. An empty cell is unknown (not measured, or no uncertainty). Atomic.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    metric = surveys[0].metric
    writer.writerow(("platform", "kind", metric, *COLUMNS, f"{metric}_p90", "hypervolume"))
    for survey in surveys:
        writer.writerows(_front(survey))
        writer.writerows(_hypervolumes(survey))
        writer.writerow(_largest(survey))
        writer.writerows(_rows(survey, "cloud", survey.cloud, survey.cloud_cost, survey.cloud_top1, None))
    atomic_write(path, buffer.getvalue())


def _hypervolumes(survey: Survey) -> Iterator[list[object]]:
    cost, top1 = survey.reference
    volumes = {"predicted": survey.predicted_hypervolume(), "measured": survey.measured_hypervolume()}
    for kind, volume in volumes.items():
        known: list[object] = [survey.platform, f"hypervolume, {kind}", f"{cost:.6g}", f"{top1:.6f}"]
        yield [*known, *[""] * 8, "" if volume is None else f"{volume:.6g}"]


def _front(survey: Survey) -> Iterator[list[object]]:
    measured = {row.tobytes(): i for i, row in enumerate(survey.measured)}
    best = set(survey.measured_front().tolist())
    rows = _rows(survey, "front", survey.front, survey.front_cost, survey.front_top1, survey.front_std)
    for place, (row, genes) in enumerate(zip(rows, survey.front, strict=True)):
        i = measured.get(genes.tobytes())
        if survey.front_p90 is not None:
            row[-2] = f"{survey.front_p90[place]:.6g}"
        if i is not None:
            row[5:9] = [*_measured(survey, float(survey.measured_top1[i])), int(i in best)]
        yield row


def _largest(survey: Survey) -> list[object]:
    cost, top1 = np.array([survey.largest_cost]), np.array([survey.largest_top1])
    row = next(_rows(survey, "largest", survey.largest, cost, top1, None))
    if survey.largest_measured is not None:
        row[5:8] = _measured(survey, survey.largest_measured)
    return row


def _measured(survey: Survey, top1: float) -> list[object]:
    return [f"{top1:.6f}", f"{survey.standard_error(np.array([top1]))[0]:.6f}", survey.images]


def _rows(survey: Survey, kind: str, genes: Genes, cost: Floats, top1: Floats, std: Floats | None) -> Iterator[list[object]]:
    resolutions = np.asarray(survey.space.resolutions)[genes[:, 0]]
    for i, row in enumerate(genes):
        uncertainty = "" if std is None else f"{std[i]:.6f}"
        known: list[object] = [survey.platform, kind, f"{cost[i]:.6g}", f"{top1[i]:.6f}", uncertainty]
        yield [*known, "", "", "", "", int(resolutions[i]), " ".join(map(str, row.tolist())), "", ""]
