"""Bounds declared as annotations: checked when a dataclass is made, by the loader with the key's line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, nan
from pathlib import Path
from typing import Annotated, Any

import pytest

from ofa.errors import UserError
from ofa.files.bounds import (
    FINITE,
    Above,
    AtLeast,
    AtMost,
    Below,
    Bounded,
    BoundError,
    Count,
    Fraction,
    NotEmpty,
    NotNegative,
    OneOf,
    UnitInterval,
    WholeNumber,
)
from ofa.files.schema import build, load_yaml


@dataclass(frozen=True, kw_only=True)
class Oven(Bounded):
    trays: Count = 1
    minutes: WholeNumber = 0
    power: NotNegative = 0.0
    share: UnitInterval = 0.0
    loss: Fraction = 0.0
    heat: Annotated[float, Above(0), FINITE] | None = None
    tilt: Annotated[float, Above(-1), AtMost(1)] = 0.0
    mode: Annotated[str, OneOf(("top", "bottom"))] = "top"
    held: Annotated[int, AtLeast(1)] | Annotated[float, Above(0), Below(1)] | None = None
    cakes: Annotated[tuple[Annotated[str, OneOf(("plum", "nut"))], ...], NotEmpty("an oven bakes one at least")] = ("nut",)
    sizes: tuple[Annotated[float, Above(0)], ...] = ()
    free: int = 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trays": 0}, "trays is 0; must be at least 1"),
        ({"minutes": -1}, "minutes is -1; must be at least 0"),
        ({"power": -0.5}, "power is -0.5; must be at least 0 and finite"),
        ({"power": inf}, "power is inf; must be at least 0 and finite"),
        ({"power": nan}, "power is nan; must be at least 0 and finite"),
        ({"share": 1.01}, "share is 1.01; must be at least 0 and at most 1"),
        ({"loss": 1.0}, "loss is 1.0; must be at least 0 and below 1"),
        ({"heat": 0.0}, "heat is 0.0; must be above 0 and finite"),
        ({"tilt": -1.0}, "tilt is -1.0; must be above -1 and at most 1"),
        ({"mode": "side"}, "mode is 'side'; allowed are top, bottom"),
        ({"held": 0}, "held is 0; must be a whole number at least 1 or a number above 0 and below 1"),
        ({"held": 1.0}, "held is 1.0; must be a whole number at least 1 or a number above 0 and below 1"),
        ({"cakes": ()}, "cakes is empty; an oven bakes one at least"),
        ({"cakes": ("nut", "cheese")}, "cakes has 'cheese'; allowed are plum, nut"),
        ({"sizes": (1.0, 0.0)}, "sizes has 0.0; must be above 0"),
        ({"sizes": (nan,)}, "sizes has nan; must be above 0"),
    ],
)
def test_a_value_outside_is_named_with_what_is_allowed(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BoundError) as caught:
        Oven(**values)
    assert (str(caught.value), caught.value.field) == (message, next(iter(values)))
    with pytest.raises(UserError, match="; "):
        replace(Oven(), **values)
    file = tmp_path / "oven.yaml"
    (name, value), named = next(iter(values.items())), {inf: ".inf", nan: ".nan"}
    text = str(list(value)).replace("nan", ".nan") if isinstance(value, tuple) else named.get(value, value)
    file.write_text(f"free: 3\n# a comment\n{name}: {text}\n")
    with pytest.raises(UserError) as told:
        build(Oven, load_yaml(file), "oven.yaml")
    assert str(told.value) == f"oven.yaml:3: {message}"


@pytest.mark.parametrize(
    "values",
    [
        {"trays": 1, "minutes": 0, "power": 0.0, "share": 1.0, "loss": 0.0, "heat": 1e-9, "tilt": 1.0, "mode": "bottom"},
        {"held": 1, "cakes": ("plum",), "sizes": (1.0,), "free": -5},
        {"held": 0.5, "heat": None, "power": 1, "share": 0, "sizes": (2,)},
    ],
)
def test_the_limits_themselves_are_as_they_say(values: dict[str, Any]) -> None:
    assert all(getattr(Oven(**values), name) == value for name, value in values.items())


def test_a_dataclass_with_further_checks_has_both() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Pair(Bounded):
        low: WholeNumber
        high: WholeNumber

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.low > self.high:
                raise ValueError("low is above high")

    with pytest.raises(UserError, match="low is -1; must be at least 0"):
        Pair(low=-1, high=-2)
    with pytest.raises(UserError, match="file: low is above high"):
        build(Pair, {"low": 2, "high": 1}, "file")
    with pytest.raises(UserError, match="file: high is -1; must be at least 0"):
        build(Pair, {"low": 2, "high": -1}, "file")
