"""Units of time in other people's files: what the user says, or ms where the speed that this means is a usual one."""

from __future__ import annotations

from ofa.errors import UserError

MS_PER_UNIT = {"ms": 1.0, "us": 1e-3, "s": 1e3}
"""Units that a file's times may be in, and how many ms one is."""
USUAL_GMAC_PER_S = (0.05, 500.0)
"""Usual speeds of one image at a time, in 1e9 multiply-accumulates per second, from a slow processor to a fast accelerator.

No law: a microcontroller is slower, so times outside lead to a question that `--unit` answers, never to a refusal. Phones
have 1 to 15 (the published tables of Note10 and Pixel 1), so a phone's seconds or microseconds, read as ms, lie outside.
"""
OVERHEAD_MS = 20.0
"""Time that a call may take whatever it computes: below it, a slow speed says nothing of the unit."""
BATCH_SPEED_UP = 4.0
"""Factor by which several images at a time may exceed the usual speeds."""


def check_unit(unit: str | None) -> None:
    """Raise `UserError` for a unit that is none of `MS_PER_UNIT`; None is one that nobody stated."""
    if unit is not None and unit not in MS_PER_UNIT:
        raise UserError(f"--unit is {unit}; allowed are {', '.join(MS_PER_UNIT)}")


def ms_per(unit: str | None) -> float:
    """Milliseconds per stated unit; 1 where none is stated."""
    return MS_PER_UNIT[unit or "ms"]


def stated(unit: str | None) -> str:
    """The unit of a file's times, and how it is known, for provenance."""
    return "ms, as nobody said otherwise" if unit is None else f"{unit}, as stated"


def doubt(macs: float, time_ms: float, batch: int = 1) -> str | None:
    """The reason to doubt that the time of a whole batch is in ms, in words; None where its speed is usual."""
    low, high = USUAL_GMAC_PER_S
    high *= BATCH_SPEED_UP if batch > 1 else 1
    rate = macs * batch * 1e-6 / time_ms
    if rate <= high and (rate >= low or time_ms <= OVERHEAD_MS):
        return None
    return f"implies {rate:.3g} GMAC/s if it is in ms, where {low:g} to {high:g} are usual"
