"""The protocol of an energy counter.

To add a kind of counter (`zeus`, `codecarbon`), write a file beside `rapl` and `nvml` with a class that has these three
members and a function `find` that returns a `Found`, and call it in `ofa.energy.meter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Counter(Protocol):
    """Energy of one part of a machine in joules: a number that only rises, until it wraps around or is reset."""

    name: str
    """Kind of counter and part of the machine: `RAPL package-0`."""
    range_j: float | None
    """Value at which it wraps around to 0; None: it never does."""

    def read(self) -> float:
        """Joules since an arbitrary moment; raises `OSError` or `ValueError` when it cannot be read."""
        ...


@dataclass(frozen=True)
class Found:
    """The counters of a processor or of a device."""

    counters: tuple[Counter, ...] = ()
    missing: tuple[str, ...] = ()
    """Parts that should be counted and cannot be read, each with the reason."""


def reason(error: Exception) -> str:
    """The text of an error, without error number and file name."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
