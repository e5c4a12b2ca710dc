"""The tables of docs/footprint.md: published cases from their printed inputs, grids, ways to send, devices, known systems.

    python -m benchmarks.footprint [--reference ../shared/reference] [--write docs/footprint.md]

Without a reference the known systems are left as they are.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.claims import replaced
from benchmarks.footprint_cases import computed
from ofa.footprint import tables
from ofa.footprint.energy_label import load_bounds
from ofa.footprint.label_entry import energy_text

ROOT = Path(__file__).resolve().parents[1]
CASES = ROOT / "tests" / "golden" / "footprint.json"


def number(value: Any) -> str:
    """A value of a case, short."""
    if isinstance(value, list):
        return ", ".join(map(number, value))
    if value is None:
        return "never"
    return value if isinstance(value, str) else f"{value:,.5g}" if abs(value) < 1e5 else f"{value:,.0f}"


def case_row(case: dict[str, Any]) -> str:
    """A case: inputs, what we make of them, what was printed, and the difference."""
    got = computed(case["id"], case["inputs"])
    inputs = ", ".join(f"{name} {_input(value)}" for name, value in case["inputs"].items())
    ours = ", ".join(f"{name} {number(got[name])}" for name in case["expected"])
    printed = ", ".join(f"{name} {number(value)}" for name, value in case["published"].items()) or "-"
    verdict = "" if case["consistent"] else "**contradicts itself.** "
    return f"| {case['id']} | {inputs} | {ours} | {printed} | {verdict}{case['note']} ({case['source']}) |"


def _input(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_input(entry)}" for name, entry in value.items()) + ")"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def grids() -> list[str]:
    """Countries with their intensity, and cloud regions, as a list."""
    found = tables.read_grids(tables.DATA / "grid.csv")
    countries = [grid for grid in found if ":" not in grid.region]
    clouds = [grid for grid in found if ":" in grid.region]
    lines = [
        f"{len(countries)} by ISO 3166 code (g CO2e/kWh): "
        + ", ".join(f"{grid.region} {grid.g_per_kwh:.0f}" for grid in countries)
        + ".",
        "",
        f"{len(clouds)} regions of Google Cloud (g CO2e/kWh; PUE): "
        + ", ".join(
            f"{grid.region.partition(':')[2]} {grid.g_per_kwh:.0f}{f'; {grid.pue}' if grid.pue else ''}" for grid in clouds
        )
        + ".",
    ]
    return lines


def sending() -> list[str]:
    """The ways to send."""
    rows = ["| `--send`, `--cloud` | radio, a byte | wake + tail, a burst | network | from |", "|---|---|---|---|---|"]
    for name, route in tables.routes().items():
        radio = "unknown" if route.j_per_byte is None else energy_text(route.j_per_byte)
        once = energy_text(route.wake_j + route.tail_j)
        source = f"radio: {route.radio_source}; network: {route.network_source}"
        rows.append(f"| `{name}` | {radio} | {once} | {route.kwh_per_gb:g} kWh/GB | {source} |")
    return rows


def devices() -> list[str]:
    """The devices whose manufacture is known."""
    names = [row["name"] for row in _rows(tables.DATA / "embodied.csv")]
    rows = ["| `--device` | what | kg CO2e | life, years | scope, source |", "|---|---|---|---|---|"]
    for name in names:
        found = tables.find_device(name)
        life = found.lifetime_years or "not stated"
        rows.append(f"| `{name}` | {found.what} | {found.kg:g} | {life} | {found.scope}; {found.source} |")
    return rows


def accelerators() -> list[str]:
    """The accelerators, as a list."""
    rows = _rows(tables.DATA / "accelerators.csv")
    return [", ".join(f"{row['name']}{_short(row)} {row['watts']} W" for row in rows) + "."]


def _short(row: dict[str, str]) -> str:
    return f" (`{row['short']}`)" if row["short"] else ""


def known_systems(reference: Path) -> list[str]:
    """How many of the systems of a task get which letter."""
    letters = load_bounds().letters
    counts: dict[str, Counter[str]] = {}
    for row in _rows(reference / "footprint" / "label_calibration.csv"):
        counts.setdefault(row["task"], Counter())[row["letter"]] += 1
    head = ["| task | " + " | ".join(letters) + " |", "|---|" + "---|" * len(letters)]
    return head + [
        f"| {task} | " + " | ".join(str(found[letter] or "") for letter in letters) + " |" for task, found in counts.items()
    ]


def _rows(path: Path) -> Iterable[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def documents() -> dict[str, list[str]]:
    """All tables but that of the known systems, by the name of their place in the document."""
    cases = json.loads(CASES.read_text())["cases"]
    head = ["| case | inputs | computed here | printed there | note, source |", "|---|---|---|---|---|"]
    return {
        "contradicting": head + [case_row(case) for case in cases if not case["consistent"]],
        "cases": head + [case_row(case) for case in cases if case["consistent"]],
        "grids": grids(),
        "sending": sending(),
        "devices": devices(),
        "accelerators": accelerators(),
    }


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="folder with footprint/label_calibration.csv")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the tables of this document")
    args = parser.parse_args()
    found = documents()
    if args.reference is not None:
        found["systems"] = known_systems(args.reference)
    if args.write is None:
        print("\n\n".join("\n".join(lines) for lines in found.values()))
    else:
        args.write.write_text(replaced(args.write.read_text(), found))


if __name__ == "__main__":
    main()
