"""A reading of energy, and the protocol of everything that gives one: counters, other packages' meters, an estimate.

A reading is of one kind: what a counter or a meter measured, or what was estimated. Sums keep the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

METERED, ESTIMATED, UNKNOWN = "metered", "estimated", "unknown"
"""Kinds of energy: read from a counter or a meter; calculated from a power that was published; neither."""


@dataclass(frozen=True)
class EnergyReading:
    """The energy between start and stop of a meter."""

    joules: float | None
    """Energy; a lower bound where something is missing, None where the device's own energy is unknown."""
    seconds: float
    source: str
    """The counters that were added, and the missing parts; or the origin of an estimate; or the reason why there is none."""
    missing: tuple[str, ...] = ()
    """Parts whose energy is not in `joules`, each with the reason."""
    kind: str = METERED
    """`METERED` or `ESTIMATED`."""


class Meter(Protocol):
    """Measures or estimates the energy between `start` and `stop`; can be used again, one measurement at a time."""

    @property
    def available(self) -> bool:
        """True if the device's own energy is measured here, or by another rank; False for an estimate."""
        ...

    def start(self) -> None:
        """Begin a measurement; a running one is abandoned."""
        ...

    def stop(self) -> EnergyReading:
        """End the measurement; raises `RuntimeError` when none was started (a programming error)."""
        ...
