"""Collect networks that were measured with a meter in a CSV file, which `timings_csv` reads for a calibration."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

from latency_tables.calibration.timings_csv import OPTIONAL, REQUIRED
from ofa.energy.recordings.inference import InferenceEnergy
from ofa.errors import UserError
from ofa.files import shipped
from ofa.files.atomic import atomic_write
from ofa.files.csv_table import read_table, safe_cell
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.subnet import Subnet

COLUMNS = (*REQUIRED, *OPTIONAL)


def add_network(path: Path, space: SearchSpace, space_file: Path, subnet: Subnet, found: InferenceEnergy) -> int:
    """Write a network's latency and energy as a row of a file, in the place of an earlier row of the same network.

    The row points to `space_file` where no space of that name and shape ships. `found` is of one inference with batch 1.

    Returns:
        The number of networks in the file.

    Raises:
        UserError: the file is damaged, or its other networks were measured at another boundary.
    """
    row = {
        "space": _name(space, space_file, path.parent),
        "architecture": json.dumps(subnet.to_dict(), sort_keys=True),
        "resolution": str(subnet.resolution),
        "latency_ms": f"{1e3 * found.seconds:.6g}",
        "energy_mj": f"{1e3 * found.joules:.6g}",
        "meter": safe_cell(found.meter),
        "boundary": safe_cell(found.boundary),
    }
    rows = [other for other in _rows(path) if (other["space"], other["architecture"]) != (row["space"], row["architecture"])]
    for other in rows:
        if other["energy_mj"] and other["boundary"] != row["boundary"]:
            raise UserError(
                f"{path}: holds energies at the boundary {other['boundary'] or 'that nobody stated'!r}; this one is at "
                f"{row['boundary']!r}: write it to another file"
            )
    rows.append(row)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, buffer.getvalue())
    return len(rows)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    table = read_table(path, REQUIRED, OPTIONAL)
    empty = [""] * len(table.lines)
    return [{name: table.columns.get(name, empty)[i] for name in COLUMNS} for i in range(len(table.lines))]


def _name(space: SearchSpace, file: Path, folder: Path) -> str:
    """The name of a space that ships, else the path of its file as seen from a folder."""
    if space.name in shipped.names("spaces") and load_space(space.name).fingerprint == space.fingerprint:
        return space.name
    return os.path.relpath(file, folder)
