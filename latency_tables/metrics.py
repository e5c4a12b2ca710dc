"""The costs a subnet can be limited by, compared by and drawn against: one entry each, which every package reads.

To add a metric, add an entry here and its computation to `latency_tables.costs.computations`. Imports nothing heavy, so that
the command line can read it before a verb runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A cost, how it adds up, and how people speak of it."""

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
    """Rule by which the costs of blocks make that of a network."""
    of_batch: bool = False
    """True: of the whole batch. False: of one image."""
    estimated: bool = False
    """True: measured or modelled, with an uncertainty. False: computed from shapes, exactly."""
    on_platform: bool = True
    """True: depends on the platform (an exact one, on its precision alone). False: the same on all."""
    exactness: str = "exact"
    """Uncertainty of an exact value, for cards."""

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
        label="Peak activation memory",
        unit="kB",
        meaning="peak activation memory (RAM), in kB",
        under="fits in",
        cheapest="smallest needs",
        reduce="max",
        exactness="exact for an in-order runtime; a kernel's scratch buffers are not counted",
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
    """A value for people: four significant digits at most, no trailing zeros, but one decimal for whole small numbers."""
    text = f"{value:.4g}"
    return f"{value:.1f}" if "." not in text and "e" not in text and abs(value) < 100 else text


def limit_number(value: float) -> str:
    """Format as `number` does, but never below the value: who takes it from a message as a limit can meet it."""
    from decimal import ROUND_CEILING, Context, Decimal

    return number(value if float(number(value)) >= value else float(Decimal(value).normalize(Context(4, ROUND_CEILING))))


def least_number(value: float) -> str:
    """Format as `number` does, but never above the value: who takes it from a message as a lower limit can meet it."""
    from decimal import ROUND_FLOOR, Context, Decimal

    return number(value if float(number(value)) <= value else float(Decimal(value).normalize(Context(4, ROUND_FLOOR))))
