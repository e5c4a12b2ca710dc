"""A platform: a device with its runtime, precision, batch and threads; where its numbers come from and how sure they are.

Latency comes from measured blocks (`table`) or from a model of operations (`latency`); energy from measured blocks, from
power x time, or from a model of operations. Memory is computed. No torch here; numpy is imported for the costs of a space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from latency_tables.blocks.fused_ops import FusedOp
from latency_tables.blocks.memory import BYTES
from latency_tables.blocks.memory_rules import MemoryRule
from latency_tables.cost_models.block_table import BlockTable, MeasuredBlock
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel
from latency_tables.cost_models.uncertainty import ErrorReport
from ofa.errors import UserError
from ofa.files.bounds import Bounded, Count, OneOf
from ofa.files.names import PlainName
from ofa.numerics.stated import FP32, INT8, AnalogNumerics
from ofa.space.shapes import BlockShape

if TYPE_CHECKING:
    from latency_tables.costs.costs import Costs
    from ofa.space.search_space import SearchSpace

ORIGINS = ("measured", "calibrated", "modelled")


@dataclass(frozen=True, kw_only=True)
class Platform(Bounded):
    """A device and what subnets cost on it; see `docs/platforms.md` for the YAML."""

    name: PlainName
    """Its name in plots, tables and paths."""
    device: str
    """The machine or chip, in words."""
    runtime: str
    """The software that infers, with its version."""
    precision: Annotated[str, OneOf(tuple(BYTES))] | None = None
    """Number format of weights and activations: `fp32`, `fp16`, `bf16`, `int16` or `int8`; a model of operations needs it.
    None: unknown, and memory with it."""
    numerics: Annotated[str, OneOf((FP32, INT8))] | AnalogNumerics = FP32
    """Its arithmetic, as far as accuracy depends on it: `int8`, `analog` with its noise, or `fp32` (as in training)."""
    batch: Count = 1
    """Images per inference. Latency is of the whole batch; energy and memory are per image."""
    threads: Count | None = None
    """CPU threads; None: unknown, or the CPU is not used."""
    kind: Annotated[str, OneOf(ORIGINS)]
    """Origin of its latency: `measured` on the device, `calibrated` on measurements, or `modelled` without any."""
    description: str
    """One or two sentences."""
    source: str
    """Origin of its numbers: the instrument, or the publication."""
    licence: str
    """Licence of the numbers."""
    date: str | None = None
    """Day of the measurement, YYYY-MM-DD."""
    details: dict[str, str] = field(default_factory=dict)
    """Further provenance: processor, versions, settings."""
    error: ErrorReport
    """Error of its latencies."""
    latency: LatencyModel | None = None
    """Latency predicted from a block's operations, for any space; None where `table` is given."""
    table: BlockTable | None = None
    """Latencies of measured blocks; None where `latency` is given."""
    energy: EnergyModel | None = None
    """Energy of an inference; None: unknown."""
    memory: MemoryRule | None = None
    """Rule by which its runtime uses memory; None: by the lifetimes of feature maps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.latency is None) == (self.table is None):
            raise ValueError("give either latency (a model of operations) or table (measured blocks)")
        by_operations = self.latency is not None or (self.energy is not None and self.energy.ops is not None)
        if self.precision is None and by_operations:
            raise ValueError("precision is missing; a model of operations needs it")
        if self.numerics == INT8 and self.precision not in (None, INT8):
            raise ValueError(f"numerics is int8 but precision is {self.precision}; an int8 platform holds int8")
        measured_energy = self.table is not None and all(block.energy_mj is not None for block in self.table.blocks)
        if self.energy is not None and self.energy.power_w is None and self.energy.ops is None and not measured_energy:
            raise ValueError("energy has neither power_w nor ops, and not every block of the table has energy_mj")
        if self.energy is not None and self.energy.network_mj is not None and self.table is None:
            raise ValueError("energy.network_mj is given without a table of measured blocks")
        if self.memory_rule == "tflm" and self.precision != "int8":
            raise ValueError(f"memory.rule is tflm and precision {self.precision}; that rule is for int8")

    @property
    def memory_rule(self) -> str:
        """Name of the rule by which its runtime uses memory, one of `RULES`."""
        return "lifetimes" if self.memory is None else self.memory.rule

    # -- costs of blocks and networks ----------------------------------------------------------------------------------

    def block_ms(self, shape: BlockShape, resolution: int | None = None) -> float:
        """Latency that a block adds to a network of this resolution, in ms per batch; raises `UserError` where unknown."""
        if self.table is not None:
            return self.table.factor * self._measured(shape, resolution).median_ms
        assert self.latency is not None
        assert self.precision is not None
        try:
            return self.latency.block_ms(shape, self.precision, self.batch)
        except UserError as error:
            raise UserError(f"platform {self.name}: {error}") from None

    @property
    def network_ms(self) -> float:
        """Constant part of a network's latency, added once to the sum over its blocks, in ms per batch."""
        if self.table is not None:
            return self.table.intercept_ms
        assert self.latency is not None
        return self.latency.network_ms

    def block_mj(self, shape: BlockShape, resolution: int | None = None) -> float:
        """Energy that a block adds to an inference, in mJ per image; raises `UserError` where it is unknown."""
        energy = self._known_energy()
        if energy.power_w is not None:
            return energy.power_w * self.block_ms(shape, resolution) / self.batch
        if energy.ops is None:
            measured = self._measured(shape, resolution).energy_mj
            assert measured is not None
            return measured
        assert self.precision is not None
        try:
            dynamic = energy.ops_mj(shape, self.precision, self.batch)
        except UserError as error:
            raise UserError(f"platform {self.name}: {error}") from None
        return dynamic + (energy.static_w * self.block_ms(shape, resolution) / self.batch if energy.static_w else 0.0)

    @property
    def network_mj(self) -> float:
        """Constant part of an inference's energy, in mJ per image; raises `UserError` where the energy is unknown."""
        energy = self._known_energy()
        if self.why_no_energy is not None:
            raise UserError(f"platform {self.name}: energy is unknown; {self.why_no_energy}")
        if energy.network_mj is not None:
            return energy.network_mj
        return (energy.power_w or energy.static_w) * self.network_ms / self.batch

    def listed_ms(self, operations: Sequence[FusedOp]) -> float:
        """Latency of a whole network given as its executed operations, in ms per batch; needs a model of operations."""
        if self.latency is None or self.precision is None:
            raise UserError(f"platform {self.name}: is a table of measured blocks, which cannot cost operations")
        try:
            return self.network_ms + self.latency.listed_ms(operations, self.precision, self.batch)
        except UserError as error:
            raise UserError(f"platform {self.name}: {error}") from None

    def listed_mj(self, operations: Sequence[FusedOp]) -> float:
        """Energy of one inference of a network given as its executed operations, in mJ; raises where it is unknown."""
        energy, time_ms = self._known_energy(), self.listed_ms(operations)
        if energy.power_w is not None or energy.ops is None or self.precision is None:
            return (energy.power_w or 0.0) * time_ms / self.batch
        try:
            return energy.listed_mj(operations, self.precision, self.batch) + energy.static_w * time_ms / self.batch
        except UserError as error:
            raise UserError(f"platform {self.name}: {error}") from None

    @property
    def why_no_energy(self) -> str | None:
        """Reason why the energy of a network is unknown; None where it is known."""
        energy = self.energy
        if energy is None:
            return "give its file an energy section (a source, and power_w or ops)"
        measured = energy.power_w is None and energy.ops is None
        if measured and energy.network_mj is None and self.network_ms:
            return (
                f"it is measured for its blocks, but not for the constant {self.network_ms:g} ms (table.intercept_ms): "
                "give energy.network_mj, or measure again (ofa profile)"
            )
        return None

    def costs(self, space: SearchSpace, confidence: float | None = None) -> Costs:
        """Costs of the subnets of a space; with a confidence, latency and energy are upper bounds at it. See `Costs`."""
        from latency_tables.costs.costs import Costs

        return Costs(self, space, confidence)

    def _measured(self, shape: BlockShape, resolution: int | None) -> MeasuredBlock:
        assert self.table is not None
        try:
            return self.table.find(shape, resolution)
        except UserError as error:
            raise UserError(f"platform {self.name}: {error}") from None

    def _known_energy(self) -> EnergyModel:
        if self.energy is None:
            raise UserError(f"platform {self.name}: energy is unknown; {self.why_no_energy}")
        return self.energy
