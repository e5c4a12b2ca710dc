"""The platform as costs see it: they import no platform, because a platform makes them."""

from __future__ import annotations

from typing import Protocol

from latency_tables.cost_models.block_table import BlockTable
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel
from latency_tables.cost_models.uncertainty import ErrorReport
from ofa.space.shapes import BlockShape


class CostedPlatform(Protocol):
    """Everything that costs ask of a platform; `latency_tables.platform.Platform` answers."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def kind(self) -> str:
        """Origin of its latency: `measured`, `calibrated` or `modelled`."""

    @property
    def runtime(self) -> str:
        """The software that runs the network."""

    @property
    def precision(self) -> str:
        """Number format of weights and activations: how many bytes they take."""

    @property
    def latency(self) -> LatencyModel | None:
        """A model of operations; None where blocks were measured."""

    @property
    def table(self) -> BlockTable | None:
        """Measured blocks; None where latency is modelled or calibrated."""

    @property
    def energy(self) -> EnergyModel | None:
        """The energy of its operations or blocks; None where it is unknown."""

    @property
    def error(self) -> ErrorReport:
        """Error of latencies on whole networks measured."""

    @property
    def network_ms(self) -> float:
        """Latency of a network besides its blocks, in ms per batch."""

    @property
    def network_mj(self) -> float:
        """Energy of an inference besides its blocks, in mJ per image."""

    @property
    def why_no_energy(self) -> str | None:
        """The lack that leaves the energy of a network unknown; None where it is known."""

    def block_ms(self, shape: BlockShape, resolution: int | None = None) -> float:
        """Latency that a block adds to a network of this resolution, in ms per batch."""

    def block_mj(self, shape: BlockShape, resolution: int | None = None) -> float:
        """Energy that a block adds to an inference, in mJ per image."""
