"""The energy meter of this machine: it adds up what its counters say, and names what it cannot read.

RAPL for processor and memory (`counters.rapl`), NVML for an NVIDIA GPU (`counters.nvml`). An unknown is None, never 0; a sum
that lacks a part is a lower bound and says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ofa.energy.counters import nvml, rapl
from ofa.energy.counters.base import Counter, Found, reason
from ofa.energy.counters.rapl import POWERCAP

MOST_W = 1000.0
"""More than a processor package takes: a counter that falls, and would have risen faster, did not wrap but started anew."""
SAMPLE_S = 10.0
"""Often enough to see every wraparound: the smallest range, 65 kJ, lasts 65 s at `MOST_W`."""


@dataclass(frozen=True)
class EnergyReading:
    """The energy between start and stop of a meter."""

    joules: float | None
    """A lower bound where something is missing; None where the device's own counter cannot be read."""
    seconds: float
    source: str
    """The counters that were added and what is missing beside them; or why nothing was counted."""
    missing: tuple[str, ...] = ()
    """Parts whose energy is not in `joules`, each with the reason."""


class EnergyMeter:
    """Measures the energy between `start` and `stop`: of processor and memory, and of a CUDA device that GPU.

    Never raises because of a counter: a reading says what is missing. One measurement at a time; a meter can be used again.

    Args:
        device: as torch names it.
        processor: whether processor and memory count; not where another process of the same work counts them.
        powercap: folder of the RAPL domains.
        sample_s: seconds between two looks at counters that wrap around.
    """

    def __init__(
        self, device: str = "cpu", *, processor: bool = True, powercap: Path = POWERCAP, sample_s: float = SAMPLE_S
    ) -> None:
        beside = rapl.find(powercap) if processor else Found()
        kind = device.partition(":")[0]
        if kind == "cpu":
            own, beside = beside, Found()
        elif kind == "cuda":
            own = nvml.find(device)
        else:
            own, beside = Found(missing=(f"none is known for device {device}",)), Found()
        if not own.counters and own.missing:
            beside = Found()  # a processor's joules are no reading of a GPU
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
        """True if the device's own energy can be read, or another process counts it."""
        return bool(self._own) or not self._missing

    def start(self) -> None:
        """Begin a measurement; a running one is abandoned."""
        self._end_thread()
        places = range(len(self._tallies))
        self._mirrors = {(i, j) for j in places for i in range(j)}
        self._tallies = [_Tally(tally.counter) for tally in self._tallies]
        self._sample()
        self._started = time.perf_counter()  # next to the readings, here and at the end: joules and seconds of one window
        self._done.clear()
        if any(tally.counter.range_j is not None for tally in self._tallies):
            self._thread = threading.Thread(target=self._watch, name="energy-meter", daemon=True)
            self._thread.start()

    def stop(self) -> EnergyReading:
        """End the measurement; raises `RuntimeError` when none was started (a mistake of the program)."""
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
        """The counters that were read; of those that mirror each other the one that has counted most."""
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
        """Read all counters forth and back.

        Two mirror each other as long as one always lies between two readings of the other: some processors show one counter
        under several names, and the values of separate counters differ.
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


class _Tally:
    """The joules of one counter since the measurement began."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.joules: float | None = None
        """None until a second reading."""
        self._last: tuple[float, float] | None = None
        self._unread = ""
        self._gaps: dict[str, None] = {}  # in order, each once

    def read(self, now_s: float) -> float | None:
        """Add what the counter has risen by since its last reading; its value, None where it cannot be read."""
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
    """Joules that a counter has certainly counted between two readings, and what is not known of them ("": nothing)."""
    range_j, most_j = counter.range_j, MOST_W * (seconds + 1)  # the second is for readings that follow each other closely
    gap = ""
    if range_j is not None and MOST_W * seconds > range_j:
        gap = f"not read for {seconds:.0f} s, in which it may have wrapped around"
    if after_j >= before_j:
        return after_j - before_j, gap
    if range_j is not None and after_j - before_j + range_j <= most_j:
        return after_j - before_j + range_j, gap
    if after_j <= most_j:
        return after_j, "it started anew; what it had counted until then is lost"
    return 0.0, f"it fell from {before_j:g} to {after_j:g} J"


def _between(low: float | None, value: float | None, high: float | None) -> bool:
    """True if a value may lie between two readings, the second of which may have wrapped around; None is an unknown."""
    if low is None or value is None or high is None:
        return True
    return low <= value <= high if low <= high else value >= low or value <= high


def _value(counter: Counter) -> float | None:
    try:
        return counter.read()
    except (OSError, ValueError):
        return None
