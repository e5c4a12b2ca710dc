"""A line of a published lookup table: its key parsed into operations, its value checked; see `published.tables`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

from ofa.errors import UserError
from ofa.space.ops import conv, make_divisible, se_channels
from ofa.space.shapes import BlockShape, OpShape

_KEY = re.compile(
    r"(?P<op>\w+)-input:(?P<in_size>\d+)x(?P<in_height>\d+)x(?P<in_channels>\d+)"
    r"-output:(?:(?P<out_size>\d+)x(?P<out_height>\d+)x)?(?P<out_channels>\d+)"
    r"(?:-expand:(?P<expand>\d+)-kernel:(?P<kernel>\d+)-stride:(?P<stride>\d+)-idskip:(?P<idskip>[01])"
    r"(?:-se:(?P<se>[01])-hs:(?P<hs>[01]))?)?"
)
_EXAMPLE = "expanded_conv-input:56x56x32-output:56x56x32-expand:128-kernel:3-stride:1-idskip:1-se:0-hs:0"
FORMATS = (".yaml", ".yml", ".json")
"""Endings of the names of tables."""
STEM, BLOCK, POOL = "Conv", "expanded_conv", "AvgPool2D"
HEAD = ("Conv_1", POOL, "Conv_2", "Logits")
"""Operations of the head in order; a ProxylessNAS table has only the first and the last, which includes the pool's time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a table: the operations it stands for, and their time."""

    op: str
    ops: tuple[OpShape, ...]
    residual: bool
    mean_ms: float
    std_ms: float
    count: int


def parse(key: str, value: Any, v3: bool, unit_ms: float, place: str) -> Entry:
    """An entry of a table; raises `UserError` that names the place and the key.

    The key has the operations and their sizes, the value mean, deviation and count of their time, in units of `unit_ms`;
    `v3`: it is MobileNetV3's table, whose blocks have `se:` and `hs:`.
    """
    match = _KEY.fullmatch(key)
    if match is None or match["op"] not in (STEM, BLOCK, *HEAD):
        raise UserError(f"{place}: key {key!r} is not of a published table; one looks like {_EXAMPLE!r}")
    place = f"{place}: key {key!r}"
    given = {name: int(text) for name, text in match.groupdict().items() if text is not None and name != "op"}
    if given["in_size"] != given["in_height"] or given.get("out_size") != given.get("out_height"):
        raise UserError(f"{place}: feature maps are not square")
    if (match["op"] == BLOCK) != ("kernel" in given):
        raise UserError(f"{place}: expand, kernel, stride and idskip belong to {BLOCK}, and to it only")
    if match["op"] == BLOCK and v3 != ("se" in given):
        raise UserError(f"{place}: se and hs are in some keys of the file and not in others; it mixes two formats")
    mean, std, count = _time(value, place)
    try:
        ops = tuple(_ops(match["op"], given, v3))
    except ValueError as error:
        raise UserError(f"{place}: {error}") from None
    return Entry(match["op"], ops, bool(given.get("idskip")), unit_ms * mean, unit_ms * std, count)


def _time(value: Any, place: str) -> tuple[float, float, int]:
    """Mean and standard deviation, in the file's unit, and count of an entry."""
    deviation_name = next((name for name in ("std", "var") if isinstance(value, dict) and name in value), "std")
    known = ("mean", deviation_name, "count")
    if not isinstance(value, dict) or set(value) != set(known):
        got = ", ".join(map(str, value)) if isinstance(value, dict) else repr(value)
        raise UserError(f"{place}: has {got}; expected mean, std (or var, its square) and count")
    numbers = {name: _number(value[name], name, place) for name in known}
    for name, number in numbers.items():
        if number < 0 or (name != deviation_name and number == 0):
            raise UserError(f"{place}: {name} is {number:g}; must be {'at least' if name == deviation_name else 'above'} 0")
    if not numbers["count"].is_integer():
        raise UserError(f"{place}: count is {value['count']}; must be a whole number")
    deviation = sqrt(numbers["var"]) if deviation_name == "var" else numbers["std"]
    return numbers["mean"], deviation, int(numbers["count"])


def _number(value: Any, name: str, place: str) -> float:
    """A finite number; also as text, for PyYAML reads `1e-05` as such."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not isfinite(number):
        raise UserError(f"{place}: {name} is {value!r}; must be a finite number")
    return number


def _ops(op: str, given: dict[str, int], v3: bool) -> Iterator[OpShape]:
    """The operations that a key stands for; `ValueError` where its numbers contradict each other."""
    in_size, in_channels, out_channels = given["in_size"], given["in_channels"], given["out_channels"]
    if op == BLOCK:
        yield from _block_ops(given)
        return
    if op == "Logits":
        yield OpShape("linear", in_channels, out_channels, 1, 1, bias=True)
        return
    if "out_size" not in given:
        raise ValueError("output has no size")
    if op == POOL:
        yield OpShape("global_pool", in_channels, out_channels, in_size, 1)
    elif op == "Conv_2":
        yield OpShape("conv", in_channels, out_channels, 1, 1, activation="h_swish")
    elif op == "Conv_1":
        yield conv(in_channels, out_channels, 1, in_size, 1, "h_swish" if v3 else "relu6")
    else:
        yield conv(in_channels, out_channels, 3, in_size, 2, "h_swish" if v3 else "relu6")
        _check_size(given["out_size"], in_size, 2)


def _block_ops(given: dict[str, int]) -> Iterator[OpShape]:
    in_channels, out_channels, kernel, stride = (given[key] for key in ("in_channels", "out_channels", "kernel", "stride"))
    v3 = "se" in given
    hidden = given["expand"] if v3 else make_divisible(in_channels * given["expand"])
    if given["idskip"] and (stride != 1 or in_channels != out_channels):
        raise ValueError(f"idskip is 1 with stride {stride}, {in_channels} to {out_channels} channels; input is not output")
    if kernel % 2 == 0 or stride not in (1, 2):
        raise ValueError(f"kernel is {kernel} and stride {stride}; kernels are odd, strides 1 or 2")
    activation = ("h_swish" if given["hs"] else "relu") if v3 else "relu6"
    if hidden != in_channels:
        yield conv(in_channels, hidden, 1, given["in_size"], 1, activation)
    depthwise = conv(hidden, hidden, kernel, given["in_size"], stride, activation, groups=hidden)
    size = depthwise.out_size
    _check_size(given.get("out_size"), given["in_size"], stride)
    yield depthwise
    if v3 and given["se"]:
        squeezed = se_channels(hidden)
        yield OpShape("global_pool", hidden, hidden, size, 1)
        yield OpShape("conv", hidden, squeezed, 1, 1, bias=True, activation="relu")
        yield OpShape("conv", squeezed, hidden, 1, 1, bias=True, activation="h_sigmoid")
        yield OpShape("scale", hidden, hidden, size, size)
    yield conv(hidden, out_channels, 1, size, 1, "none")
    if given["idskip"]:
        yield OpShape("add", out_channels, out_channels, size, size)


def _check_size(given: int | None, in_size: int, stride: int) -> None:
    wanted = (in_size - 1) // stride + 1
    if given != wanted:
        raise ValueError(f"output is {given} px; {in_size} px at stride {stride} gives {wanted}")


def looks_published(data: dict[Any, Any]) -> bool:
    """Tell whether parsed YAML is a published table: its keys are operations with `-input:`."""
    return any("-input:" in str(key) for key in data)


def key_of(shape: BlockShape, v3: bool) -> str:
    """The published key of a stage's block."""
    depthwise = next(op for op in shape.main if op.groups > 1)
    ops = [op for op in shape.main if op.kind == "conv"]
    inputs, hidden, out_channels = ops[0].in_channels, depthwise.in_channels, ops[-1].out_channels
    size, out_size = shape.main[0].in_size, depthwise.out_size
    expand = hidden if v3 else round(hidden / inputs)
    key = f"{BLOCK}-input:{size}x{size}x{inputs}-output:{out_size}x{out_size}x{out_channels}-expand:{expand}"
    key += f"-kernel:{depthwise.kernel}-stride:{depthwise.stride}-idskip:{shape.residual:d}"
    se = any(op.kind == "scale" for op in shape.main)
    return f"{key}-se:{se:d}-hs:{depthwise.activation == 'h_swish':d}" if v3 else key
