"""List the platforms that ship, or show one (by name or file) with its provenance."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any

from ofa.errors import UserError

if TYPE_CHECKING:
    from latency_tables import Platform

EXAMPLE = "ofa platforms edge-int8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="NAME",
        help="a platform by name or file; all that ship if absent; or: import SOURCE, to make a platform of a published "
        "lookup table (a YAML file, or a folder with one per resolution)",
    )
    parser.add_argument("--out", metavar="FILE", help="where `import` writes the platform")
    parser.add_argument("--name", help="of the imported platform (default: the name of FILE)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print and return the platforms' facts."""
    from latency_tables import load_platform, platform_names

    if args.words[:1] == ["import"]:
        return _import(args)
    if len(args.words) > 1 or args.out is not None or args.name is not None:
        raise UserError("expected no word, one NAME, or: import SOURCE --out FILE [--name NAME]")
    if args.words:
        facts = _facts(load_platform(args.words[0]))
        if not args.json:
            _show(facts)
        return facts
    rows = [_facts(load_platform(name)) for name in platform_names()]
    if not args.json:
        _table(rows)
    return {"platforms": rows}


def _import(args: argparse.Namespace) -> dict[str, Any]:
    """Write a published table as a platform; show what it is."""
    from pathlib import Path

    from latency_tables import save_platform
    from latency_tables.published import load_tables

    if len(args.words) != 2 or args.out is None:
        raise UserError("import takes one SOURCE and where to write: ofa platforms import SOURCE --out FILE")
    out = Path(args.out)
    if out.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out is {args.out}; must end in .yaml, so that it can be loaded")
    platform = load_tables(args.words[1], args.name or out.stem)
    save_platform(platform, out)
    facts = _facts(platform)
    if not args.json:
        _show(facts)
        print(f"\nwritten to {out}; use it with --platform {out}")
    return facts | {"file": str(out)}


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
        "error": {name: getattr(error, name) for name in ("mape", "worst", "spearman", "networks", "note")},
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
    if error["mape"] is None:
        return "not compared"
    worst = "" if error["worst"] is None else f", at most {error['worst']:.1%}"
    return f"{error['mape']:.1%}{worst} ({error['networks']} networks)"


def _table(rows: list[dict[str, Any]]) -> None:
    header = ("name", "kind", "runtime", "precision", "batch", "metrics", "error")
    lines = [header] + [
        (
            row["name"],
            row["kind"],
            row["runtime"],
            row["precision"],
            str(row["batch"]),
            " ".join(metric for metric in row["metrics"] if metric in ("latency_ms", "energy_mj")),
            _error_text(row["error"]),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    print("\nmemory_kb, weights_kb, macs_m and params_m are computed for all; `ofa platforms NAME` shows one's provenance")


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
