"""CSV files that users write: columns by name, and error messages with the line. Needs only the standard library."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from ofa.errors import UserError
from ofa.files.atomic import read_text

MOST_DIGITS = 18
"""Digits of the longest whole number that is read."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(text: str) -> str:
    """Text that no spreadsheet runs as a formula: one that would be run gets an apostrophe in front (OWASP)."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


@dataclass(frozen=True)
class Table:
    """The rows of a file, as columns of stripped text."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]
    """Line of each row in the file."""

    def place(self, row: int, column: str) -> str:
        """File, line and column of a value, for messages."""
        return f"{self.path}:{self.lines[row]}: {column}"

    def numbers(self, column: str, empty: float | None = None) -> list[float]:
        """A column of finite numbers above 0; `empty` is the value of an empty cell, None: these are an error.

        Raises:
            UserError: a cell is not such a number; the message names its line.
        """
        values = []
        for i, text in enumerate(self.columns[column]):
            if not text and empty is not None:
                values.append(empty)
                continue
            try:
                value = float(text)
            except ValueError:
                wanted = "a number" if empty is None else "a number, or nothing"
                raise UserError(f"{self.place(i, column)} is {text!r}; expected {wanted}") from None
            if not (isfinite(value) and value > 0):
                raise UserError(f"{self.place(i, column)} is {text}; must be finite and above 0")
            values.append(value)
        return values

    def whole_numbers(self, column: str) -> list[int]:
        """A column of whole numbers, at least 0; raises `UserError`, naming the line, for a cell that is none."""
        for i, text in enumerate(self.columns[column]):
            if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
                raise UserError(f"{self.place(i, column)} is {text!r}; expected a whole number, at least 0")
        return [int(text) for text in self.columns[column]]

    def rows(self, kept: Sequence[int]) -> Table:
        """The table of some of its rows, in the given order."""
        columns = {name: [values[i] for i in kept] for name, values in self.columns.items()}
        return Table(self.path, columns, [self.lines[i] for i in kept])


def read_table(path: str | Path, required: Sequence[str], optional: Sequence[str]) -> Table:
    """Read a CSV file whose first line names its columns; empty lines are skipped.

    Raises:
        UserError: there is no file or no row, a column is missing, unknown or given twice, or a line has another length.
    """
    path = Path(path)
    reader = csv.reader(read_text(path, encoding="utf-8-sig").splitlines(), strict=True)
    rows, lines = [], []
    try:
        names = [name.strip() for name in next(reader, [])]
        _check_names(path, names, required, optional)
        for row in reader:
            if not any(row):
                continue
            if len(row) != len(names):
                hint = " (a value with commas must be quoted)" if len(row) > len(names) else ""
                raise UserError(f"{path}:{reader.line_num}: has {len(row)} values; line 1 has {len(names)} columns{hint}")
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not valid CSV: {error}") from None
    if not rows:
        raise UserError(f"{path}: has no rows")
    columns = {
        name: [value.strip() for value in values] for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }
    return Table(path, columns, lines)


def _check_names(path: Path, names: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
    known = f"columns are {', '.join(required)}" + (f" and optionally {', '.join(optional)}" if optional else "")
    for i, name in enumerate(names):
        if name not in required and name not in optional:
            raise UserError(f"{path}:1: unknown column {name!r}; {known}")
        if name in names[:i]:
            raise UserError(f"{path}:1: column {name!r} is given twice")
    for name in required:
        if name not in names:
            raise UserError(f"{path}:1: column {name!r} is missing; {known}")
