"""The card of a queried subnet: every figure with its source and its uncertainty. Takes values, returns data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latency_tables import Costs
from ofa.errors import UserError
from ofa.space import Genes
from search.problem import METRICS, Limit


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What is known of a subnet's top-1 on validation data."""

    predicted: float
    predicted_std: float | None
    fitted_on: int
    """Measured subnets the predictor was fitted to."""
    measured: float | None = None
    images: int | None = None
    """Validation images of the measurement."""
    candidates: int = 0
    """Subnets measured, of which this is the best."""


def figure(name: str, value: float | None, unit: str, source: str, uncertainty: str | None) -> dict[str, Any]:
    """One line of a card; `value` None is unknown, `uncertainty` None is not stated."""
    return {"name": name, "value": value, "unit": unit, "source": source, "uncertainty": uncertainty}


def build_card(title: str, costs: Costs, genes: Genes, accuracy: Accuracy, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The card of one subnet.

    Args:
        title: its heading.
        costs: of its space on its platform.
        genes: int8[1, genes].
        accuracy: measured or predicted.
        facts: added as they are (run, space, limits, input, ...).
    """
    platform = costs.platform
    return {
        "title": title,
        "figures": [*_accuracies(accuracy), *_costs(costs, genes)],
        "platform": f"{platform.name}: {platform.device}, {platform.runtime}, {platform.precision}, batch {platform.batch}",
        "platform_kind": platform.kind,
        "platform_source": platform.source,
        "platform_error": platform.error.note,
        **facts,
    }


def limits_plain(limits: Sequence[Limit]) -> dict[str, float]:
    """Limits as JSON holds them."""
    return {limit.metric: limit.bound for limit in limits}


def _accuracies(accuracy: Accuracy) -> list[dict[str, Any]]:
    spread = accuracy.predicted_std
    uncertainty = None if spread is None else f"\N{PLUS-MINUS SIGN}{100 * spread:.2f} points (1 std of the predictor)"
    source = f"predicted from {accuracy.fitted_on} measured subnets of the same run"
    lines = [figure("Top-1, validation (predicted)", 100 * accuracy.predicted, "%", source, uncertainty)]
    if accuracy.measured is not None and accuracy.images is not None:
        error = (accuracy.measured * (1 - accuracy.measured) / accuracy.images) ** 0.5
        uncertainty = f"\N{PLUS-MINUS SIGN}{100 * error:.2f} points (1 standard error, binomial)"
        if accuracy.candidates > 1:
            uncertainty += f"; the best of {accuracy.candidates} measured on these images, so slightly optimistic"
        source = f"measured on {accuracy.images} held-out validation images, batch norm recalibrated"
        lines.insert(0, figure("Top-1, validation (measured)", 100 * accuracy.measured, "%", source, uncertainty))
    return lines


def _costs(costs: Costs, genes: Genes) -> list[dict[str, Any]]:
    platform = costs.platform
    error = platform.error
    deviation = None
    if error.mape is not None:
        deviation = f"mean error {100 * error.mape:.1f}% on {error.networks} whole networks"
    per = f" per batch of {platform.batch}" if platform.batch > 1 else ""
    lines = [
        figure(f"Latency{per}", _value(costs, "latency_ms", genes), "ms", f"{platform.kind}: {platform.runtime}", deviation)
    ]
    energy = platform.energy
    if energy is None:
        lines.append(figure("Energy per inference", None, "mJ", "the platform has no energy", None))
    else:
        how = f"{energy.power_w:g} W times latency: " if energy.power_w is not None else ""
        lines.append(figure("Energy per inference", _value(costs, "energy_mj", genes), "mJ", how + energy.source, None))
    exact = "computed from the shapes of the layers", "exact"
    lines += [
        figure(METRICS["macs_m"].label, _value(costs, "macs_m", genes), "M", *exact),
        figure(METRICS["params_m"].label, _value(costs, "params_m", genes), "M", *exact),
        figure(
            f"Peak activation memory ({platform.precision})",
            _value(costs, "memory_kb", genes),
            "kB",
            "computed from the lifetimes of the feature maps",
            "exact for an in-order runtime; a kernel's scratch buffers are not counted",
        ),
        figure(
            f"Weights ({platform.precision})",
            _value(costs, "weights_kb", genes),
            "kB",
            "computed, batch norm folded",
            "exact",
        ),
    ]
    return lines


def _value(costs: Costs, metric: str, genes: Genes) -> float:
    value = float(costs.of(metric, genes)[0])
    if not value >= 0:
        raise UserError(f"platform {costs.platform.name}: {metric} is {value}; must be at least 0")
    return value
