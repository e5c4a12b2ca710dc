"""The rows of a run's `metrics.jsonl`, one per epoch; read without torch."""

from __future__ import annotations

from typing import Any

from ofa.errors import UserError
from ofa.files.bundle import Place
from ofa.files.vouched import read_vouched_line

AGAIN = "remove the line to continue without that row"


def metrics_rows(path: Place) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, without a last line that a crash cut off; none where the file is missing.

    Raises:
        UserError: another line is invalid, or was changed since (lines of versions before 0.2 do not tell).
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):
        row = read_vouched_line(line, f"{path}:{number}", AGAIN)
        if not all(isinstance(row.get(key), int) for key in ("phase", "epoch")):
            raise UserError(f"{path}:{number}: not an epoch's row; {AGAIN}")
        if rows and (row["phase"], row["epoch"]) <= (rows[-1]["phase"], rows[-1]["epoch"]):
            raise UserError(f"{path}:{number}: an epoch's row is there twice, or out of order; {AGAIN}")
        rows.append(row)
    return rows
