"""What costs ask of a platform: costs import no platform, for a platform makes them."""

from __future__ import annotations

from typing import Protocol

from latency_tables.cost_models.block_table import BlockTable
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel
from latency_tables.cost_models.uncertainty import ErrorReport
from ofa.space.shapes import BlockShape


class CostedPlatform(Protocol):
    """What costs ask of a platform; `latency_tables.platform.Platform` answers."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def precision(self) -> str:
        """Number format of weights and activations: how many bytes they take."""

    @property
    def latency(self) -> LatencyModel | None:
        """Where latency is modelled or calibrated."""

    @property
    def table(self) -> BlockTable | None:
        """Where blocks were measured."""

    @property
    def energy(self) -> EnergyModel | None:
        """Where energy is known."""

    @property
    def error(self) -> ErrorReport:
        """How far latencies are from whole networks measured."""

    @property
    def network_ms(self) -> float:
        """What a network's latency has besides its blocks, in ms per batch."""

    @property
    def network_mj(self) -> float:
        """What an inference's energy has besides its blocks, in mJ per image."""

    @property
    def why_no_energy(self) -> str | None:
        """What is missing to know the energy of a network; None where it is known."""

    def block_ms(self, shape: BlockShape, resolution: int | None = None) -> float:
        """What a block adds to the latency of a network of this resolution, in ms per batch."""

    def block_mj(self, shape: BlockShape, resolution: int | None = None) -> float:
        """What a block adds to an inference's energy, in mJ per image."""
