"""Checks of numbers that formulas are given: a footprint of NaN or of less than nothing is a mistake, not a result."""

from __future__ import annotations

from math import isfinite
from numbers import Real

from ofa.errors import UserError


def number(name: str, value: float, *, least: float = 0.0, above: float | None = None, most: float | None = None) -> float:
    """The value as a float: finite, at least `least` or above `above`, and at most `most`. `name` is for messages.

    Raises:
        UserError: it is no number, not finite, or out of range.
    """
    allowed = f"at least {least:g}" if above is None else f"above {above:g}"
    allowed += "" if most is None else f" and at most {most:g}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UserError(f"{name} is {value!r}; expected a number, {allowed}")
    try:
        given = float(value)
    except OverflowError:
        raise UserError(f"{name} is {value}; must be finite and {allowed}") from None
    too_low = given < least if above is None else given <= above
    if not isfinite(given) or too_low or (most is not None and given > most):
        raise UserError(f"{name} is {given:g}; must be finite and {allowed}")
    return given


def whole(name: str, value: int, least: int, most: int | None = None) -> int:
    """The value as a whole number within bounds; raises `UserError` otherwise."""
    given = number(name, value, least=least, most=most)
    if given != int(given):
        raise UserError(f"{name} is {given:g}; must be a whole number")
    return int(given)
