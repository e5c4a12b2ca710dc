"""A meter through the package `codecarbon` (the extra `codecarbon`; mlco2/codecarbon, MIT), imported when it is asked for.

Codecarbon adds what it reads (a GPU by NVML, a processor by RAPL) to what it estimates (a processor from its load, memory
from its size). Here these stay apart: where it reads anything of the device, the reading holds that alone, and what it
estimates is named as missing; where it reads nothing, the reading is an estimate. Nothing is sent or looked up.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from contextlib import redirect_stdout
from typing import Any

from ofa.energy.counters.nvml import identity
from ofa.energy.reading import ESTIMATED, EnergyReading
from ofa.errors import UserError

ADVICE = "--energy codecarbon needs the package codecarbon: pip install 'ofa-energy[codecarbon]'"
READ_MODES = ("intel_rapl", "intel_power_gadget", "windows_emi")
"""Modes in which codecarbon reads a processor's energy; in others it calculates it from the load or the TDP."""
JOULES_PER_KWH = 3.6e6


class CodecarbonMeter:
    """Codecarbon's energy between `start` and `stop`, of the device, and of the processor if `processor`."""

    def __init__(self, device: str = "cpu", *, processor: bool = True) -> None:
        """Raises `UserError` where codecarbon is not installed."""
        codecarbon = _quietly_imported()
        self._gpu, self._processor = device.partition(":")[0] == "cuda", processor
        self._why_no_gpu = ""
        options: dict[str, Any] = {}
        if self._gpu:
            try:
                options["gpu_ids"] = [identity(device)[0]]  # by UUID: it does not renumber GPUs as torch does
            except OSError as error:
                self._why_no_gpu = str(error)
        self._tracker = codecarbon.OfflineEmissionsTracker(
            country_iso_code="USA",  # it asks for one; only energies are used
            save_to_file=False,
            log_level="critical",
            tracking_mode="machine",
            allow_multiple_runs=True,
            pue=1,
            **options,
        )
        self._started: float | None = None

    @property
    def available(self) -> bool:
        """True if codecarbon reads the processor's energy; of a GPU it is known after a reading only."""
        return not self._gpu and (not self._processor or self._mode() in READ_MODES)

    def start(self) -> None:
        """Begin a measurement; a running one is abandoned."""
        if self._started is not None:
            self._tracker.stop_task()
        self._tracker.start_task()
        self._started = time.perf_counter()

    def stop(self) -> EnergyReading:
        """End the measurement; raises `RuntimeError` when none was started (a programming error)."""
        if self._started is None:
            raise RuntimeError("CodecarbonMeter.stop() without start()")
        found = self._tracker.stop_task()
        seconds, self._started = time.perf_counter() - self._started, None
        if found is None or (self._gpu and (self._why_no_gpu or not found.gpu_count)):
            why = "codecarbon gave no reading" if found is None else self._why_no_gpu or "codecarbon reads no GPU"
            return EnergyReading(None, seconds, f"no energy counter is readable: {why}", (why,))
        read: dict[str, float] = {"GPU": found.gpu_energy} if self._gpu else {}
        estimated: dict[str, float] = {}
        if self._processor:
            mode = self._mode()
            (read if mode in READ_MODES else estimated)[f"processor ({mode or 'unknown mode'})"] = found.cpu_energy
            estimated["memory (from its size)"] = found.ram_energy
        if read or not self._processor:
            missing = tuple(f"{part}: codecarbon only estimates it" for part in estimated)
            told = " + ".join(read) or "counted by another process"
            lacking = f"; a lower bound, missing: {'; '.join(missing)}" if missing else ""
            return EnergyReading(sum(read.values()) * JOULES_PER_KWH, seconds, f"codecarbon {told}{lacking}", missing)
        source = f"estimated by codecarbon: {' + '.join(estimated)}"
        return EnergyReading(sum(estimated.values()) * JOULES_PER_KWH, seconds, source, kind=ESTIMATED)

    def _mode(self) -> str | None:
        """Origin of codecarbon's figure for the processor; it has no public name for this."""
        modes = (getattr(hardware, "_mode", None) for hardware in getattr(self._tracker, "_hardware", ()))
        return next((str(mode) for mode in modes if mode is not None), None)


def _quietly_imported() -> Any:
    """Import codecarbon, which logs and prints while it looks for hardware; standard output belongs to `--json`."""
    logging.getLogger("codecarbon").disabled = True
    try:
        with redirect_stdout(sys.stderr):
            return importlib.import_module("codecarbon")
    except ImportError:
        raise UserError(ADVICE) from None
