"""List the platforms that ship, or show one (by name or file) with its provenance."""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from latency_tables.cost_models.uncertainty import P50, P90, ErrorReport
from latency_tables.metrics import METRICS
from ofa.cli.shared.options import platform_file, platform_name
from ofa.errors import UserError
from ofa.numerics.stated import FP32, INT8, Analog

if TYPE_CHECKING:
    from latency_tables import Platform

EXAMPLE = """ofa platforms edge-int8
  ofa platforms import table/ --out my-board.yaml --unit ms --runtime 'TF-Lite 2.16' --precision fp32"""
STATED = ("unit", "device", "runtime", "precision", "batch", "threads", "licence")
"""Options of `import` that say what a published table does not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="NAME",
        help="a platform by name or file; all that ship if absent; or: import SOURCE, to make a platform of a published "
        "lookup table (a YAML or JSON file, or a folder with one per resolution)",
    )
    parser.add_argument("--out", metavar="FILE", help="file to which `import` writes the platform")
    parser.add_argument("--name", help="name of the imported platform (default: the name of FILE)")
    stated = parser.add_argument_group("what a published table does not say (unknown if absent)")
    stated.add_argument("--unit", help="unit of its times: ms, us or s (if absent ms, where that means a usual speed)")
    stated.add_argument("--device", help="the device in words")
    stated.add_argument("--runtime", help="the runtime with its version")
    stated.add_argument("--precision", help="fp32, fp16, bf16, int16 or int8; memory is unknown without it")
    stated.add_argument("--batch", type=int, metavar="N", help="images per timed inference (1)")
    stated.add_argument("--threads", type=int, metavar="N", help="threads that the timed inferences used")
    stated.add_argument("--licence", help="licence of the table")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print and return the platforms' facts."""
    from latency_tables import load_platform, platform_names

    if args.words[:1] == ["import"]:
        return _import(args)
    if len(args.words) > 1 or any(getattr(args, option) is not None for option in ("out", "name", *STATED)):
        raise UserError("expected no word, one NAME, or: import SOURCE --out FILE [--name NAME] [--unit ms|us|s] ...")
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
    """Write a published table as a platform, and show its facts."""
    from latency_tables import save_platform
    from latency_tables.published.tables import Provenance, load_tables

    if len(args.words) != 2 or args.out is None:
        raise UserError("import takes one SOURCE and where to write: ofa platforms import SOURCE --out FILE")
    out = platform_file(args)
    given = Provenance(**{name: getattr(args, name) for name in STATED if getattr(args, name) is not None})
    platform = load_tables(args.words[1], platform_name(args.name, out), given)
    save_platform(platform, out)
    facts = _facts(platform)
    if not args.json:
        _show(facts)
        print(f"\nwritten to {out}; use it with --platform {out}")
    return facts | {"file": str(out)}


def _facts(platform: Platform) -> dict[str, Any]:
    """The fields of a platform, without coefficients and measured blocks."""
    from latency_tables.costs.bounds import refusals
    from latency_tables.costs.computations import metrics_of
    from ofa.files.schema import to_plain

    energy = platform.energy
    energy_error = None if energy is None or energy.error is None else _error_facts(energy.error)
    facts: dict[str, Any] = {
        name: getattr(platform, name)
        for name in ("name", "device", "kind", "runtime", "precision", "batch", "threads", "date")
    }
    facts |= {
        "numerics": to_plain(platform.numerics),
        "metrics": list(metrics_of(platform)),
        "warnings": refusals(platform),
        "error": _error_facts(platform.error),
        "description": platform.description,
        "source": platform.source,
        "energy_source": None if energy is None else energy.source,
        "energy_boundary": None if energy is None else _boundary(energy.boundary),
        "why_no_energy": platform.why_no_energy,
        "memory": None if platform.memory is None else {"rule": platform.memory.rule, "source": platform.memory.source},
        "energy_error": energy_error,
        "licence": platform.licence,
        "details": platform.details,
    }
    if platform.table is not None:
        table = platform.table
        facts["table"] = {"space": table.space, "fingerprint": table.fingerprint, "blocks": len(table.blocks)}
    return facts


def _boundary(boundary: str | None) -> str | None:
    """A boundary with what it contains, where that is known."""
    from latency_tables.costs.boundaries import BOUNDARIES

    return f"{boundary} ({BOUNDARIES[boundary]})" if boundary in BOUNDARIES else boundary


def _error_facts(error: ErrorReport) -> dict[str, Any]:
    """An error report, its verdict, and the p50 and p90 of a network as multiples of its estimate."""
    known = error.mape is not None
    ratios = {f"p{round(100 * sure)}_over_estimate": error.ratio(sure) if known else None for sure in (P50, P90)}
    return asdict(error) | {"verdict": error.verdict, "expectation": error.expectation} | ratios | {"bound_rule": error.rule}


def _error_text(row: dict[str, Any]) -> str:
    """The mean error of latency, and the largest; or the verdict, where latency or energy does not pass."""
    error = row["error"]
    mean = "not compared" if error["mape"] is None else f"{error['mape']:.1%}"
    verdicts = {report["verdict"] for report in (error, row["energy_error"]) if report is not None}
    for verdict, text in (("refused", "REFUSED"), ("failed", "failed")):
        if verdict in verdicts:
            return f"{mean} {text}"
    return mean if error["worst"] is None else f"{mean} max {error['worst']:.1%}"


def _error_lines(name: str, error: dict[str, Any]) -> dict[str, str]:
    """An error report as text, with its name."""
    if error["mape"] is None:
        return {name: "; ".join(filter(None, (f"not compared: {error['note']}", error["expectation"])))}
    texts = [f"mean {error['mape']:.1%}"]
    texts += [] if error["worst"] is None else [f"largest {error['worst']:.1%}"]
    texts += [] if error["spearman"] is None else [f"Spearman {error['spearman']:.3f}"]
    texts += [f"{error[f'within_{i}']:.0%} within {i}%" for i in (5, 10) if error[f"within_{i}"] is not None]
    bounds = ", ".join(f"{p} {error[f'{p}_over_estimate']:.3f}" for p in ("p50", "p90"))
    return {
        name: f"{error['verdict']}: {', '.join(texts)}, of {error['networks']} networks: {error['note']}",
        f"{name} bounds": f"{bounds} x the estimate: {error['bound_rule']}",
    }


def _table(rows: list[dict[str, Any]]) -> None:
    header = ("name", "kind", "runtime", "precision", "batch", "metrics", "error")
    lines = [header] + [
        (
            row["name"],
            row["kind"],
            _cut(row["runtime"].partition(",")[0]),
            row["precision"],
            str(row["batch"]),
            " ".join(name.rpartition("_")[0] for name in row["metrics"] if METRICS[name].estimated),
            _error_text(row),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    exact = ", ".join(name for name, metric in METRICS.items() if not metric.estimated)
    print(
        "\nerror: of latency, on whole networks that were not fitted; failed where that of latency or energy is\n"
        "above 10% on average, REFUSED above 50%."
    )
    print(textwrap.fill(f"{exact} are computed for all. `ofa platforms NAME` shows one with its provenance.", 100))
    for row in rows:
        for warning in row["warnings"]:
            print(textwrap.fill(f"{row['name']}: {warning}", 100))


def _cut(text: str, width: int = 16) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _show(facts: dict[str, Any]) -> None:
    shown: dict[str, Any] = {}
    for name, value in facts.items():
        if name in ("error", "energy_error") and value is not None:
            shown |= _error_lines(name, value)
        elif name == "why_no_energy":
            shown |= {} if value is None else {"energy unknown": value}
        elif name == "energy_boundary":
            shown |= {} if facts["energy_source"] is None else {name: value or "not stated"}
        elif name == "numerics" and value not in (FP32, INT8):
            shown |= {"numerics": str(Analog(**value["analog"])), "numerics source": value["analog"]["source"]}
        elif name == "metrics":
            shown[name] = " ".join(value)
        elif name == "warnings":
            shown |= {"warning": "; ".join(value)} if value else {}
        elif name == "table":
            shown[name] = f"{value['blocks']} measured blocks of space {value['space']} ({value['fingerprint']})"
        elif name == "details":
            shown |= value
        else:
            shown[name] = value
    width = max(map(len, shown))
    for name, value in shown.items():
        text = "unknown" if value is None else str(value)
        print(textwrap.fill(f"{name.replace('_', ' '):{width}}  {text}", 100, subsequent_indent=" " * (width + 2)))
