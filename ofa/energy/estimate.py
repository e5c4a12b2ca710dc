"""An estimate of energy where nothing is readable: the rated power of an accelerator x its utilisation x time.

Rated power (TDP) is a limit, not a measurement: calculators of this kind were up to 40% off a meter in the wall (Fischer,
2025, arXiv 2509.22092). So a reading says `ESTIMATED`, and no sum adds it to what was metered.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from ofa.energy.reading import ESTIMATED, EnergyReading
from ofa.errors import UserError
from ofa.footprint.tables import Accelerator, find_accelerator


@dataclass(frozen=True)
class RatedPower:
    """An accelerator and its utilisation."""

    accelerator: Accelerator
    utilisation: float
    """Mean power over the rated power, above 0, at most 1."""

    @classmethod
    def of(cls, accelerator: str, utilisation: float) -> RatedPower:
        """An accelerator by name, or by its power in W.

        Raises:
            UserError: the name is unknown, or a number is out of bounds.
        """
        if not 0 < utilisation <= 1:
            raise UserError(f"utilisation is {utilisation:g}; must be above 0 and at most 1: mean power over rated power")
        try:
            watts = float(accelerator)
        except ValueError:
            return cls(find_accelerator(accelerator), utilisation)
        if not (math.isfinite(watts) and watts > 0):
            raise UserError(f"accelerator is {accelerator}; as a power in W it must be finite and above 0")
        return cls(Accelerator(name="accelerator", watts=watts, note="", source="as given"), utilisation)

    @property
    def watts(self) -> float:
        """Estimated mean power."""
        return self.accelerator.watts * self.utilisation

    @property
    def source(self) -> str:
        """The origin of each factor, and what is not included."""
        accelerator = self.accelerator
        note = f"; {accelerator.note}" if accelerator.note else ""
        return (
            f"estimated: {accelerator.name}, {accelerator.watts:g} W ({accelerator.source}{note}) x utilisation "
            f"{self.utilisation:g} as given x time, for each process; nothing else of the machine included"
        )


class EstimatedMeter:
    """Multiplies a rated power by the time between `start` and `stop`."""

    available = False
    """Nothing is measured."""

    def __init__(self, power: RatedPower) -> None:
        self._power = power
        self._started: float | None = None

    def start(self) -> None:
        """Begin a period; a running one is abandoned."""
        self._started = time.perf_counter()

    def stop(self) -> EnergyReading:
        """End the period; raises `RuntimeError` when none was started (a programming error)."""
        if self._started is None:
            raise RuntimeError("EstimatedMeter.stop() without start()")
        seconds, self._started = time.perf_counter() - self._started, None
        return EnergyReading(self._power.watts * seconds, seconds, self._power.source, kind=ESTIMATED)
