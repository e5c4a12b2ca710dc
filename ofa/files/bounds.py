"""Bounds of values, declared in the annotations of dataclass fields: checked at construction, and in schemas for editors.

    epochs: Annotated[int, AtLeast(1)]
    precision: Annotated[str, OneOf(("fp32", "bf16"))] = "fp32"

A dataclass with such fields inherits `Bounded`. The loader (`ofa.files.schema`) adds the file and the key's line to error
messages, and `ofa.files.json_schema` writes the same bounds for editors.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from math import copysign, inf, isinf
from types import NoneType, UnionType
from typing import Annotated, Any, Protocol, Union, get_args, get_origin, get_type_hints, runtime_checkable

from ofa.errors import UserError

Check = Callable[[str, Any, str], str | None]
"""Takes the name of a value, the value, and `is` or `has`; returns the error, None if there is none."""


class BoundError(UserError):
    """A value outside its bounds; `field` is the name of the dataclass's field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@runtime_checkable
class Bound(Protocol):
    """A rule that a value must satisfy."""

    def complaint(self, name: str, value: Any, verb: str) -> str | None:
        """The error, `NAME is VALUE; what is allowed` (`verb`: `is`, or `has` for an item of a list); None: no error."""

    def as_json(self) -> dict[str, Any]:
        """The bound as JSON schema, as far as that can express it."""


@dataclass(frozen=True)
class _Limit:
    """One end of an interval; a message names all limits of a value together."""

    words: str
    """The limit in words, as in `at least`."""
    keyword: str
    """The keyword in JSON schema."""
    holds: Callable[[Any, Any], bool]
    """Takes a value and the limit, returns whether the value is within."""
    limit: float

    def __str__(self) -> str:
        return "finite" if isinf(self.limit) else f"{self.words} {self.limit:g}"

    def complaint(self, name: str, value: Any, verb: str) -> str | None:
        return None if self.holds(value, self.limit) else f"{name} {verb} {value!r}; must be {self}"

    def as_json(self) -> dict[str, Any]:
        if isinf(self.limit):  # JSON has no infinity
            return {self.keyword.replace("exclusiveM", "m"): copysign(sys.float_info.max, self.limit)}
        return {self.keyword: self.limit}


AtLeast = partial(_Limit, "at least", "minimum", operator.ge)
Above = partial(_Limit, "above", "exclusiveMinimum", operator.gt)
AtMost = partial(_Limit, "at most", "maximum", operator.le)
Below = partial(_Limit, "below", "exclusiveMaximum", operator.lt)
FINITE = Below(inf)
NOUNS = {int: "a whole number", float: "a number"}
"""Words for the types of numbers, in messages."""

Count = Annotated[int, AtLeast(1)]
WholeNumber = Annotated[int, AtLeast(0)]
Finite = Annotated[float, Above(-inf), FINITE]
Positive = Annotated[float, Above(0), FINITE]
NotNegative = Annotated[float, AtLeast(0), FINITE]
UnitInterval = Annotated[float, AtLeast(0), AtMost(1)]
Fraction = Annotated[float, AtLeast(0), Below(1)]


@dataclass(frozen=True)
class OneOf:
    """Bound of a value that must be one of a few."""

    allowed: tuple[Any, ...]

    def complaint(self, name: str, value: Any, verb: str) -> str | None:
        """Refuse other values, naming the allowed ones."""
        return None if value in self.allowed else f"{name} {verb} {value!r}; allowed are {', '.join(map(str, self.allowed))}"

    def as_json(self) -> dict[str, Any]:
        """The allowed values as JSON schema."""
        return {"enum": list(self.allowed)}


@dataclass(frozen=True)
class NotEmpty:
    """Bound of a list that needs at least one item; `why` says so in the words of its field."""

    why: str

    def complaint(self, name: str, value: Any, verb: str) -> str | None:
        """Refuse an empty list, with the reason."""
        return None if value else f"{name} is empty; {self.why}"

    def as_json(self) -> dict[str, Any]:
        """The same rule as JSON schema."""
        return {"minItems": 1}


class Bounded:
    """Base class of dataclasses whose fields have bounds; a class with further checks calls this `__post_init__` first."""

    def __post_init__(self) -> None:
        """Check the bounds; raises `BoundError` for the first field that is outside."""
        cls: Any = type(self)
        for name, check in _bounded_fields(cls):
            wrong = check(name, getattr(self, name), "is")
            if wrong is not None:
                raise BoundError(name, wrong)


@cache
def _bounded_fields(cls: type) -> tuple[tuple[str, Check], ...]:
    hints = get_type_hints(cls, include_extras=True)
    return tuple((name, _check(hint)) for name, hint in hints.items() if _has_bounds(hint))


def _has_bounds(hint: Any) -> bool:
    return get_origin(hint) is Annotated or any(map(_has_bounds, get_args(hint)))


@cache
def _check(hint: Any) -> Check:
    """The check of a value against the bounds in its type hint, made once per hint; the value already has that type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if not _has_bounds(hint):
        return lambda name, value, verb: None
    if origin is Annotated:
        bounds, inside = bounds_of(hint), _check(arguments[0])
        return lambda name, value, verb: _first_complaint(bounds, name, value, verb) or inside(name, value, verb)
    if origin in (Union, UnionType):
        return partial(_complaint_of_union, tuple(option for option in arguments if option is not NoneType))
    if origin is tuple:
        of_item = _check(arguments[0])
        return lambda name, value, verb: next(filter(None, (of_item(name, item, "has") for item in value)), None)
    if origin is dict:
        of_entry = _check(arguments[1])
        return lambda name, value, verb: next(
            filter(None, (of_entry(f"{name}.{key}", entry, "is") for key, entry in value.items())), None
        )
    raise TypeError(f"bounds inside {hint} are not looked at")


def _complaint_of_union(options: tuple[Any, ...], name: str, value: Any, verb: str) -> str | None:
    """The error of a value against the option that has its type; where all options are numbers, the message names all."""
    if value is None:
        return None
    fitting = [option for option in options if _bare(option) is type(value)] or list(options)
    wrong = _check(fitting[0])(name, value, verb)
    if wrong is None or len(options) == 1 or not all(_bare(option) in NOUNS for option in options):
        return wrong
    allowed = " or ".join(f"{NOUNS[_bare(option)]} {_limits(bounds_of(option))}" for option in options)
    return f"{name} {verb} {value!r}; must be {allowed}"


def _first_complaint(bounds: tuple[Bound, ...], name: str, value: Any, verb: str) -> str | None:
    wrong = next(filter(None, (bound.complaint(name, value, verb) for bound in bounds)), None)
    if wrong is None or not all(isinstance(bound, _Limit) for bound in bounds):
        return wrong
    return f"{name} {verb} {value!r}; must be {_limits(bounds)}"


def _limits(bounds: tuple[Bound, ...]) -> str:
    return " and ".join(dict.fromkeys(map(str, bounds)))


@cache
def bounds_of(hint: Any) -> tuple[Bound, ...]:
    """The bounds of an annotated type."""
    return tuple(bound for bound in get_args(hint)[1:] if isinstance(bound, Bound))


@cache
def _bare(hint: Any) -> Any:
    base = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return get_origin(base) or base
