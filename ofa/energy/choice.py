"""The origin of energy: this machine's counters, another package's meters, or an estimate; one meter for each."""

from __future__ import annotations

from dataclasses import dataclass

from ofa.energy.codecarbon import CodecarbonMeter
from ofa.energy.counters import zeus
from ofa.energy.estimate import EstimatedMeter, RatedPower
from ofa.energy.meter import EnergyMeter
from ofa.energy.reading import Meter
from ofa.errors import UserError

COUNTERS, ZEUS, CODECARBON, ESTIMATE = "counters", "zeus", "codecarbon", "estimate"
ORIGINS = (COUNTERS, ZEUS, CODECARBON, ESTIMATE)


@dataclass(frozen=True)
class EnergyChoice:
    """An origin of energy, and the power that an estimate needs."""

    origin: str = COUNTERS
    power: RatedPower | None = None
    """For `ESTIMATE`, the accelerator of each process and its utilisation."""

    @classmethod
    def of(cls, origin: str, accelerator: str | None = None, utilisation: float | None = None) -> EnergyChoice:
        """The choice that these words make; raises `UserError` where they are unknown, or do not go together."""
        if origin not in ORIGINS:
            raise UserError(f"energy is {origin!r}; known are {', '.join(ORIGINS)}")
        given = {"accelerator": accelerator, "utilisation": utilisation}
        if origin != ESTIMATE:
            extra = next((name for name, value in given.items() if value is not None), None)
            if extra is not None:
                raise UserError(f"--{extra} is for an estimate; give --energy {ESTIMATE} too")
            return cls(origin)
        if accelerator is None or utilisation is None:
            lacking = next(name for name, value in given.items() if value is None)
            raise UserError(
                f"--energy {ESTIMATE} needs --accelerator NAME (or W) and --utilisation U; --{lacking} is missing"
            )
        return cls(origin, RatedPower.of(accelerator, utilisation))

    def meter(self, device: str = "cpu", *, processor: bool = True) -> Meter:
        """A meter of a device, by torch's name for it; `processor` false: another process counts processor and memory.

        Raises:
            UserError: the package that the origin needs is not installed.
        """
        if self.origin == ESTIMATE:
            if self.power is None:
                raise ValueError("an estimate needs a power")
            if device.partition(":")[0] == "cpu" and not processor:
                return EnergyMeter(device, processor=False)  # the processor is estimated once, by the first process
            return EstimatedMeter(self.power)
        if self.origin == CODECARBON:
            return CodecarbonMeter(device, processor=processor)
        if self.origin == ZEUS:
            return EnergyMeter(device, processor=processor, found=zeus.find(device, processor))
        return EnergyMeter(device, processor=processor)


MACHINE = EnergyChoice()
"""This machine's own counters."""
