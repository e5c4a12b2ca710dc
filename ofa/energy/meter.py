"""Energy counters of this machine: RAPL for the processor, NVML for an NVIDIA GPU; or honestly nothing.

A reading without a counter has `joules` None, never 0. RAPL: /sys/class/powercap, package and DRAM domains, microjoules that
wrap around (Linux kernel documentation, power capping framework). NVML: total energy since the driver was loaded, in
millijoules (Volta and later), through the package `nvidia-ml-py` where it is installed.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")
SAMPLE_S = 30.0
"""Often enough to see every wraparound: the smallest range, 65 kJ, lasts 65 s at 1 kW."""


@dataclass(frozen=True)
class EnergyReading:
    """What a meter saw between start and stop."""

    joules: float | None
    """None where no counter is readable."""
    seconds: float
    source: str
    """Which counters were added, or why there is none."""


class Counter(Protocol):
    """A counter that only rises, or wraps around at `range_j`."""

    name: str
    range_j: float | None

    def read(self) -> float:
        """Joules since some moment; raises `OSError` when it cannot be read."""
        ...


class RaplCounter:
    """One RAPL domain."""

    def __init__(self, folder: Path) -> None:
        """Raises `OSError` or `ValueError` when the domain cannot be read."""
        self.name = f"RAPL {(folder / 'name').read_text().strip()}"
        self.range_j: float | None = int((folder / "max_energy_range_uj").read_text()) * 1e-6
        self._file = folder / "energy_uj"
        self.read()

    def read(self) -> float:
        """Joules since some moment."""
        return int(self._file.read_text()) * 1e-6


class NvmlCounter:
    """One NVIDIA GPU."""

    range_j: float | None = None

    def __init__(self, device: str) -> None:
        """`device` as torch names it: `cuda` or `cuda:1`. Raises `OSError` saying what is missing."""
        try:
            self._nvml: Any = importlib.import_module("pynvml")
        except ImportError:
            raise OSError("NVML needs the package nvidia-ml-py, which is not installed") from None
        try:
            import torch

            index = int(device.partition(":")[2] or torch.cuda.current_device())
            properties = torch.cuda.get_device_properties(index)
            self._nvml.nvmlInit()
            self._handle = self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        except (self._nvml.NVMLError, RuntimeError, AssertionError, AttributeError, ValueError) as error:
            raise OSError(f"NVML: {error}") from None
        self.name = f"NVML {properties.name}"
        self.read()

    def read(self) -> float:
        """Joules since the driver was loaded."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) * 1e-3
        except self._nvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from None


class EnergyMeter:
    """Measures the energy between `start` and `stop`, of the processor and, for a CUDA device, of that GPU.

    Never raises because of a counter: a reading says what is missing. One measurement at a time; a meter can be used again.
    """

    def __init__(self, device: str = "cpu", *, powercap: Path = POWERCAP, sample_s: float = SAMPLE_S) -> None:
        """`device` as torch names it; `powercap` and `sample_s` are for tests."""
        self._counters, self._missing = _find_counters(device, powercap)
        self._sample_s = sample_s
        self._lock = threading.Lock()
        self._joules = 0.0
        self._last: list[float] = []
        self._started: float | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def available(self) -> bool:
        """Whether there is a counter to read."""
        return bool(self._counters) and not self._missing

    @property
    def source(self) -> str:
        """Which counters are read, or why none is."""
        if not self.available:
            return f"no energy counter is readable: {self._missing}"
        return " + ".join(counter.name for counter in self._counters)

    def start(self) -> None:
        """Begin a measurement; a running one is abandoned."""
        self._end_thread()
        self._joules, self._started = 0.0, time.perf_counter()
        if not self.available:
            return
        try:
            self._last = [counter.read() for counter in self._counters]
        except (OSError, ValueError) as error:
            self._missing = str(error)
            return
        self._done.clear()
        if any(counter.range_j is not None for counter in self._counters):
            self._thread = threading.Thread(target=self._watch, name="energy-meter", daemon=True)
            self._thread.start()

    def stop(self) -> EnergyReading:
        """End the measurement; raises `RuntimeError` when none was started (a mistake of the program)."""
        if self._started is None:
            raise RuntimeError("EnergyMeter.stop() without start()")
        seconds = time.perf_counter() - self._started
        self._end_thread()
        self._sample()
        self._started = None
        return EnergyReading(self._joules if self.available else None, seconds, self.source)

    def _watch(self) -> None:
        while not self._done.wait(self._sample_s):
            self._sample()

    def _sample(self) -> None:
        """Add what the counters rose since the last sample."""
        with self._lock:
            if not self.available:
                return
            try:
                now = [counter.read() for counter in self._counters]
            except (OSError, ValueError) as error:
                self._missing = str(error)
                return
            self._joules += sum(map(_risen, self._counters, self._last, now))
            self._last = now

    def _end_thread(self) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def _risen(counter: Counter, before: float, after: float) -> float:
    if after >= before:
        return after - before
    return after - before + (counter.range_j or 0.0)


def _find_counters(device: str, powercap: Path) -> tuple[Sequence[Counter], str]:
    """The counters of a device, and what is missing ("" when nothing is)."""
    counters: list[Counter] = []
    if device.startswith("cuda"):
        try:
            counters.append(NvmlCounter(device))
        except OSError as error:
            return [], str(error)
    elif device.partition(":")[0] != "cpu":
        return [], f"none is known for device {device}"
    missing = f"no RAPL domain under {powercap}"
    for folder in sorted(powercap.glob("intel-rapl:*")) if powercap.is_dir() else []:
        try:
            name = (folder / "name").read_text().strip()
            if name.startswith("package") or name == "dram":
                counters.append(RaplCounter(folder))
        except (OSError, ValueError) as error:
            missing = f"{folder}: {error.strerror if isinstance(error, OSError) else error}"
    return counters, "" if counters else missing
