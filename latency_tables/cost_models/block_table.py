"""Measured blocks: a table whose key is the block's frozen shape. A miss is an error, nothing is interpolated. No torch.

In YAML an operation is a list in the order of `OpShape`'s fields, ending at the last that is not its default:
`[conv, 16, 96, 28, 14, 3, 2, 16, true, false, relu]`.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Annotated, Any, get_type_hints

from ofa.errors import UserError
from ofa.files.bounds import Bounded, Count, Finite, NotEmpty, NotNegative, Positive, WholeNumber
from ofa.space.kinds import KINDS
from ofa.space.shapes import BlockShape, OpShape

_OP_FIELDS = fields(OpShape)
_OP_TYPES = get_type_hints(OpShape)
_REQUIRED = sum(1 for item in _OP_FIELDS if item.default is MISSING)


@dataclass(frozen=True, kw_only=True)
class MeasuredBlock(Bounded):
    """One measured block: its shape (as in `BlockShape`), the distribution of its times, optionally its energy."""

    kind: str
    """Kind of block: `mbconv`, `bottleneck`; outside the stages `stem` and others."""
    main: Annotated[tuple[tuple[Any, ...], ...], NotEmpty("a block has at least one operation")]
    """Its operations in order, each as a list of `OpShape`'s fields."""
    shortcut: tuple[tuple[Any, ...], ...] = ()
    """Operations of the shortcut, in a bottleneck."""
    residual: bool = False
    """True: the block adds its input to its output."""
    median_ms: Positive
    """Median of its runs."""
    p10_ms: Positive | None = None
    """Tenth percentile of its runs; None where it is unknown, as after a single run."""
    p90_ms: Positive | None = None
    """Ninetieth percentile; None as `p10_ms`."""
    count: Count
    """Timed runs that count; the rejected ones are not among them."""
    rejected: WholeNumber | None = None
    """Runs left out as outliers, by the rule in `latency_tables.profiling.assemble`. None: unknown."""
    resolution: Count | None = None
    """Resolution of the measured network, in pixels, where one shape was measured in several networks (published tables)."""
    energy_mj: NotNegative | None = None
    """Energy per image, where it was measured block by block."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.p10_ms is None) != (self.p90_ms is None):
            raise ValueError(f"p10_ms is {self.p10_ms} and p90_ms {self.p90_ms}; give both or neither")
        p10_ms, p90_ms = (self.median_ms if value is None else value for value in (self.p10_ms, self.p90_ms))
        if not p10_ms <= self.median_ms <= p90_ms:
            given = f"{self.p10_ms}, {self.median_ms}, {self.p90_ms}"
            raise ValueError(f"p10_ms, median_ms, p90_ms are {given}; must be ascending")
        _ = self.shape

    @cached_property
    def shape(self) -> BlockShape:
        """The block that was measured."""
        main = tuple(op_from_list(op, f"main[{i}]") for i, op in enumerate(self.main))
        shortcut = tuple(op_from_list(op, f"shortcut[{i}]") for i, op in enumerate(self.shortcut))
        return BlockShape(self.kind, main, shortcut, self.residual)


@dataclass(frozen=True, kw_only=True)
class BlockTable(Bounded):
    """Measured blocks of a space, and how their sum relates to whole networks: latency = intercept + factor x sum."""

    space: str
    """Name of the space whose blocks were measured."""
    fingerprint: str
    """Fingerprint of that space. Another space that shares some of its blocks can use those: a block's key is its shape."""
    blocks: Annotated[tuple[MeasuredBlock, ...], NotEmpty("a table holds at least one measured block")]
    """Every block once, or once for each resolution."""
    intercept_ms: Finite = 0.0
    """Constant part of a network's latency. May be negative: each timed block includes costs that a network has once."""
    factor: Positive = 1.0
    """Factor on the sum of the blocks."""
    places: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Lines of its keys in the file it was read from, for messages."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.by_shape

    @cached_property
    def by_shape(self) -> dict[BlockShape, dict[int | None, MeasuredBlock]]:
        """The measurements by shape, then by the network's resolution (None: at any resolution)."""
        by_shape: dict[BlockShape, dict[int | None, MeasuredBlock]] = {}
        for block in self.blocks:
            if by_shape.setdefault(block.shape, {}).setdefault(block.resolution, block) is not block:
                where = "" if block.resolution is None else f" at resolution {block.resolution}"
                raise ValueError(f"a block is given twice{where}: {describe(block.shape)}")
        return by_shape

    def find(self, shape: BlockShape, resolution: int | None = None) -> MeasuredBlock:
        """The measurement of a block in a network of this resolution.

        A block that was only measured in networks of other resolutions has the value at the nearest of these (at the
        largest, if no resolution is given): the operations are the same.

        Raises:
            UserError: naming the block, where it was not measured.
        """
        found = self.by_shape.get(shape)
        if found is None:
            place = self.places.get("fingerprint", "fingerprint")
            raise UserError(
                f"{describe(shape)} was not measured; {place} is {self.fingerprint}, that of space {self.space}. "
                "Measure yours with: ofa profile --space SPACE --out FILE"
            )
        for exact in (resolution, None):
            if exact in found:
                return found[exact]
        known = sorted((known for known in found if known is not None), reverse=True)
        return found[min(known, key=lambda other: 0 if resolution is None else abs(other - resolution))]


def op_to_list(op: OpShape) -> list[Any]:
    """An operation as its fields in order, without trailing defaults."""
    values = [getattr(op, item.name) for item in _OP_FIELDS]
    while values and len(values) > _REQUIRED and values[-1] == _OP_FIELDS[len(values) - 1].default:
        values.pop()
    return values


def op_from_list(values: tuple[Any, ...] | list[Any], place: str) -> OpShape:
    """The inverse of `op_to_list`; raises `ValueError` naming the field that is wrong."""
    names = [item.name for item in _OP_FIELDS]
    if not _REQUIRED <= len(values) <= len(names):
        raise ValueError(f"{place} has {len(values)} values; an operation is a list of {', '.join(names)}")
    for name, value in zip(names, values, strict=False):
        wanted = _OP_TYPES[name]
        if type(value) is not wanted:
            raise ValueError(f"{place}: {name} is {value!r}; expected {wanted.__name__}")
        if wanted is int and value < 1:
            raise ValueError(f"{place}: {name} is {value}; must be at least 1")
    return OpShape(*values)


def describe(shape: BlockShape) -> str:
    """A block in one line, for messages: `mbconv 40->64 channels at 14->7 px, kernel 5, hidden 160, se, residual`."""
    ops = shape.main
    first, last = ops[0], ops[-1]
    parts = [f"{shape.kind} {first.in_channels}->{last.out_channels} channels at {first.in_size}->{last.out_size} px"]
    if shape.kind in KINDS:
        middle = max(ops, key=lambda op: op.kernel)
        parts += [f"kernel {middle.kernel}", f"hidden {middle.out_channels}"]
    if any(op.kind == "scale" for op in ops):
        parts.append("se")
    if shape.residual:
        parts.append("residual")
    return ", ".join(parts)
