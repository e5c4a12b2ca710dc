"""The costs that a subnet can be limited by, compared by and plotted against: one entry each, read by every package.

To add a metric, add an entry here and its computation to `latency_tables.costs.computations`. Imports nothing heavy, so that
the command line can read it before a verb runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A cost: how the costs of blocks combine to that of a network, and the words for it in messages."""

    label: str
    """Name for axes, tables and cards."""
    unit: str
    counted: str = ""
    """Things that the unit counts: `parameters` in `3.1 M parameters`."""
    meaning: str
    """Completes "at most X: ..." in the help of the command line."""
    under: str
    """Completes "no subnet of SPACE ... X ms"."""
    cheapest: str
    """Completes "; the ... X ms"."""
    reduce: Literal["sum", "max"] = "sum"
    """Combination of the costs of blocks to that of a network."""
    of_batch: bool = False
    """True: the cost of a whole batch. False: the cost of one image."""
    estimated: bool = False
    """True: measured or modelled, with an uncertainty. False: computed from shapes, exactly."""
    on_platform: bool = True
    """True: depends on the platform (a computed metric only on its precision). False: the same on all platforms."""
    exactness: str = "exact"
    """Text on cards in place of an uncertainty, for a metric that is not estimated."""

    def amount(self, value: str) -> str:
        """A formatted value with its unit."""
        return f"{value} {self.unit} {self.counted}".rstrip()


METRICS: dict[str, Metric] = {
    "latency_ms": Metric(
        label="Latency",
        unit="ms",
        meaning="latency per inference, in ms",
        under="runs under",
        cheapest="fastest takes",
        of_batch=True,
        estimated=True,
    ),
    "energy_mj": Metric(
        label="Energy per inference",
        unit="mJ",
        meaning="energy per inference, in mJ",
        under="uses under",
        cheapest="most frugal uses",
        estimated=True,
    ),
    "memory_kb": Metric(
        label="Memory",
        unit="kB",
        meaning="memory (RAM) that the platform's runtime needs, in kB",
        under="fits in",
        cheapest="smallest needs",
        reduce="max",
    ),
    "activations_kb": Metric(
        label="Peak activation memory",
        unit="kB",
        meaning="peak of the feature maps alive at once, in kB; the memory is at least this",
        under="has feature maps within",
        cheapest="smallest needs",
        reduce="max",
        exactness="exact; no runtime needs less",
    ),
    "weights_kb": Metric(
        label="Weights",
        unit="kB",
        meaning="stored weights and biases (flash), in kB",
        under="stores its weights in",
        cheapest="smallest needs",
    ),
    "macs_m": Metric(
        label="Multiply-accumulates",
        unit="M",
        counted="MACs",
        meaning="multiply-accumulates, in millions",
        under="takes under",
        cheapest="lightest takes",
        on_platform=False,
    ),
    "params_m": Metric(
        label="Parameters",
        unit="M",
        counted="parameters",
        meaning="parameters, in millions",
        under="has under",
        cheapest="smallest has",
        on_platform=False,
    ),
}
"""Every metric, by the name that options, CSV columns, files and methods use; the name ends in the unit."""


def number(value: float) -> str:
    """A value as messages show it: at most four significant digits, no trailing zeros; `5` and the like as `5.0`."""
    text = f"{value:.4g}"
    return f"{value:.1f}" if "." not in text and "e" not in text and abs(value) < 100 else text


def limit_number(value: float) -> str:
    """Format as `number` does, rounded up, so that an upper limit copied from a message can be met."""
    from decimal import ROUND_CEILING, Context, Decimal

    return number(value if float(number(value)) >= value else float(Decimal(value).normalize(Context(4, ROUND_CEILING))))


def least_number(value: float) -> str:
    """Format as `number` does, rounded down, so that a lower limit copied from a message can be met."""
    from decimal import ROUND_FLOOR, Context, Decimal

    return number(value if float(number(value)) <= value else float(Decimal(value).normalize(Context(4, ROUND_FLOOR))))
