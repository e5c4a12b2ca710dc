"""The platform as its costs see it: a protocol, because the platform's module imports this one."""

from __future__ import annotations

from typing import Protocol

from latency_tables.cost_models.block_table import BlockTable
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel
from latency_tables.cost_models.uncertainty import ErrorReport
from ofa.space.shapes import BlockShape


class CostedPlatform(Protocol):
    """Everything that costs read of a platform; `latency_tables.platform.Platform` has it."""

    @property
    def name(self) -> str:
        """Name of the platform, for messages."""

    @property
    def kind(self) -> str:
        """Origin of its latency: `measured`, `calibrated` or `modelled`."""

    @property
    def runtime(self) -> str:
        """The software that runs the network."""

    @property
    def precision(self) -> str | None:
        """Number format of weights and activations, which decides their bytes; None where it is unknown."""

    @property
    def memory_rule(self) -> str:
        """Name of the rule by which its runtime uses memory, one of `blocks.memory_rules.RULES`."""

    @property
    def latency(self) -> LatencyModel | None:
        """Model of a block's latency from its operations; None where blocks were measured."""

    @property
    def table(self) -> BlockTable | None:
        """Measured blocks; None where latency is modelled or calibrated."""

    @property
    def energy(self) -> EnergyModel | None:
        """The energy of its operations or blocks; None where it is unknown."""

    @property
    def error(self) -> ErrorReport:
        """Error of its latencies on whole measured networks."""

    @property
    def network_ms(self) -> float:
        """Constant part of a network's latency, added once to the sum over its blocks, in ms per batch."""

    @property
    def network_mj(self) -> float:
        """Constant part of an inference's energy, added once to the sum over its blocks, in mJ per image."""

    @property
    def why_no_energy(self) -> str | None:
        """Reason why the energy of a network is unknown; None where it is known."""

    def block_ms(self, shape: BlockShape, resolution: int | None = None) -> float:
        """Latency that a block adds to a network of this resolution, in ms per batch."""

    def block_mj(self, shape: BlockShape, resolution: int | None = None) -> float:
        """Energy that a block adds to an inference, in mJ per image."""
