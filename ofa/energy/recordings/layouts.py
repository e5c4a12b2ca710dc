"""Layouts of the files that meters export: which meter, and the quantity and unit of each column, by its header alone.

To add a meter, write a function that takes the header's cells and returns a `Layout`, or None for a file of another meter,
and put it into `LAYOUTS`. Units come from the header or from the maker's documentation of that header, never from a guess:
- Nordic PPK2: NordicSemiconductor/pc-nrfconnect-ppk, `src/actions/exportChartAction.ts`
- Joulescope: jetperch/pyjoulescope_ui, `joulescope_ui/widgets/waveform/waveform_widget.py`, and the older download tool
- Monsoon: msoon/PyMonsoon, `Monsoon/sampleEngine.py`; its header says ms, its values are differences of `time.time()`, so s
- Qoitech Otii: qoitech.com help, recordings; the columns' units are in brackets
- any other: columns named `QUANTITY_UNIT`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ofa.errors import UserError

TIME, CURRENT, VOLTAGE, POWER, ENERGY = "time", "current", "voltage", "power", "energy"
MARKER, BITS, OTHER = "marker", "bits", "other"
"""A digital input; eight of them in one cell; a column that is not needed."""
BASE_UNITS = {"s": TIME, "A": CURRENT, "V": VOLTAGE, "W": POWER, "J": ENERGY}
PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "\N{MICRO SIGN}": 1e-6, "\N{GREEK SMALL LETTER MU}": 1e-6, "n": 1e-9}
UNITS = {f"{prefix}{unit}": (name, by) for unit, name in BASE_UNITS.items() for prefix, by in PREFIXES.items()}
"""Quantity of each unit, and its factor to s, A, V, W, J."""
INPUTS = tuple(f"D{i}" for i in range(8))
PPK2_HEADER = ("Timestamp(ms)", "Current(uA)", "D0-D7", *INPUTS)
MONSOON_HEADER = ("Time(ms)", "Main(mA)", "USB(mA)", "Aux(mA)", "Main Voltage(V)", "USB Voltage(V)")
JOULESCOPE_TOOL = ("time", "current", "voltage", "power", "charge", "energy")
"""Header of Joulescope's older download tool, in s, A, V, W, C, J."""
JOULESCOPE_UNITS = {"i": CURRENT, "v": VOLTAGE, "p": POWER}
GENERIC = "time_s,power_w or time_s,current_a,voltage_v or time_s,energy_j (with any of ms, us, mw, ua, ...)"
KNOWN = (
    f"known are Nordic PPK2 ({PPK2_HEADER[0]},{PPK2_HEADER[1]},...), Joulescope (# time,DEVICE.i,...), Monsoon "
    f"({MONSOON_HEADER[0]},{MONSOON_HEADER[1]},...), Otii (names with units in brackets), and {GENERIC}"
)


@dataclass(frozen=True)
class Column:
    """A column of a recording."""

    name: str
    """As in the header."""
    quantity: str = OTHER
    factor: float = 1.0
    """Factor to the SI unit."""
    channel: str = ""
    """Output of the meter, or device, that the column belongs to; name of a digital input."""


@dataclass(frozen=True)
class Layout:
    """The columns of a file, and the meter that it is from."""

    meter: str
    columns: tuple[Column, ...]
    packets: bool = False
    """True: samples arrive in packets, and all of a packet have the time of its arrival."""

    def of(self, quantity: str) -> list[int]:
        """Places of the columns with this quantity."""
        return [i for i, column in enumerate(self.columns) if column.quantity == quantity]


def layout_of(header: str, place: str) -> Layout:
    """The layout of the file with this first line.

    Raises:
        UserError: it is of no meter that is known, a column has no unit, or is given twice; begins with `place`.
    """
    other = next((mark for mark in ";\t" if mark in header), None)
    if other is not None:
        raise UserError(f"{place}: separates columns by {other!r}; export it with commas, and points in numbers")
    cells = [cell.strip() for cell in header.split(",")]
    if cells[-1] == "":  # Monsoon ends every line with a comma
        cells.pop()
    if not cells or not any(cells):
        raise UserError(f"{place}: is empty where the names of the columns should be; {KNOWN}")
    twice = next((cell for i, cell in enumerate(cells) if cell in cells[:i]), None)
    if twice is not None:
        raise UserError(f"{place}: column {twice!r} is given twice")
    try:
        found = (recognise(cells) for recognise in LAYOUTS)
        layout = next((one for one in found if one is not None), None)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    if layout is None:
        raise UserError(f"{place}: is {header[:60]!r}, the header of no meter that is known; {KNOWN}")
    if len(layout.of(TIME)) != 1:
        number = "no time" if not layout.of(TIME) else "several times"
        raise UserError(f"{place}: has {number}; export one column of time")
    return layout


def _ppk2(cells: Sequence[str]) -> Layout | None:
    if not all(cell in PPK2_HEADER for cell in cells) or "Current(uA)" not in cells:
        return None
    kinds = {
        "Timestamp(ms)": Column("Timestamp(ms)", TIME, 1e-3),
        "Current(uA)": Column("Current(uA)", CURRENT, 1e-6),
        "D0-D7": Column("D0-D7", BITS),
    }
    columns = tuple(kinds.get(cell, Column(cell, MARKER, channel=cell)) for cell in cells)
    return Layout("Nordic PPK2", columns)


def _joulescope(cells: Sequence[str]) -> Layout | None:
    if tuple(cells) == JOULESCOPE_TOOL:
        quantities = (TIME, CURRENT, VOLTAGE, POWER, OTHER, ENERGY)
        return Layout("Joulescope", tuple(Column(*pair) for pair in zip(cells, quantities, strict=True)))
    if cells[0] != "# time":
        return None
    columns = [Column("time", TIME)]
    for cell in cells[1:]:
        device, _, trace = cell.rpartition(".")
        if re.fullmatch("[0-7]", trace):
            columns.append(Column(cell, MARKER, channel=f"D{trace}"))
        else:
            columns.append(Column(cell, JOULESCOPE_UNITS.get(trace, OTHER), channel=device))
    return Layout("Joulescope", tuple(columns))


def _monsoon(cells: Sequence[str]) -> Layout | None:
    if not all(cell in MONSOON_HEADER for cell in cells):
        return None
    columns = []
    for cell in cells:
        if cell == MONSOON_HEADER[0]:
            columns.append(Column(cell, TIME))  # in s, in spite of the header: see above
        elif cell.endswith("(V)"):
            columns.append(Column(cell, VOLTAGE, 1.0, cell.split(" ")[0]))
        else:
            columns.append(Column(cell, CURRENT, 1e-3, cell.split("(")[0]))
    return Layout("Monsoon", tuple(columns), packets=True)


def _generic(cells: Sequence[str]) -> Layout | None:
    """Columns named `QUANTITY_UNIT`, `d0` to `d7`, and `marker`."""
    if not any(re.fullmatch(r"(time|current|voltage|power|energy)_[a-z]+", cell) for cell in cells):
        return None
    units = {unit.lower(): found for unit, found in UNITS.items() if unit.isascii()}
    columns = []
    for cell in cells:
        name, _, unit = cell.partition("_")
        if cell == "marker" or cell.upper() in INPUTS:
            columns.append(Column(cell, MARKER, channel=cell.upper() if cell != "marker" else cell))
        elif unit in units and units[unit][0] == name:
            columns.append(Column(cell, *units[unit]))
        else:
            raise UserError(f"column {cell!r} is unknown; columns are {GENERIC}, and marker or d0 to d7")
    return Layout("CSV", tuple(columns))


def _bracketed(cells: Sequence[str]) -> Layout | None:
    """Columns with their unit in brackets, as Otii names them: `Main current (A)`."""
    parts = [re.fullmatch(r"(.*?)\s*[(\[]([^()\[\]]*)[)\]]", cell) for cell in cells]
    if not any(parts):
        return None
    columns = []
    for cell, part in zip(cells, parts, strict=True):
        if part is None and re.fullmatch(r"GPI ?[0-9]", cell):
            columns.append(Column(cell, MARKER, channel=cell.replace(" ", "")))
        elif part is None or part[2] not in UNITS:
            found = "no unit in brackets" if part is None else f"unit {part[2]!r}"
            raise UserError(f"column {cell!r} has {found}; known are s, A, V, W, J, and these with m, u, n before them")
        else:
            quantity, factor = UNITS[part[2]]
            columns.append(Column(cell, quantity, factor, "" if quantity == TIME else _channel(part[1])))
    return Layout("Otii, or another with units in brackets", tuple(columns))


def _channel(name: str) -> str:
    """The output of the meter that a column is of: `Main current` and `Main voltage` are both of `Main`."""
    short = {"mc": "Main", "mv": "Main", "mp": "Main", "me": "Main"}
    if name.lower() in short:
        return short[name.lower()]
    return re.sub(r"\s*\b(current|voltage|power|energy)\b\s*", " ", name, flags=re.IGNORECASE).strip()


LAYOUTS: tuple[Callable[[Sequence[str]], Layout | None], ...] = (_ppk2, _monsoon, _joulescope, _generic, _bracketed)
"""Recognise a header, in this order."""
