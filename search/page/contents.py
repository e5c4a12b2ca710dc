"""The contents of a report, as plain data: fronts, subnets, training, predictor, footprint, provenance. No HTML or files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latency_tables import METRICS, Costs, Platform
from latency_tables.costs.boundaries import mixed_boundaries
from ofa.energy.account import Booked
from ofa.footprint.energy_label import ID, load_bounds
from ofa.footprint.label_svg import COLOURS
from ofa.footprint.tables import shipped_grids
from ofa.measure.accuracy import AccuracyMetric
from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats
from search.fronts.find import FRONT_BUDGET, predicted_front
from search.measurements.noise import paired_error
from search.page.subnets import Subnets, describe
from search.predictors.protocols import Predictor
from search.problem.problem import Problem

AXES = ("energy_mj", "latency_ms", "memory_kb", "macs_m")
"""Metrics that accuracy is drawn against."""
CLOUD = 300
"""Random subnets drawn behind a front."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A platform of the page."""

    platform: Platform
    costs: Costs
    part: SearchSpace | None
    """The part of the space that it and the predictor know; None: all."""
    asked: str
    """Its name in commands."""


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Accuracies that were measured, all on the same images."""

    genes: Genes
    """int8[n, genes]"""
    accuracy: Floats
    groups: Floats | None
    """Accuracy in each group of the images, float64[n, groups]; None: not recorded."""
    images: int


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A run, as far as a report needs it."""

    name: str
    asked: str
    """Its name in commands."""
    space: SearchSpace
    predictor: Predictor
    predictor_facts: Mapping[str, Any]
    accuracy: AccuracyMetric
    among: Genes | None
    """The subnets that the run can give; None: all."""
    measured: Measurements | None
    epochs: Sequence[Mapping[str, Any]]
    """Lines of the run's metrics."""
    work: Sequence[Booked]
    """Time and energy by purpose."""
    result: Mapping[str, Any]
    """Accuracies on test images; empty where there are none."""
    input_values: int
    """Values of a native input."""
    provenance: Sequence[tuple[str, str]]
    """Origin of the run, as names and texts."""


def contents(run: Reported, devices: Sequence[Device], seed: int = 0) -> dict[str, Any]:
    """Everything that the page shows; `seed` is that of the clouds, and of fronts that are not exact."""
    costs = {device.platform.name: device.costs for device in devices}
    subnets = Subnets(run.space)
    fronts = [
        _front(run, subnets, device, metric, seed)
        for metric in AXES
        for device in (devices if METRICS[metric].on_platform else devices[:1])
        if device.costs.why_unknown(metric) is None
    ]
    largest, smallest = (subnets.numbers(run.space.encode(end))[0] for end in (run.space.largest(), run.space.smallest()))
    rows = () if run.measured is None else zip(run.measured.genes, run.measured.accuracy, strict=True)
    known = {row.tobytes(): float(value) for row, value in rows}
    label = run.accuracy.name == "top1"
    return {
        "name": run.name,
        "asked": run.asked,
        "space": run.space.name,
        "accuracy": {"name": run.accuracy.name, "words": run.accuracy.words},
        "metrics": {
            name: {"label": metric.label, "unit": metric.amount("").strip(), "flag": f"--{name.replace('_', '-')}"}
            for name, metric in METRICS.items()
        },
        "platforms": [_platform(device) for device in devices],
        "mixed_boundaries": mixed_boundaries([device.platform for device in devices]),
        "fronts": fronts,
        "subnets": describe(subnets, run.predictor, costs, known, run.input_values, label),
        "largest": largest,
        "smallest": smallest,
        "images": None if run.measured is None else run.measured.images,
        "paired_error": None if run.measured is None else paired_error(run.measured.groups),
        "epochs": [dict(row) for row in run.epochs],
        "predictor": _predictor(run),
        "work": [_booked(row) for row in run.work],
        "label": {"id": ID, "letters": "".join(load_bounds().letters), "colours": list(COLOURS)},
        "result": {name: value for name, value in run.result.items() if name != "subnets"},
        "grids": [{"name": grid.name, "year": grid.year, "g_per_kwh": grid.g_per_kwh} for grid in shipped_grids()],
        "provenance": [list(entry) for entry in run.provenance],
    }


def _front(run: Reported, subnets: Subnets, device: Device, metric: str, seed: int) -> dict[str, Any]:
    name = device.platform.name
    problem = Problem(
        space=run.space,
        predictor=run.predictor,
        costs={name: device.costs},
        part=device.part,
        among=run.among,
        accuracy=run.accuracy,
    )
    rng = np.random.default_rng(seed)
    front = predicted_front(problem, metric, name, rng, FRONT_BUDGET)
    cloud = problem.domain.sample(CLOUD, rng)
    cost, accuracy = device.costs.of(metric, cloud), run.predictor.top1(cloud)
    return {
        "metric": metric,
        "platform": name if METRICS[metric].on_platform else None,
        "subnets": subnets.numbers(front.genes),
        "cloud": [[float(f"{x:.5g}"), float(f"{y:.5g}")] for x, y in zip(cost, accuracy, strict=True)],
    }


def _platform(device: Device) -> dict[str, Any]:
    platform, costs = device.platform, device.costs
    return {
        "name": platform.name,
        "asked": device.asked,
        "device": platform.device,
        "runtime": platform.runtime,
        "precision": platform.precision,
        "batch": platform.batch,
        "kind": platform.kind,
        "source": platform.source,
        "error": platform.error.note,
        "warnings": list(costs.warnings),
        "unknown": {metric: why for metric in AXES if (why := costs.why_unknown(metric)) is not None},
    }


def _predictor(run: Reported) -> dict[str, Any]:
    """The predictor's own report, and pairs of measured and predicted accuracies."""
    pairs: list[list[float]] = []
    if run.measured is not None:
        predicted = run.predictor.top1(run.measured.genes)
        pairs = [[round(float(m), 6), round(float(p), 6)] for m, p in zip(run.measured.accuracy, predicted, strict=True)]
    kept = ("kind", "samples", "report", "noise", "why", "images")
    return {name: run.predictor_facts.get(name) for name in kept} | {"pairs": pairs}


def _booked(row: Booked) -> dict[str, Any]:
    return {
        "purpose": row.purpose,
        "kind": row.kind,
        "seconds": row.seconds,
        "joules": row.joules,
        "sources": list(row.sources),
        "missing": list(row.missing),
    }
