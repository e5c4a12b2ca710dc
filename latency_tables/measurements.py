"""End-to-end timings of networks from a CSV file. No torch here.

Columns: `space` (a name that ships, or a YAML file), `architecture` (JSON: ours as in `subnet.json`, or the published
package's `{"ks": [...], "e": [...], "d": [...]}`; or the path of such a file), `resolution` (may be empty where the JSON has
one), `latency_ms` (of the whole batch), and optionally `energy_mj` (of one image; empty where unknown). Paths are relative
to the CSV file.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from ofa import official
from ofa.errors import UserError
from ofa.files import read_json
from ofa.space import SearchSpace, load_space
from ofa.subnet import Subnet

REQUIRED = ("space", "architecture", "resolution", "latency_ms")
OPTIONAL = ("energy_mj",)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One network, and what its inference was measured to cost."""

    space: SearchSpace
    subnet: Subnet
    latency_ms: float
    """Of the whole batch."""
    energy_mj: float | None = None
    """Of one image."""
    place: str = "a timing"
    """Where it is from, for messages."""


def load_measurements(path: str | Path) -> list[Timing]:
    """The timings of a CSV file; raises `UserError` naming the line and column of a mistake."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    reader = csv.DictReader(text.splitlines(), strict=True)
    spaces: dict[str, SearchSpace] = {}
    timings = []
    try:
        _check_columns(path, reader.fieldnames or [])
        for row in reader:
            timings.append(_timing(row, f"{path}:{reader.line_num}", spaces, path.parent))
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not valid CSV: {error}") from None
    if not timings:
        raise UserError(f"{path}: has no rows; expected one per timed network")
    return timings


def _check_columns(path: Path, columns: Any) -> None:
    known = f"columns are {', '.join(REQUIRED)} and optionally {', '.join(OPTIONAL)}"
    for column in columns:
        if column not in REQUIRED + OPTIONAL:
            raise UserError(f"{path}:1: unknown column {column!r}; {known}")
    for column in REQUIRED:
        if column not in columns:
            raise UserError(f"{path}:1: column {column!r} is missing; {known}")


def _timing(row: dict[str, Any], place: str, spaces: dict[str, SearchSpace], folder: Path) -> Timing:
    if None in row or None in row.values():
        raise UserError(f"{place}: has not as many values as the first line has columns (JSON with commas must be quoted)")
    name = row["space"]
    try:
        if name not in spaces:
            spaces[name] = load_space(folder / name if name.endswith((".yaml", ".yml")) else name)
        subnet = _subnet(row, spaces[name], folder)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    energy = row.get("energy_mj") or None
    return Timing(
        space=spaces[name],
        subnet=subnet,
        latency_ms=_positive(row["latency_ms"], f"{place}: latency_ms"),
        energy_mj=None if energy is None else _positive(energy, f"{place}: energy_mj"),
        place=place,
    )


def _subnet(row: dict[str, Any], space: SearchSpace, folder: Path) -> Subnet:
    text = row["architecture"].strip()
    if text.startswith("{"):
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"architecture: not valid JSON: {error.msg}") from None
    else:
        data = read_json(folder / text)
    resolution = _resolution(row["resolution"])
    if not isinstance(data, dict):
        raise UserError(f"architecture: expected an object, got {data!r}")
    if "stages" not in data:
        if resolution is None:
            raise UserError("resolution is empty; an architecture of the published package does not say it")
        return official.to_subnet(space, data, resolution)
    subnet = Subnet.from_dict(data, "architecture")
    if resolution not in (None, subnet.resolution):
        raise UserError(f"resolution is {resolution}, but the architecture's is {subnet.resolution}")
    space.check(subnet)
    if subnet.resolution < space.total_stride:
        raise UserError(f"resolution is {subnet.resolution}; must be at least {space.total_stride}")
    return subnet


def _resolution(text: str) -> int | None:
    if not text.strip():
        return None
    try:
        return int(text)
    except ValueError:
        raise UserError(f"resolution is {text!r}; expected a whole number of pixels") from None


def _positive(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{place} is {text!r}; expected a number") from None
    if not (isfinite(value) and value > 0):
        raise UserError(f"{place} is {text}; must be finite and above 0")
    return value
