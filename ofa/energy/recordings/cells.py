"""The cells of a recording's file: numbers and digital levels of its columns, with the line of every mistake."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ofa.energy.recordings.layouts import BITS, INPUTS, MARKER, Layout, layout_of
from ofa.errors import UserError
from ofa.files.atomic import read_text

Floats = npt.NDArray[np.float64]
Lines = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

BINARY = {".ppk2": "nRF Connect's Power Profiler", ".jls": "Joulescope's program", ".otii3": "Otii", ".pt5": "PowerTool"}
"""Endings of files that meters' programs keep for themselves."""
LEVELS = {"0": False, "1": True}
NO_LEVEL = {
    "": "no digital input was recorded",
    "-": "no digital input was recorded",
    "X": "it changed within the sample; export every sample",
}
"""Cells of a PPK2's digital inputs that are no level (`exportChartAction.ts`)."""


@dataclass(frozen=True, eq=False)
class Cells:
    """The lines of a file below its header, empty ones left out."""

    path: Path
    layout: Layout
    rows: list[str]
    lines: Lines
    """Line of each row in the file."""


def read_cells(path: str | Path) -> Cells:
    """Read a file whose first line names its columns; every other line must have a cell for each.

    Raises:
        UserError: there is no file, its header is of no meter that is known, or a line has another length.
    """
    path = Path(path)
    if path.suffix in BINARY:
        raise UserError(f"{path}: a binary file of {BINARY[path.suffix]}; export it as CSV there")
    header, _, rest = read_text(path, encoding="utf-8-sig").partition("\n")
    layout = layout_of(header.rstrip("\r"), f"{path}:1")
    numbered = [(i, row.rstrip()) for i, row in enumerate(rest.split("\n"), start=2) if row.strip()]
    width = len(layout.columns)
    ending = header.rstrip().endswith(",")  # Monsoon ends every line with a comma
    for line, row in numbered:
        commas = row.count(",")
        if commas + 1 != width + ending:
            raise UserError(f"{path}:{line}: has {commas + 1 - ending} values; line 1 has {width} columns")
    return Cells(path, layout, [row for _, row in numbered], np.array([line for line, _ in numbered], dtype=np.int64))


def numbers_of(cells: Cells, places: list[int]) -> Floats:
    """The numbers of some columns, float64[rows, places]; raises `UserError` with the line where one is not finite."""
    try:
        found = np.loadtxt(cells.rows, delimiter=",", usecols=places, comments=None, dtype=np.float64, ndmin=2)
        if np.isfinite(found).all():
            return found
    except ValueError:
        pass
    for row, line in zip(cells.rows, cells.lines.tolist(), strict=True):  # slow, to name the first mistake
        texts = row.split(",")
        for i in places:
            _check_number(texts[i].strip(), f"{cells.path}:{line}: {cells.layout.columns[i].name}")
    raise UserError(f"{cells.path}: its numbers cannot be read; write them as 1.5 or 1.5e-3")


def _check_number(text: str, place: str) -> None:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{place} is {repr(text[:30]) if text else 'empty'}; expected a number") from None
    if not np.isfinite(value):
        raise UserError(f"{place} is {text}: the meter lost samples; record again")


def level_of(cells: Cells, marker: str) -> Flags:
    """The level of a digital input at each sample, bool[rows]; raises `UserError` where it is not there, or has none."""
    layout = cells.layout
    inputs = {layout.columns[i].channel.upper(): i for i in layout.of(MARKER)}
    bits = layout.of(BITS)
    if marker.upper() in inputs:
        place = inputs[marker.upper()]
        found = [row.split(",")[place].strip() for row in cells.rows]
    elif bits and marker.upper() in INPUTS:
        bit = INPUTS.index(marker.upper())
        found = [row.split(",")[bits[0]].strip()[bit : bit + 1] for row in cells.rows]
    else:
        known = [*inputs, *(INPUTS if bits else ())]
        has = f"it has {', '.join(known)}" if known else "it has none; export the digital inputs too"
        raise UserError(f"{cells.path}:1: digital input {marker!r} is not in the file; {has}")
    for text, line in zip(found, cells.lines.tolist(), strict=True):
        if text not in LEVELS and _as_level(text) is None:
            why = f": {NO_LEVEL[text]}" if text in NO_LEVEL else ""
            raise UserError(f"{cells.path}:{line}: {marker} is {text!r}; expected 0 or 1{why}")
    return np.array([LEVELS[text] if text in LEVELS else _as_level(text) for text in found], dtype=np.bool_)


def _as_level(text: str) -> bool | None:
    """The level that a number means (0.0, 1.000e+00); None where it is another number, or none."""
    try:
        return {0.0: False, 1.0: True}.get(float(text))
    except ValueError:
        return None
