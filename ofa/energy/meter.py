"""The energy meter of this machine: it adds up its counters, and names the parts that it cannot read.

RAPL counts processor and memory (`counters.rapl`), NVML an NVIDIA GPU (`counters.nvml`). An unknown energy is None, never 0;
a sum that lacks a part is marked as a lower bound.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ofa.energy.counters import nvml, rapl
from ofa.energy.counters.base import Counter, Found, reason
from ofa.energy.counters.rapl import POWERCAP
from ofa.energy.reading import EnergyReading

MOST_W = 1000.0
"""Power that no processor package exceeds. A counter that falls either wrapped around, or was reset; it was reset if
wrapping around would mean more than this power."""
SAMPLE_S = 10.0
"""Seconds between readings, short enough to see every wraparound: the smallest range, 65 kJ, lasts 65 s at `MOST_W`."""


class EnergyMeter:
    """Measures the energy between `start` and `stop`: of processor and memory, and for a CUDA device also of the GPU.

    A counter that fails raises nothing: the reading names it as missing. A meter can be used again, one measurement at a
    time.

    Args:
        device: name of the device in torch.
        processor: True: processor and memory count. False: another rank on this machine counts them.
        powercap: folder of the RAPL domains.
        sample_s: seconds between readings of counters that wrap around.
        found: the counters of the device and those beside it; None: RAPL and NVML.
    """

    def __init__(
        self,
        device: str = "cpu",
        *,
        processor: bool = True,
        powercap: Path = POWERCAP,
        sample_s: float = SAMPLE_S,
        found: tuple[Found, Found] | None = None,
    ) -> None:
        own, beside = _own_counters(device, processor, powercap) if found is None else found
        if not own.counters and own.missing:
            beside = Found()  # the processor's energy alone must not pass for that of a GPU
        self._own = own.counters
        self._tallies = [_Tally(counter) for counter in own.counters + beside.counters]
        self._missing = own.missing + beside.missing
        self._mirrors: set[tuple[int, int]] = set()
        self._sample_s = sample_s
        self._lock = threading.Lock()
        self._started: float | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def available(self) -> bool:
        """True if the device's own energy can be read, or another rank counts it."""
        return bool(self._own) or not self._missing

    def start(self) -> None:
        """Begin a measurement; a running one is abandoned."""
        self._end_thread()
        places = range(len(self._tallies))
        self._mirrors = {(i, j) for j in places for i in range(j)}
        self._tallies = [_Tally(tally.counter) for tally in self._tallies]
        self._sample()
        self._started = time.perf_counter()  # right after the readings, as in `stop`, so that joules and seconds match
        self._done.clear()
        if any(tally.counter.range_j is not None for tally in self._tallies):
            self._thread = threading.Thread(target=self._watch, name="energy-meter", daemon=True)
            self._thread.start()

    def stop(self) -> EnergyReading:
        """End the measurement; raises `RuntimeError` when none was started (a programming error)."""
        if self._started is None:
            raise RuntimeError("EnergyMeter.stop() without start()")
        self._end_thread()
        self._sample()
        seconds = time.perf_counter() - self._started
        self._started = None
        missing = self._missing + tuple(text for tally in self._tallies for text in tally.missing())
        read = [tally.counter for tally in self._tallies if tally.joules is not None]
        if missing and not any(counter in read for counter in self._own):
            return EnergyReading(None, seconds, f"no energy counter is readable: {'; '.join(missing)}", missing)
        counted = self._distinct()
        source = " + ".join(tally.counter.name for tally in counted) or "counted by another process"
        source += f"; a lower bound, missing: {'; '.join(missing)}" if missing else ""
        return EnergyReading(sum(tally.joules or 0.0 for tally in counted), seconds, source, missing)

    def _distinct(self) -> list[_Tally]:
        """The counters that were read; among counters that mirror each other, only the one that has counted most."""
        mirrored = {j for _, j in self._mirrors}
        found = []
        for i, tally in enumerate(self._tallies):
            alike = [tally, *(self._tallies[j] for a, j in self._mirrors if a == i)]
            best = max(alike, key=lambda one: -1.0 if one.joules is None else one.joules)
            if i not in mirrored and best.joules is not None:
                found.append(best)
        return found

    def _watch(self) -> None:
        while not self._done.wait(self._sample_s):
            self._sample()

    def _sample(self) -> None:
        """Read all counters forwards, then backwards.

        Some processors show one counter under several names. Two counters are taken as mirrors of each other as long as
        every value of one lies between two readings of the other; values of separate counters differ.
        """
        with self._lock:
            forth = [tally.read(time.perf_counter()) for tally in self._tallies]
            back = [_value(tally.counter) for tally in reversed(self._tallies)][::-1]
            self._mirrors = {(i, j) for i, j in self._mirrors if _between(forth[i], forth[j], back[i])}

    def _end_thread(self) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def _own_counters(device: str, processor: bool, powercap: Path) -> tuple[Found, Found]:
    """The counters of a device, and those beside it: of the processor that feeds a GPU."""
    beside = rapl.find(powercap) if processor else Found()
    kind = device.partition(":")[0]
    if kind == "cpu":
        return beside, Found()
    if kind == "cuda":
        return nvml.find(device), beside
    return Found(missing=(f"none is known for device {device}",)), Found()


class _Tally:
    """The joules of one counter since the measurement began."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.joules: float | None = None
        """Energy so far; None until the second reading."""
        self._last: tuple[float, float] | None = None
        self._unread = ""
        self._gaps: dict[str, None] = {}  # in order, each once

    def read(self, now_s: float) -> float | None:
        """Add the counter's rise since its last reading; returns its value, None where it cannot be read."""
        try:
            value = self.counter.read()
        except (OSError, ValueError) as error:
            self._unread = reason(error)
            if self._last is None:
                self._gaps[f"its start ({self._unread})"] = None
            return None
        self._unread = ""
        if self._last is not None:
            risen_j, gap = _risen(self.counter, self._last[0], value, now_s - self._last[1])
            self.joules = (self.joules or 0.0) + risen_j
            if gap:
                self._gaps[gap] = None
        self._last = value, now_s
        return value

    def missing(self) -> Sequence[str]:
        """Parts of the measurement that `joules` lacks."""
        name = self.counter.name
        return [f"{name}: {self._unread}"] if self._unread else [f"{name}: {gap}" for gap in self._gaps]


def _risen(counter: Counter, before_j: float, after_j: float, seconds: float) -> tuple[float, str]:
    """Joules that a counter has certainly counted between two readings, and a note on what may be missing ("": nothing)."""
    range_j, most_j = counter.range_j, MOST_W * (seconds + 1)  # one second more, for readings in quick succession
    gap = ""
    if range_j is not None and MOST_W * seconds > range_j:
        gap = f"not read for {seconds:.0f} s, in which it may have wrapped around"
    if after_j >= before_j:
        return after_j - before_j, gap
    if range_j is not None and after_j - before_j + range_j <= most_j:
        return after_j - before_j + range_j, gap
    if after_j <= most_j:
        return after_j, "it was reset; what it had counted until then is lost"
    return 0.0, f"it fell from {before_j:g} to {after_j:g} J"


def _between(low: float | None, value: float | None, high: float | None) -> bool:
    """True if a value may lie between two readings, the second of which may have wrapped around; None: unknown."""
    if low is None or value is None or high is None:
        return True
    return low <= value <= high if low <= high else value >= low or value <= high


def _value(counter: Counter) -> float | None:
    try:
        return counter.read()
    except (OSError, ValueError):
        return None
