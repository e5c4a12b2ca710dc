"""The card of a queried subnet: every figure with its source and its uncertainty, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from latency_tables import METRICS, Costs, Metric, Platform
from latency_tables.costs.computations import COUNTED, counted
from ofa.errors import UserError
from ofa.measure.accuracy import TOP1, AccuracyMetric
from ofa.official.imagenet import in_words
from ofa.space.search_space import Genes, SearchSpace
from search.problem.limits import Limit


@dataclass(frozen=True, kw_only=True)
class AccuracyUnder:
    """The accuracy of a subnet as one platform computes it."""

    platform: str
    numerics: str
    """`int8` or `analog`."""
    value: float | None
    """The accuracy, over draws their mean; None: not measured."""
    how: str
    """Runtime of the measurement, or the reason why there is none."""
    standard_error: float | None = None
    """Standard error due to the sample of images; None where it cannot be estimated."""
    draws: int = 1
    deviation: float | None = None
    """Standard deviation of a draw; None where nothing is drawn."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The accuracy of a subnet on validation data; None where unknown."""

    metric: AccuracyMetric = TOP1
    predicted: float | None = None
    predicted_std: float | None = None
    fitted_on: int | None = None
    """Number of measured subnets that the predictor was fitted to; None where it is unknown, or nothing was predicted."""
    predictor: str | None = None
    """Source of a predictor that was not fitted to the run."""
    measured: float | None = None
    standard_error: float | None = None
    """Standard error of the measured accuracy; None if it cannot be estimated (all images or none classified correctly)."""
    images: int | None = None
    """Validation images of the measurement."""
    where: str = ""
    """Origin of the images if it is not the data set, to follow the words "validation images"."""
    candidates: int = 0
    """Number of subnets measured, of which this one is the best."""
    under: tuple[AccuracyUnder, ...] = ()
    """Its accuracy as each platform computes that does not compute in fp32."""


class Described(Protocol):
    """A data set, as far as a card describes it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in label order."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel."""

    @property
    def std(self) -> tuple[float, ...]:
        """Deviation of each channel."""


def figure(name: str, value: float | None, unit: str, source: str, uncertainty: str | None) -> dict[str, Any]:
    """One line of a card; `value` None: unknown; `uncertainty` None: not stated."""
    return {"name": name, "value": value, "unit": unit, "source": source, "uncertainty": uncertainty}


def build_card(
    title: str,
    platforms: Sequence[Platform],
    costs: Sequence[Costs],
    genes: Genes,
    accuracy: Accuracy,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The card of one subnet, int8[1, genes], with its costs on each platform, and at a confidence their upper bounds too.

    `facts` are further entries, added as they are (run, space, limits, input, ...).
    """
    several = len(costs) > 1
    figures = [*_accuracies(accuracy)]
    for platform, cost in zip(platforms, costs, strict=True):
        figures += _on_platform(platform, cost, genes, f" on {platform.name}" if several else "")
    everywhere = [_exact(costs[0], name, genes, metric.label) for name, metric in METRICS.items() if not metric.on_platform]
    described: dict[str, Any] = {}
    for platform, cost in zip(platforms, costs, strict=True):
        described |= _described(platform, cost, f"_{platform.name}" if several else "")
    return {"title": title, "figures": [*figures, *everywhere], **described, **facts}


def _described(platform: Platform, costs: Costs, suffix: str) -> dict[str, Any]:
    what = f"{platform.name}: {platform.device}, {platform.runtime}, {_precision(platform)}, batch {platform.batch}"
    return {
        f"platform{suffix}": what,
        f"platform_kind{suffix}": platform.kind,
        f"platform_source{suffix}": platform.source,
        f"platform_error{suffix}": platform.error.note,
        **({f"platform_warnings{suffix}": "; ".join(costs.warnings)} if costs.warnings else {}),
    }


def limits_plain(limits: Sequence[Limit], several: bool = False) -> dict[str, float]:
    """Limits as JSON holds them; with `several` platforms, the names include the platform."""
    return {
        f"{limit.metric} on {limit.platform}" if several and METRICS[limit.metric].on_platform else limit.metric: limit.bound
        for limit in limits
    }


def _accuracies(accuracy: Accuracy) -> list[dict[str, Any]]:
    lines = []
    if accuracy.predicted is not None:
        std = accuracy.predicted_std
        uncertainty = None if std is None else f"\N{PLUS-MINUS SIGN}{100 * std:.2f} points (1 std of the predictor)"
        fitted = f"from {accuracy.fitted_on} measured subnets of the same run"
        source = f"predicted {fitted if accuracy.predictor is None else f'by {accuracy.predictor}'}"
        name = f"{accuracy.metric.label}, validation (predicted)"
        lines = [figure(name, 100 * accuracy.predicted, "%", source, uncertainty)]
    if accuracy.measured is not None and accuracy.images is not None:
        notes = [] if accuracy.standard_error is None else [error_note(accuracy.standard_error)]
        if accuracy.candidates > 1:
            notes.append(f"the best of {accuracy.candidates} measured on these images, so slightly optimistic")
        source = f"measured on {accuracy.images} held-out validation images{accuracy.where}, batch norm recalibrated"
        uncertainty = "; ".join(notes) or None
        lines.insert(0, figure(measured_name(accuracy.metric), 100 * accuracy.measured, "%", source, uncertainty))
    several = len(accuracy.under) > 1
    return lines + [_under(accuracy.metric, under, f" on {under.platform}" if several else "") for under in accuracy.under]


def _under(metric: AccuracyMetric, under: AccuracyUnder, place: str) -> dict[str, Any]:
    """The line of an accuracy as a platform computes it."""
    over = "measured" if under.deviation is None else f"mean of {under.draws} draws"
    name = f"{metric.label}, validation, {under.numerics}{place}"
    if under.value is None:
        return figure(name, None, "%", f"unknown: {under.how}", None)
    notes = [] if under.standard_error is None else [error_note(under.standard_error)]
    if under.deviation is not None:
        notes.insert(0, f"\N{PLUS-MINUS SIGN}{100 * under.deviation:.2f} points (1 deviation of a draw)")
    return figure(f"{name} ({over})", 100 * under.value, "%", under.how, "; ".join(notes) or None)


def measured_name(metric: AccuracyMetric) -> str:
    """The name of a card's line with a measured accuracy."""
    return f"{metric.label}, validation (measured)"


def error_note(standard_error: float) -> str:
    """The uncertainty of a measured accuracy as text."""
    return f"\N{PLUS-MINUS SIGN}{100 * standard_error:.2f} points (1 standard error, binomial)"


def _on_platform(platform: Platform, costs: Costs, genes: Genes, place: str) -> list[dict[str, Any]]:
    """The figures that depend on the platform."""
    names = {name: f"{_name(metric, platform)}{place}" for name, metric in METRICS.items() if metric.on_platform}
    estimated = [name for name in names if METRICS[name].estimated]
    lines = [_estimate(costs.at(None), name, genes, names[name]) for name in estimated]
    if costs.confidence is not None:
        bounded = [name for name in estimated if name in costs.metrics and costs.has_bounds(name)]
        lines += [_bound(costs, name, genes, names[name]) for name in bounded]
    return lines + [_exact(costs, name, genes, names[name]) for name in names if name not in estimated]


def _name(metric: Metric, platform: Platform) -> str:
    if metric.of_batch and platform.batch > 1:
        return f"{metric.label} per batch of {platform.batch}"
    return metric.label if metric.estimated else f"{metric.label} ({_precision(platform)})"


def _precision(platform: Platform) -> str:
    return platform.precision or "precision not stated"


def _estimate(costs: Costs, metric: str, genes: Genes, name: str) -> dict[str, Any]:
    """The line of an estimated metric, with its known error and the bound for 9 of 10 measurements."""
    unit, why_unknown = METRICS[metric].unit, costs.why_unknown(metric)
    if why_unknown is not None:
        return figure(name, None, unit, f"unknown: {why_unknown}", None)
    error, deviation = costs.error(metric), None
    if error is not None and error.mape is not None:
        deviation = f"mean error {100 * error.mape:.1f}% on {error.networks} whole networks"
    elif error is not None:
        deviation = error.expectation
    line = figure(name, _value(costs, metric, genes), unit, costs.source(metric), deviation)
    bounds = costs.p50_p90(metric, genes)
    if bounds is None:
        judged = None if error is None else error.expected_factor
        return line if judged is None else line | {"expected_factor": judged}
    high = float(bounds[1][0])
    return line | {"uncertainty": f"p90 {high:.4g} {unit}; {deviation}", "p90": high}


def _bound(costs: Costs, metric: str, genes: Genes, name: str) -> dict[str, Any]:
    assert costs.confidence is not None
    how = "the estimate, times the bound on its known error"
    share = f"{100 * costs.confidence:g}%"
    value = _value(costs, metric, genes)
    return figure(f"{name}, upper at {share}", value, METRICS[metric].unit, how, f"{share} of measurements expected below")


def shape_figures(space: SearchSpace, genes: Genes, accuracy: Accuracy) -> list[dict[str, Any]]:
    """The figures of a subnet that need no platform: accuracy, MACs, parameters."""
    counts = counted(space, space.decode(genes)[0])
    figures = [
        figure(METRICS[name].label, value, METRICS[name].unit, COUNTED, METRICS[name].exactness)
        for name, value in counts.items()
    ]
    return [*_accuracies(accuracy), *figures]


def facts_of_input(space: SearchSpace, genes: Genes, data: Described) -> dict[str, Any]:
    """The input of a subnet for its card: channels, resolution in pixels, normalisation, classes in order."""
    return {
        "channels": space.in_channels,
        "resolution": space.decode(genes)[0].resolution,
        "mean": list(data.mean),
        "std": list(data.std),
        "classes": list(in_words(data.classes)),
    }


def _exact(costs: Costs, metric: str, genes: Genes, name: str) -> dict[str, Any]:
    """The line of a metric that is computed exactly, where what that needs is known."""
    why_unknown = costs.why_unknown(metric)
    if why_unknown is not None:
        return figure(name, None, METRICS[metric].unit, f"unknown: {why_unknown}", None)
    return figure(name, _value(costs, metric, genes), METRICS[metric].unit, costs.source(metric), costs.exactness(metric))


def _value(costs: Costs, metric: str, genes: Genes) -> float:
    value = float(costs.of(metric, genes)[0])
    if not value >= 0:
        raise UserError(f"platform {costs.platform.name}: {metric} is {value}; must be at least 0")
    return value
