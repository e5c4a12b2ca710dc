"""The CSV file beside a figure, with the numbers that the figure shows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ofa.files.atomic import atomic_write
from ofa.space.search_space import Genes
from search.arrays import Floats
from search.fronts.survey import Survey

Row = dict[str, object]


def _point_columns(accuracy: str) -> tuple[str, ...]:
    """Columns of a point in addition to its cost; those of accuracies contain the name of the metric."""
    return (
        f"predicted_{accuracy}",
        "predicted_std",
        f"measured_{accuracy}",
        "measured_standard_error",
        "paired_standard_error",
        "images",
        "split",
        "on_measured_front",
        "resolution",
        "genes",
    )


def write_csv(path: str | Path, surveys: Sequence[Survey]) -> None:
    """One row per point of a figure: platform, kind (`front`, `largest`, `cloud`), cost, accuracies, genes.

    Two rows per platform hold the hypervolumes of the predicted front and of the measured points; their cost and predicted
    accuracy are the reference point. An empty cell means unknown (not measured, or no uncertainty). Atomic.
    """
    buffer = io.StringIO()
    metric, accuracy = surveys[0].metric, surveys[0].accuracy.name
    columns = ("platform", "kind", metric, *_point_columns(accuracy), f"{metric}_p90", "hypervolume")
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for survey in surveys:
        writer.writerows(_front(survey))
        writer.writerows(_hypervolumes(survey))
        writer.writerow(_largest(survey))
        writer.writerows(_rows(survey, "cloud", survey.cloud, survey.cloud_cost, survey.cloud_top1))
    atomic_write(path, buffer.getvalue())


def _point(survey: Survey, kind: str, cost: float, top1: float) -> Row:
    accuracy = {f"predicted_{survey.accuracy.name}": f"{top1:.6f}"}
    return {"platform": survey.platform, "kind": kind, survey.metric: f"{cost:.6g}", **accuracy}


def _hypervolumes(survey: Survey) -> Iterator[Row]:
    volumes = {"predicted": survey.predicted_hypervolume(), "measured": survey.measured_hypervolume()}
    for kind, volume in volumes.items():
        row = _point(survey, f"hypervolume, {kind}", *survey.reference)
        yield row | {"hypervolume": "" if volume is None else f"{volume:.6g}"}


def _front(survey: Survey) -> Iterator[Row]:
    measured = {row.tobytes(): i for i, row in enumerate(survey.measured)}
    best = set(survey.measured_front().tolist())
    rows = _rows(survey, "front", survey.front, survey.front_cost, survey.front_top1)
    for place, (row, genes) in enumerate(zip(rows, survey.front, strict=True)):
        if survey.front_std is not None:
            row["predicted_std"] = f"{survey.front_std[place]:.6f}"
        if survey.front_p90 is not None:
            row[f"{survey.metric}_p90"] = f"{survey.front_p90[place]:.6g}"
        i = measured.get(genes.tobytes())
        if i is not None:
            row |= _measured(survey, survey.measured_top1[i], survey.measured_error[i])
            row |= {"on_measured_front": int(i in best)}
        yield row


def _largest(survey: Survey) -> Row:
    row = next(_rows(survey, "largest", survey.largest, np.array([survey.largest_cost]), np.array([survey.largest_top1])))
    if survey.largest_measured is None or survey.largest_error is None:
        return row
    return row | _measured(survey, survey.largest_measured, survey.largest_error)


def _measured(survey: Survey, top1: float, error: float) -> Row:
    known = "" if np.isnan(error) else f"{error:.6f}"
    paired = "" if survey.paired_error is None else f"{survey.paired_error:.6f}"
    errors = {"measured_standard_error": known, "paired_standard_error": paired}
    return {f"measured_{survey.accuracy.name}": f"{top1:.6f}", **errors, "images": survey.images, "split": survey.split}


def _rows(survey: Survey, kind: str, genes: Genes, cost: Floats, top1: Floats) -> Iterator[Row]:
    resolutions = np.asarray(survey.space.resolutions)[survey.space.rows(genes).resolution]
    for i, row in enumerate(genes):
        where = {"resolution": int(resolutions[i]), "genes": " ".join(map(str, row.tolist()))}
        yield _point(survey, kind, cost[i], top1[i]) | where
