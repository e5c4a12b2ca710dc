"""Cost of any block from its operations: compute, memory traffic and overhead, with coefficients per kind of operation.

With `combine: sum` the cost is linear in the coefficients, so that a calibration can fit them by non-negative least squares.
With `combine: max` it is a roofline (Williams et al., 2009): an operation takes the longer of computing and moving data. No
torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any, TypeVar

from latency_tables.blocks.fused_ops import OP_KINDS, FusedOp, fuse
from latency_tables.blocks.memory import BYTES
from latency_tables.cost_models.uncertainty import ErrorReport
from ofa.errors import UserError
from ofa.files.bounds import Bounded, Count, Finite, NotNegative, OneOf, Positive
from ofa.space.shapes import BlockShape

COMBINE = ("sum", "max")
TOLERATED_FACTOR = 1.5
"""Factor by which the size of feature maps may leave the calibrated range without a warning; the model is linear in it."""
Coefficients = TypeVar("Coefficients")


class _KindsBound:
    """Bound of a mapping whose keys are kinds of operation, or `default`."""

    def complaint(self, name: str, value: Mapping[str, object], verb: str) -> str | None:
        """Refuse an empty mapping and unknown kinds."""
        if not value:
            return f"{name} is empty; give default, or {', '.join(OP_KINDS)}"
        unknown = next((kind for kind in value if kind not in ("default", *OP_KINDS)), None)
        return None if unknown is None else f"{name}: unknown kind {unknown!r}; known are default, {', '.join(OP_KINDS)}"

    def as_json(self) -> dict[str, Any]:
        """The same rules as JSON schema."""
        return {"minProperties": 1, "propertyNames": {"enum": ["default", *OP_KINDS]}}


class _SeenBound:
    """Bounds on a calibrated range: its least and its most."""

    def complaint(self, name: str, value: tuple[float, ...], verb: str) -> str | None:
        """Refuse anything but two finite, ascending, non-negative numbers."""
        if len(value) == 2 and 0 <= value[0] <= value[1] < inf:
            return None
        return f"{name} {verb} {list(value)}; give the least and the most, both finite"

    def as_json(self) -> dict[str, Any]:
        """The same rules as JSON schema, which cannot state the order."""
        return {"minItems": 2, "maxItems": 2, "items": {"minimum": 0}}


BY_KIND = _KindsBound()


@dataclass(frozen=True, kw_only=True)
class OpTime(Bounded):
    """Time of one kind of operation; 1 MMAC is 1e6 multiply-accumulates, 1 MB is 1e6 bytes."""

    ms_per_mmac: NotNegative = 0.0
    """Time per MMAC of an image."""
    ms_per_weight_mb: NotNegative = 0.0
    """Time per MB of weights, which are read once per batch."""
    ms_per_activation_mb: NotNegative = 0.0
    """Time per MB of an image's feature maps, read or written."""
    overhead_ms: NotNegative = 0.0
    """Time to start one operation, whatever its size."""


@dataclass(frozen=True, kw_only=True)
class OpEnergy(Bounded):
    """Energy of one kind of operation, in picojoules (1e-12 J)."""

    pj_per_mac: NotNegative = 0.0
    """Energy per multiply-accumulate."""
    pj_per_weight_byte: NotNegative = 0.0
    """Energy per byte of weights, which are read once per batch."""
    pj_per_activation_byte: NotNegative = 0.0
    """Energy per byte of feature maps, read or written."""
    pj_per_output: NotNegative = 0.0
    """Energy per element written: requantisation."""
    overhead_uj: NotNegative = 0.0
    """Energy to start one operation, once per batch, in microjoules (1e-6 J)."""


@dataclass(frozen=True, kw_only=True)
class LatencyModel(Bounded):
    """Latency of any block; `ops` maps `default` or a kind (see `blocks.fused_ops.OP_KINDS`) to its coefficients."""

    ops: Annotated[dict[str, OpTime], BY_KIND]
    """Coefficients by kind of operation, or `default`."""
    combine: Annotated[str, OneOf(COMBINE)] = "sum"
    """Combination of an operation's compute time and its memory time: `sum`, or `max` where the device overlaps them."""
    network_ms: NotNegative = 0.0
    """Constant time of one inference, added once to that of its operations."""
    call_ms: NotNegative = 0.0
    """Constant time of a block, for runtimes that call each block separately; 0 where a network runs in one call."""
    fuse_add: bool = True
    """True: the runtime computes a residual sum inside the convolution before it."""
    array_rows: Count | None = None
    """Inputs that a column of an analog array can sum; a longer sum takes several conversions. See `conversions`."""
    ms_per_mconversion: NotNegative = 0.0
    """Time of a million analog-to-digital conversions."""
    seen: Annotated[dict[str, Annotated[tuple[float, ...], _SeenBound()]], BY_KIND] | None = None
    """Least and most feature-map elements (read plus written) of the calibrated operations, by kind; None: no limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_array(self.array_rows, "ms_per_mconversion", self.ms_per_mconversion)

    def block_ms(self, block: BlockShape, precision: str, batch: int) -> float:
        """Latency of a block for one batch, in ms."""
        return self.call_ms + self.listed_ms(fuse(block, self.fuse_add), precision, batch)

    def listed_ms(self, operations: Iterable[FusedOp], precision: str, batch: int) -> float:
        """Latency of executed operations for one batch, in ms."""
        megabytes = BYTES[precision] * 1e-6
        total = 0.0
        for op in operations:
            time = _of_kind(self.ops, op.kind, "latency")
            compute = time.ms_per_mmac * op.macs * 1e-6 * batch
            weights = time.ms_per_weight_mb * op.weights * megabytes
            traffic = weights + time.ms_per_activation_mb * op.activations * megabytes * batch
            conversion = self.ms_per_mconversion * conversions(op, self.array_rows) * 1e-6 * batch
            parts = (compute, conversion, traffic)
            total += time.overhead_ms + (sum(parts) if self.combine == "sum" else max(parts))
        return total

    def unseen(self, blocks: Iterable[BlockShape]) -> dict[str, str]:
        """Operations of these blocks far outside the calibrated range, in words by kind; empty where all are within."""
        if self.seen is None:
            return {}
        found: dict[str, tuple[float, float]] = {}
        for op in (op for block in blocks for op in fuse(block, self.fuse_add)):
            least, most = found.get(op.kind, (op.activations, op.activations))
            found[op.kind] = (min(least, op.activations), max(most, op.activations))
        beyond = {}
        for kind, (least, most) in found.items():
            if kind not in self.seen:
                beyond[kind] = "not calibrated at all"
            elif least * TOLERATED_FACTOR < self.seen[kind][0] or most > TOLERATED_FACTOR * self.seen[kind][1]:
                low, high = self.seen[kind]
                beyond[kind] = f"feature maps of {least:.3g} to {most:.3g} elements, calibrated on {low:.3g} to {high:.3g}"
        return beyond


@dataclass(frozen=True, kw_only=True)
class EnergyModel(Bounded):
    """Energy of an inference.

    With `power_w`, power x time; with `ops`, energy per operation and access plus static power x time; with neither, the
    blocks' measured energy.
    """

    source: str
    """Origin of its numbers: the instrument, or the publication."""
    power_w: Positive | None = None
    """Average power during inference: energy = power x time. Where it is unknown, leave the energy section out."""
    ops: Annotated[dict[str, OpEnergy], BY_KIND] | None = None
    """Coefficients by kind of operation, as in `LatencyModel`."""
    array_rows: Count | None = None
    """The same as in `LatencyModel`."""
    pj_per_conversion: NotNegative = 0.0
    """Energy of an analog-to-digital conversion, with the digital addition of its result."""
    static_w: NotNegative = 0.0
    """Power on top of the operations' energy, for as long as the inference takes."""
    call_mj: NotNegative = 0.0
    """Constant energy of a block, per batch, for runtimes that call each block separately; see `LatencyModel.call_ms`."""
    network_mj: Finite | None = None
    """Constant energy of an inference, in mJ per image, where the blocks' energy is measured; may be negative, like the
    table's `intercept_ms`. None there: unknown. With `power_w` or `ops` it must be None, for it is (static) power x the
    constant time."""
    fuse_add: bool = True
    """The same as in `LatencyModel`."""
    boundary: str | None = None
    """The measured part of the device, so that different ones are not mixed unseen: `mains`, `board`, `module`, `graphics
    card`, `core rail`, `battery minus idle` (`costs.boundaries.BOUNDARIES` explains them), or other words. None: not
    stated."""
    error: ErrorReport | None = None
    """Error of the energies of whole networks measured on the device; None where nothing was compared."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_array(self.array_rows, "pj_per_conversion", self.pj_per_conversion)
        if self.boundary is not None and not self.boundary.strip():
            raise ValueError(
                "boundary is empty; say what part of the device it covers (mains, board, module, ...), or leave it out"
            )
        if self.power_w is not None and (self.ops is not None or self.static_w):
            raise ValueError("power_w is given together with ops or static_w; power x time already is all of the energy")
        if self.network_mj is not None and (self.power_w is not None or self.ops is not None):
            raise ValueError("network_mj is given together with power_w or ops, from which it follows")
        if self.ops is None and (self.static_w or self.array_rows or self.call_mj):
            name = "static_w" if self.static_w else "array_rows" if self.array_rows else "call_mj"
            raise ValueError(f"{name} is given without ops; give ops, or power_w for all of the power")

    def ops_mj(self, block: BlockShape, precision: str, batch: int) -> float:
        """Energy of a block's operations for one image of a batch, in mJ; without static power."""
        return self.call_mj / batch + self.listed_mj(fuse(block, self.fuse_add), precision, batch)

    def listed_mj(self, operations: Iterable[FusedOp], precision: str, batch: int) -> float:
        """Energy of executed operations for one image of a batch, in mJ; without static power."""
        assert self.ops is not None
        width = BYTES[precision]
        picojoules = 0.0
        for op in operations:
            energy = _of_kind(self.ops, op.kind, "energy")
            picojoules += energy.pj_per_mac * op.macs + energy.pj_per_output * op.outputs
            picojoules += energy.pj_per_activation_byte * op.activations * width
            picojoules += energy.pj_per_weight_byte * op.weights * width / batch  # weights are read once per batch
            picojoules += energy.overhead_uj * 1e6 / batch
            picojoules += self.pj_per_conversion * conversions(op, self.array_rows)
        return picojoules * 1e-9


def conversions(op: FusedOp, array_rows: int | None) -> int:
    """Analog-to-digital conversions of an operation on one image: per output, one for every `array_rows` inputs summed."""
    if array_rows is None or not op.macs:
        return 0
    summed = op.macs // op.outputs
    return op.outputs * -(-summed // array_rows)


def _check_array(rows: int | None, name: str, cost: float) -> None:
    if (rows is None) != (cost == 0):
        raise ValueError(f"array_rows is {rows} and {name} {cost}; give both, above 0, or neither")


def _of_kind(ops: Mapping[str, Coefficients], kind: str, what: str) -> Coefficients:
    found = ops.get(kind) or ops.get("default")
    if found is None:
        raise UserError(f"the {what} model has no coefficients for {kind}; it has {', '.join(ops)}: add {kind} or default")
    return found
