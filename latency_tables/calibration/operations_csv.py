"""Measured networks that are given as lists of operations: two CSV files, one of measurements and one of operations.

Measurements: `network`, `mean_latency_ms` (or `latency_ms`; of the whole batch), and optionally `energy_mj` (of one image),
`mean_w`, `idle_w`, `device`, `conditions`, `runtime`, `precision`, `batch`, `family`, and further columns that say more of a
row (`KNOWN`). Operations: `network`, `index` (0, 1, ... in each network), `kind` (of `OP_KINDS`), `macs`, `weights`,
`activations` (elements read and written), `outputs` (elements written); one line per operation as it is executed.

A network is found by its name, or by its name without an ending that tells a precision (`PRECISION_ENDINGS`), for both
precisions have the same operations. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

from latency_tables.blocks.fused_ops import OP_KINDS, FusedOp
from latency_tables.blocks.memory import BYTES
from latency_tables.units import doubt, ms_per
from ofa.errors import UserError
from ofa.files.csv_table import Table, read_table

SETUP = ("device", "conditions", "runtime", "precision", "batch")
"""Columns that must have one value each, for a platform is one device with one runtime, precision and batch."""
LATENCIES = ("mean_latency_ms", "latency_ms")
NUMBERS = ("energy_mj", "mean_w", "idle_w", "mmacs", "weights_m", "activations_m", "operations", "resolution")
NOTES = ("family", "round", "division", "p50_latency_ms", "p90_latency_ms")
KNOWN = (*LATENCIES, *NUMBERS, *SETUP, *NOTES)
COUNTS = ("macs", "weights", "activations", "outputs")
PRECISION_ENDINGS = ("-non-quantized", "-quantized", "_float", "_uint8")
ROUNDING = 0.002
"""Largest relative difference between a figure of the measurements and the same figure from the operations."""
MOST_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class ListedNetwork:
    """A measured network with its executed operations."""

    name: str
    operations: tuple[FusedOp, ...]
    latency_ms: float
    """Latency of the whole batch."""
    energy_mj: float | None = None
    """Energy of one image; None: unknown."""
    idle_w: float | None = None
    """Power of the device that waits; None: unknown."""
    family: str = ""
    """Networks of one design; empty where it is not given."""
    place: str = "a network"
    """File and line, for messages."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(op.macs for op in self.operations)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Facts about the device from the columns of the measurements; None where there is no such column."""

    device: str | None = None
    runtime: str | None = None
    precision: str | None = None
    batch: int | None = None


def load_operations(path: str | Path) -> dict[str, tuple[FusedOp, ...]]:
    """The operations of each network of a file, by name; raises `UserError`, naming line and column of a mistake."""
    table = read_table(path, ("network", "index", "kind", *COUNTS), ())
    counts = {name: table.whole_numbers(name) for name in COUNTS}
    index = table.whole_numbers("index")
    found: dict[str, list[FusedOp]] = {}
    for i, (network, kind) in enumerate(zip(table.columns["network"], table.columns["kind"], strict=True)):
        operations = found.setdefault(network, [])
        if kind not in OP_KINDS:
            raise UserError(f"{table.place(i, 'kind')} is {kind!r}; allowed are {', '.join(OP_KINDS)}")
        if index[i] != len(operations):
            raise UserError(
                f"{table.place(i, 'index')} is {index[i]}; expected {len(operations)}, the next of {network}: a line is "
                "missing, or twice"
            )
        op = FusedOp(kind, *(counts[name][i] for name in COUNTS))
        if not 0 < op.outputs <= op.activations:
            raise UserError(f"{table.place(i, 'outputs')} is {op.outputs}; must be 1 to {op.activations}, the activations")
        operations.append(op)
    return {network: tuple(operations) for network, operations in found.items()}


def load_networks(
    path: str | Path,
    operations: str | Path,
    where: Mapping[str, str] | None = None,
    unit: str | None = None,
    batch: int | None = None,
) -> tuple[list[ListedNetwork], Setup]:
    """The measured networks of a file with their operations, and the device that they were measured on.

    Args:
        path: the measurements.
        operations: the lists of operations.
        where: values that columns must have; rows with others are left out.
        unit: that the latencies are in, whatever their column is called (`units.MS_PER_UNIT`); None: ms.
        batch: images per inference, where no column says so; None: 1.

    Raises:
        UserError: naming line and column of a mistake; rows of several devices, or networks without operations.
    """
    table = _only(read_table(path, ("network",), KNOWN), where or {})
    setup = _setup(table)
    images = setup.batch or batch or 1
    known = load_operations(operations)
    latency = [name for name in LATENCIES if name in table.columns]
    if len(latency) != 1:
        raise UserError(f"{table.path}:1: columns {' and '.join(LATENCIES)}: expected one of them, got {len(latency)}")
    latency_ms = [ms_per(unit) * value for value in table.numbers(latency[0])]
    numbers = {name: table.numbers(name, empty=nan) for name in NUMBERS if name in table.columns}
    networks = []
    for i, name in enumerate(table.columns["network"]):
        row = {column: values[i] for column, values in numbers.items() if not isnan(values[i])}
        network = ListedNetwork(
            name=name,
            operations=_operations(table.place(i, "network"), name, known, operations),
            latency_ms=latency_ms[i],
            energy_mj=row.get("energy_mj"),
            idle_w=row.get("idle_w"),
            family=table.columns["family"][i] if "family" in table.columns else "",
            place=f"{table.path}:{table.lines[i]}",
        )
        _check_row(network, row, images)
        networks.append(network)
    if unit is None:
        _check_unit(networks, images)
    return networks, setup


def _only(table: Table, where: Mapping[str, str]) -> Table:
    """The rows whose columns have the given values."""
    for column, value in where.items():
        if column not in table.columns:
            raise UserError(f"--where {column}={value}: no such column; {table.path} has {', '.join(table.columns)}")
        kept = [i for i, found in enumerate(table.columns[column]) if found == value]
        if not kept:
            raise UserError(f"--where {column}={value}: no such row is left; its values are {_some(table.columns[column])}")
        table = table.rows(kept)
    return table


def _setup(table: Table) -> Setup:
    """The device of all rows; raises `UserError` where they are of several."""
    found: dict[str, str] = {}
    for column in SETUP:
        values = sorted(set(table.columns.get(column, ())))
        if len(values) > 1:
            raise UserError(
                f"{table.path}: rows are of several values of {column}: {_some(values)}; choose one with --where "
                f"'{column}={values[0]}'"
            )
        if values and values[0]:
            found[column] = values[0]
    precision = found.get("precision")
    if precision is not None and precision not in BYTES:
        raise UserError(f"{table.place(0, 'precision')} is {precision!r}; allowed are {', '.join(BYTES)}")
    batch = table.whole_numbers("batch")[0] if "batch" in found else None
    if batch == 0:
        raise UserError(f"{table.place(0, 'batch')} is 0; must be at least 1")
    device = ", ".join(found[name] for name in ("device", "conditions") if name in found)
    return Setup(device=device or None, runtime=found.get("runtime"), precision=precision, batch=batch)


def _operations(place: str, name: str, known: Mapping[str, tuple[FusedOp, ...]], file: str | Path) -> tuple[FusedOp, ...]:
    for candidate in (name, *(name.removesuffix(ending) for ending in PRECISION_ENDINGS)):
        if candidate in known:
            return known[candidate]
    raise UserError(f"{place} is {name!r}, which has no operations in {file}; it has {_some(known)}")


def _check_row(network: ListedNetwork, row: Mapping[str, float], batch: int) -> None:
    """Refuse a row whose figures contradict its operations or each other."""
    ops = network.operations
    from_operations = {
        "mmacs": (network.macs / 1e6, "the multiply-accumulates of its operations, in millions, are"),
        "weights_m": (sum(op.weights for op in ops) / 1e6, "the weights of its operations, in millions, are"),
        "activations_m": (sum(op.activations for op in ops) / 1e6, "the activations of its operations, in millions, are"),
        "operations": (float(len(ops)), "its operations are"),
    }
    if "mean_w" in row and "energy_mj" in row:
        from_operations["energy_mj"] = (row["mean_w"] * network.latency_ms / batch, "mean_w x latency / batch is")
    for column, (value, what) in from_operations.items():
        if column in row and abs(row[column] - value) > ROUNDING * max(value, 1.0):
            raise UserError(f"{network.place}: {column} is {row[column]:g} for {network.name}, but {what} {value:g}")


def _check_unit(networks: Sequence[ListedNetwork], batch: int) -> None:
    """Ask for the unit where the speed that ms would mean is unusual, of half of the networks at least."""
    middle = sorted(networks, key=lambda network: network.macs / network.latency_ms)[len(networks) // 2]
    unusual = doubt(middle.macs, middle.latency_ms, batch)
    if unusual:
        raise UserError(
            f"{middle.place}: the latency is {middle.latency_ms:g}, which {unusual}: which unit is it? State it to take the "
            "timings as they are: --unit ms, us or s"
        )


def _some(values: Sequence[str] | Mapping[str, object]) -> str:
    """The first distinct values, in order."""
    distinct = sorted(set(values))
    return ", ".join(distinct[:MOST_SHOWN]) + (f", ... ({len(distinct)})" if len(distinct) > MOST_SHOWN else "")
