"""List the platforms that ship, or show one (by name or file) with its provenance."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latency_tables import Platform

EXAMPLE = "ofa platforms edge-int8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a platform by name or a YAML file; all that ship if absent")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print and return the platforms' facts."""
    from latency_tables import load_platform, platform_names

    if args.name is not None:
        platform = load_platform(args.name)
        facts = _facts(platform)
        if not args.json:
            _show(facts)
        return facts
    rows = [_facts(load_platform(name)) for name in platform_names()]
    if not args.json:
        _table(rows)
    return {"platforms": rows}


def _facts(platform: Platform) -> dict[str, Any]:
    """Everything but the coefficients and the measured blocks."""
    from latency_tables.costs import metrics_of

    error = platform.error
    facts: dict[str, Any] = {
        name: getattr(platform, name)
        for name in ("name", "device", "kind", "runtime", "precision", "batch", "threads", "date")
    }
    facts |= {
        "metrics": list(metrics_of(platform)),
        "error": {"mape": error.mape, "spearman": error.spearman, "networks": error.networks, "note": error.note},
        "description": platform.description,
        "source": platform.source,
        "energy_source": None if platform.energy is None else platform.energy.source,
        "licence": platform.licence,
        "details": platform.details,
    }
    if platform.table is not None:
        table = platform.table
        facts["table"] = {"space": table.space, "fingerprint": table.fingerprint, "blocks": len(table.blocks)}
    return facts


def _error_text(error: dict[str, Any]) -> str:
    return "not compared" if error["mape"] is None else f"{error['mape']:.1%} ({error['networks']} networks)"


def _table(rows: list[dict[str, Any]]) -> None:
    header = ("name", "kind", "runtime", "precision", "batch", "metrics", "error")
    lines = [header] + [
        (
            row["name"],
            row["kind"],
            row["runtime"],
            row["precision"],
            str(row["batch"]),
            " ".join(row["metrics"]),
            _error_text(row["error"]),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _show(facts: dict[str, Any]) -> None:
    error = facts["error"]
    shown = facts | {"metrics": " ".join(facts["metrics"]), "error": f"{_error_text(error)}: {error['note']}"}
    if error["spearman"] is not None:
        shown["spearman"] = f"{error['spearman']:.3f}"
    shown |= shown.pop("details")
    if "table" in shown:
        table = shown["table"]
        shown["table"] = f"{table['blocks']} measured blocks of space {table['space']} ({table['fingerprint']})"
    width = max(map(len, shown))
    for name, value in shown.items():
        text = "unknown" if value is None else str(value)
        print(textwrap.fill(f"{name.replace('_', ' '):{width}}  {text}", 110, subsequent_indent=" " * (width + 2)))
