"""An energy counter, as the meter sees it.

Another kind (`zeus`, `codecarbon`) is a file beside `rapl` and `nvml` with a class of these three members and a function
`find` that gives what it found, and a line in `ofa.energy.meter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Counter(Protocol):
    """Joules of one part of a machine: a number that only rises, until it wraps around or starts anew."""

    name: str
    """Kind and part: `RAPL package-0`."""
    range_j: float | None
    """The value at which it wraps around to 0; None: it never does."""

    def read(self) -> float:
        """Joules since some moment; raises `OSError` or `ValueError` when it cannot be read."""
        ...


@dataclass(frozen=True)
class Found:
    """The counters of a processor or of a device."""

    counters: tuple[Counter, ...] = ()
    missing: tuple[str, ...] = ()
    """Parts that should be counted and cannot be read, each with the reason."""


def reason(error: Exception) -> str:
    """The words of an error, without number and file name."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
