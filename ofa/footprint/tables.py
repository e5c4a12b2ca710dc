"""Collected figures: grid intensity, accelerators' power, ways to send data, manufacture of devices. No torch.

Each row has its year, its source and how far it was checked; `data/SOURCES.md` has the licences. The files that ship are
compared with `data/checksums.json` and refused where they differ. Nothing is looked up on a network.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ofa.errors import UserError
from ofa.files.atomic import sha256
from ofa.files.csv_table import Table, read_table
from ofa.files.vouched import read_vouched_json

DATA = Path(__file__).resolve().parent / "data"
ADVICE = "install the package again"
MOST_G_PER_KWH = 5000.0
"""Intensity that no grid has: the dirtiest oil and lignite emit less than 2,000."""
SHOWN = 5
"""Names that a message suggests."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """An electricity grid, location-based."""

    region: str
    """ISO 3166 code of three letters, PROVIDER:REGION of a cloud, or a name of one's own."""
    alpha_2: str
    """ISO 3166 code of two letters; empty: not a country."""
    name: str
    year: str
    """Year of the figure; empty: not stated."""
    g_per_kwh: float
    pue: float | None
    """PUE of the cloud's data centre there; None: unknown, or no data centre."""
    basis: str
    source: str

    def sentence(self) -> str:
        """Intensity, place, year and source, on a line."""
        year = self.year or "year not stated"
        return f"{self.g_per_kwh:g} g CO2e/kWh: {self.name} ({self.region}), {year}; {self.source}"


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A processor with its power."""

    name: str
    watts: float
    """TDP, or the mean consumption where the note says so."""
    note: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Pue:
    """A power usage effectiveness: energy of a data centre over that of its computers."""

    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Route:
    """A way to send data: the device's radio and the network behind it."""

    by: str
    j_per_byte: float | None
    """Energy of a byte in the radio; None: unknown."""
    wake_j: float
    tail_j: float
    kwh_per_gb: float
    radio_source: str
    network_source: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device whose manufacture is known."""

    name: str
    what: str
    kg: float
    lifetime_years: float | None
    scope: str
    source: str


def find_grid(word: str, file: Path | None = None) -> Grid:
    """A grid by region, code of two letters or name, or by its intensity in g CO2e/kWh; `file` replaces those that ship.

    Raises:
        UserError: several grids have this name; or it is unknown, and the message names the nearest; or no intensity.
    """
    try:
        grams = float(word)
    except ValueError:
        grids = read_grids(file) if file is not None else shipped_grids()
        found = [grid for grid in grids if word and word.casefold() in (*_names(grid), grid.alpha_2.casefold())]
        named = [grid for grid in found if word.casefold() == grid.region.casefold()] or found
        if len(named) == 1:
            return named[0]
        if named:
            regions = ", ".join(grid.region for grid in named)
            raise UserError(f"grid {word!r} is ambiguous; it may be any of {regions}") from None
        names = [name for grid in grids for name in _names(grid)]
        raise UserError(f"grid {word!r} is unknown; {_near(word, names)}or give g CO2e/kWh") from None
    if not 0 <= grams <= MOST_G_PER_KWH:
        allowed = f"at least 0 and at most {MOST_G_PER_KWH:g}"
        raise UserError(f"grid is {word}; as an intensity in g CO2e/kWh it must be {allowed}")
    return Grid(region="given", alpha_2="", name="as given", year="", g_per_kwh=grams, pue=None, basis="", source="the user")


@cache
def shipped_grids() -> list[Grid]:
    """The grids that ship; raises `UserError` where their file is damaged."""
    return read_grids(_checked("grid"))


def read_grids(path: Path) -> list[Grid]:
    """The grids of a CSV with the columns `region`, `year`, `g_per_kwh`, `source` and perhaps `alpha_2`, `name`, `pue`,
    `basis`.

    Raises:
        UserError: the file is damaged, a region is missing or given twice, or a number is none; the message has the line.
    """
    table = read_table(path, ("region", "year", "g_per_kwh", "source"), ("alpha_2", "name", "pue", "basis"))
    places: dict[str, int] = {}
    for i, region in enumerate(table.columns["region"]):
        if not region or region.casefold() in places:
            first = f" and on line {table.lines[places[region.casefold()]]}" if region else ""
            raise UserError(f"{table.place(i, 'region')} is {region!r}{first}; must be there, and only once")
        places[region.casefold()] = i
        year = table.columns["year"][i]
        if year and not (year.isdecimal() and 1900 <= int(year) <= 2100):
            raise UserError(f"{table.place(i, 'year')} is {year!r}; must be a year, or nothing")
    names = table.columns.get("name", table.columns["region"])
    pues = _numbers(table, "pue", least=1.0) if "pue" in table.columns else [None] * len(names)
    empty = [""] * len(names)
    return [
        Grid(
            region=table.columns["region"][i],
            alpha_2=table.columns.get("alpha_2", empty)[i],
            name=names[i],
            year=table.columns["year"][i],
            g_per_kwh=grams,
            pue=pues[i],
            basis=table.columns.get("basis", empty)[i],
            source=table.columns["source"][i],
        )
        for i, grams in enumerate(_required(table, "g_per_kwh", MOST_G_PER_KWH))
    ]


def find_accelerator(word: str) -> Accelerator:
    """An accelerator by name or short name; raises `UserError` where it is unknown."""
    table = _shipped("accelerators", ("name", "short", "type", "watts", "note", "source"))
    columns = table.columns
    watts = _required(table, "watts")
    names = {name.casefold(): i for i, name in enumerate(columns["name"])}
    names |= {short.casefold(): i for i, short in enumerate(columns["short"]) if short}
    if word.casefold() not in names:
        raise UserError(f"accelerator {word!r} is unknown; {_near(word, names)}or give its power")
    i = names[word.casefold()]
    return Accelerator(name=columns["name"][i], watts=watts[i], note=columns["note"][i], source=columns["source"][i])


def find_pue(word: str) -> Pue:
    """A PUE as a number, or that of an operator (its latest year); raises `UserError` for others."""
    try:
        value = float(word)
    except ValueError:
        table = _shipped("pue", ("what", "pue", "year", "source"))
        rows = {what.casefold(): i for i, what in enumerate(table.columns["what"])}  # the last row is the latest year
        if word.casefold() not in rows:
            raise UserError(f"PUE {word!r} is unknown; give a number, or one of {', '.join(rows)}") from None
        i = rows[word.casefold()]
        what, year, source = (table.columns[name][i] for name in ("what", "year", "source"))
        return Pue(value=_required(table, "pue")[i], source=f"{what}, {year or 'no year'} ({source})")
    if not (math.isfinite(value) and value >= 1):
        raise UserError(f"PUE is {word}; must be finite and at least 1")
    return Pue(value=value, source="as given")


def routes() -> dict[str, Route]:
    """The ways to send data, by name."""
    columns = ("by", "part", "j_per_byte", "wake_j", "tail_j", "kwh_per_gb", "year", "boundary", "source", "checked")
    table = _shipped("transmission", columns)
    cells = table.columns
    numbers = {name: _numbers(table, name) for name in ("j_per_byte", "wake_j", "tail_j", "kwh_per_gb")}
    rows = {(by, part): i for i, (by, part) in enumerate(zip(cells["by"], cells["part"], strict=True))}
    found = {}
    for by, part in rows:
        if part == "radio":
            radio, network = rows[by, part], rows[by, "network"]
            found[by] = Route(
                by=by,
                j_per_byte=numbers["j_per_byte"][radio],
                wake_j=numbers["wake_j"][radio] or 0.0,
                tail_j=numbers["tail_j"][radio] or 0.0,
                kwh_per_gb=numbers["kwh_per_gb"][network] or 0.0,
                radio_source=_origin(table, radio),
                network_source=_origin(table, network),
            )
    return found


def find_route(word: str) -> Route:
    """A way to send data by name; raises `UserError` where it is unknown."""
    known = routes()
    if word.casefold() not in known:
        raise UserError(f"way to send {word!r} is unknown; known are {', '.join(known)}")
    return known[word.casefold()]


def find_device(word: str) -> Device:
    """A device whose manufacture is known, by name; raises `UserError` where it is unknown."""
    table = _shipped("embodied", ("name", "what", "kg", "lifetime_years", "scope", "source", "licence"))
    columns = table.columns
    if word.casefold() not in columns["name"]:
        raise UserError(f"device {word!r} is unknown; known are {', '.join(columns['name'])}")
    i = columns["name"].index(word.casefold())
    years = _numbers(table, "lifetime_years")[i]
    kg = _required(table, "kg")[i]
    text = {name: columns[name][i] for name in ("name", "what", "scope", "source")}
    return Device(kg=kg, lifetime_years=years, **text)


def _shipped(name: str, columns: tuple[str, ...]) -> Table:
    return read_table(_checked(name), columns, ())


def _checked(name: str) -> Path:
    """The file of a table that ships; raises `UserError` where it is not the one that was written."""
    sums = read_vouched_json(DATA / "checksums.json", ADVICE, ("files",))["files"]
    file = DATA / f"{name}.csv"
    if sha256(file) != sums.get(file.name):
        raise UserError(f"{file}: damaged or changed: another digest than in checksums.json; {ADVICE}")
    return file


def _names(grid: Grid) -> tuple[str, ...]:
    """The words that find a grid, apart from its code of two letters; in lower case."""
    return tuple(word.casefold() for word in (grid.region, grid.region.rpartition(":")[2], grid.name))


def _origin(table: Table, row: int) -> str:
    boundary, source, checked = (table.columns[name][row] for name in ("boundary", "source", "checked"))
    return f"{boundary} ({source}; {checked})"


def _numbers(table: Table, column: str, least: float = 0.0) -> list[float | None]:
    """A column of numbers of at least `least`; None for empty cells. Raises `UserError` with the line."""
    values: list[float | None] = []
    for i, text in enumerate(table.columns[column]):
        try:
            value = float(text) if text else None
        except ValueError:
            raise UserError(f"{table.place(i, column)} is {text!r}; expected a number, or nothing") from None
        if value is not None and not (math.isfinite(value) and value >= least):
            raise UserError(f"{table.place(i, column)} is {text}; must be finite and at least {least:g}")
        values.append(value)
    return values


def _required(table: Table, column: str, most: float = math.inf) -> list[float]:
    """A column of numbers of at least 0, none of them empty or above `most`."""
    values = _numbers(table, column)
    for i, value in enumerate(values):
        if value is None:
            raise UserError(f"{table.place(i, column)} is empty; expected a number")
        if value > most:
            raise UserError(f"{table.place(i, column)} is {value:g}; must be at most {most:g}")
    return [value for value in values if value is not None]


def _near(word: str, names: Iterable[str]) -> str:
    """The known names that look like a word, as the middle of a message."""
    close = difflib.get_close_matches(word.casefold(), list(names), SHOWN, 0.5)
    return f"nearest are {', '.join(close)}; " if close else "docs/footprint.md has the list; "
