"""End-to-end timings of networks from a CSV file. No torch here.

Columns: `space` (a name that ships, or a YAML file), `architecture` (JSON: ours as in `subnet.json`, or the published
package's `{"ks": [...], "e": [...], "d": [...]}`; or the path of such a file), `resolution` (may be empty where the JSON has
one), `latency_ms` (of the whole batch; in ms unless the caller states another unit), and optionally `energy_mj` (of one
image; empty where unknown), `meter` and `boundary` (what the energy was measured with, and where). Paths are relative to the
CSV file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

from latency_tables.units import doubt, ms_per
from ofa import official
from ofa.errors import SHOWN, UserError
from ofa.files.atomic import read_json
from ofa.files.csv_table import read_table
from ofa.space import shapes
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.shapes import walk_blocks
from ofa.space.subnet import Subnet

REQUIRED = ("space", "architecture", "resolution", "latency_ms")
OPTIONAL = ("energy_mj", "meter", "boundary")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One network with the measured cost of its inference."""

    space: SearchSpace
    subnet: Subnet
    latency_ms: float
    """Latency of the whole batch."""
    energy_mj: float | None = None
    """Energy of one image."""
    meter: str = ""
    boundary: str = ""
    """Meter of the energy, and what it fed; empty where nobody stated it."""
    place: str = "a timing"
    """File and line, for messages."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(shapes.macs(block.ops) for block in walk_blocks(self.space, self.subnet))


def load_timings(path: str | Path, unit: str | None = None, batch: int = 1) -> list[Timing]:
    """The timings of a CSV file.

    Args:
        path: the file.
        unit: that its latencies are in, whatever their column is called (`units.MS_PER_UNIT`); None: ms, where the speed
            that they imply is a usual one.
        batch: images per timed inference.

    Raises:
        UserError: naming line and column of a mistake; or the latencies seem to be in another unit, and none is stated.
    """
    table = read_table(path, REQUIRED, OPTIONAL)
    latency = [ms_per(unit) * value for value in table.numbers("latency_ms")]
    energy = table.numbers("energy_mj", empty=nan) if "energy_mj" in table.columns else [nan] * len(latency)
    spaces: dict[str, SearchSpace] = {}
    timings = []
    for i, line in enumerate(table.lines):
        row = {name: values[i] for name, values in table.columns.items()}
        place = f"{table.path}:{line}"
        try:
            space, subnet = _network(row, spaces, table.path.parent)
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        known = None if isnan(energy[i]) else energy[i]
        stated = {name: row.get(name, "") for name in ("meter", "boundary")}
        timings.append(Timing(space=space, subnet=subnet, latency_ms=latency[i], energy_mj=known, place=place, **stated))
    if unit is None and timings:
        _check_unit(timings, batch)
    return timings


def _check_unit(timings: list[Timing], batch: int) -> None:
    """Ask for the unit where the speed that ms would mean is unusual, of half of the networks at least."""
    middle = sorted(timings, key=lambda timing: timing.macs / timing.latency_ms)[len(timings) // 2]
    unusual = doubt(middle.macs, middle.latency_ms, batch)
    if unusual:
        raise UserError(
            f"{middle.place}: latency_ms is {middle.latency_ms:g}, which {unusual}: which unit is it? State it to take the "
            "timings as they are: --unit ms, us or s"
        )


def _network(row: dict[str, str], spaces: dict[str, SearchSpace], folder: Path) -> tuple[SearchSpace, Subnet]:
    """The space and the subnet of a row; `spaces` holds the spaces read so far, by name."""
    name = row["space"]
    if name not in spaces:
        spaces[name] = load_space(folder / name if name.endswith((".yaml", ".yml")) else name)
    return spaces[name], _subnet(row, spaces[name], folder)


def _subnet(row: dict[str, str], space: SearchSpace, folder: Path) -> Subnet:
    text = row["architecture"]
    if text.startswith("{"):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits and deep nesting too
            raise UserError(f"architecture: not valid JSON: {str(error)[:SHOWN]}") from None
    else:
        data = read_json(folder / text)
    resolution = _resolution(row["resolution"])
    if not isinstance(data, dict):
        raise UserError(f"architecture: expected an object, got {data!r}")
    if "stages" not in data:
        if resolution is None:
            raise UserError("resolution is empty; an architecture of the published package does not have one")
        return official.to_subnet(space, data, resolution)
    subnet = Subnet.from_dict(data, "architecture")
    if resolution not in (None, subnet.resolution):
        raise UserError(f"resolution is {resolution}, but the architecture's is {subnet.resolution}")
    space.check(subnet)
    if subnet.resolution < space.total_stride:
        raise UserError(f"resolution is {subnet.resolution}; must be at least {space.total_stride}")
    return subnet


def _resolution(text: str) -> int | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise UserError(f"resolution is {text!r}; expected a whole number of pixels") from None
