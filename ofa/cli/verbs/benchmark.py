"""Compare a subnet in every installed format: size, accuracy, difference from the network, latency on this machine.

Latencies are for one image on one thread, shown together with the card's prediction for its platform.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.deploying import Given, add_deploying_arguments, list_formats, read_given
from ofa.cli.shared.options import printer
from ofa.errors import UserError

if TYPE_CHECKING:
    from ofa.deploy.formats.format import Format, Precision

EXAMPLE = """ofa benchmark runs/demo/queries/frugal
  ofa benchmark runs/demo/queries/frugal --format onnx --plot formats.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa benchmark`."""
    add_deploying_arguments(parser)
    parser.add_argument(
        "--format", action="append", default=[], metavar="F", help="compare only these formats (default: all installed)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw latency and size as bars (.png, .svg or .pdf)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Export each format to a temporary folder, check and time it; returns the rows of the table."""
    say = printer(args)
    if args.list:
        return list_formats(say)

    from ofa.deploy.formats.catalogue import FORMATS, check_installed, find_format, missing_packages
    from ofa.deploy.subnet_directory import read_card

    if args.plot is not None:
        from search.plots.front import check_format

        check_format(args.plot)
    formats = [find_format(name) for name in dict.fromkeys(args.format or FORMATS)]
    for format in formats if args.format else ():
        check_installed(format)
    given = read_given(args)
    card = read_card(args.subnet)
    rows = [_network_row(given)]
    for format in formats:
        missing = missing_packages(format)
        for precision in format.precisions:
            if missing:
                rows.append({"format": format.name, "precision": precision, "status": f"needs {' and '.join(missing)}"})
            else:
                rows.append(_row(given, format, precision))
    say(f"{card['title']}: {len(given.check_on)} {given.check_on.source}; one image, one thread of this machine")
    for line in _table(rows):
        say(line)
    predicted = [figure for figure in card["figures"] if figure["name"].startswith("Latency")]
    for figure in predicted:
        say(f"card: {figure['name']} {figure['value']:.4g} {figure['unit']} ({figure['source']})")
    if args.plot is not None:
        from ofa.cli.shared.options import WAIT_S
        from ofa.files.output import locked_output
        from search.plots.formats import draw_formats

        with locked_output(args.plot, WAIT_S):
            draw_formats(rows, str(card["title"]), args.plot)
        say(f"drawn: {args.plot}")
    return {"images": len(given.check_on), "source": given.check_on.source, "rows": rows, "card": predicted}


def _row(given: Given, format: Format, precision: Precision) -> dict[str, Any]:
    from latency_tables.profiling.deployed import time_deployed
    from ofa.deploy.export import export

    row: dict[str, Any] = {"format": format.name, "precision": precision, "status": "ok"}
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = export(given.source, [(format, precision)], given.calibration, given.check_on, Path(folder, "out"))[0]
            if format.runs_here:
                row |= vars(time_deployed(format.name, Path(folder, "out", made.file), given.source.image))
            else:
                row["status"] = "for other devices: not timed" + (", not checked" if made.check is None else "")
        except UserError as error:
            return row | {"status": str(error)}
    return row | {"kb": made.bytes / 1000, **({} if made.check is None else vars(made.check))}


def _network_row(given: Given) -> dict[str, Any]:
    """The row of the network itself, in eager PyTorch."""
    import numpy as np
    import torch

    from latency_tables.profiling.deployed import timed
    from ofa.deploy.deployable import network_logits

    logits = network_logits(given.source, given.check_on.pixels)
    labels = given.check_on.labels
    top1 = None if labels is None else float(np.mean(logits.argmax(1) == labels))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        timing = timed(lambda: lambda images: network_logits(given.source, images), given.check_on.pixels[:1])
    finally:
        torch.set_num_threads(threads)
    return {"format": "pytorch", "precision": "fp32", "status": "ok", "top1": top1, **vars(timing), "memory_mb": None}


COLUMNS = (
    ("format", 12, lambda row: row["format"]),
    ("precision", 10, lambda row: row["precision"]),
    ("kB", 9, lambda row: _number(row.get("kb"), ".0f")),
    ("top-1 %", 16, lambda row: _accuracy(row)),
    ("difference", 11, lambda row: _number(row.get("largest_difference"), ".2g")),
    ("ms", 9, lambda row: _number(row.get("median_ms"), ".3f")),
    ("p90", 9, lambda row: _number(row.get("p90_ms"), ".3f")),
    ("MB", 7, lambda row: _number(row.get("memory_mb"), ".0f")),
    ("status", 0, lambda row: row["status"]),
)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["".join(f"{name:{width}}" for name, width, _ in COLUMNS)]
    lines += ["".join(f"{text(row):{width}}" for _, width, text in COLUMNS) for row in rows]
    return [line.rstrip() for line in lines]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _accuracy(row: dict[str, Any]) -> str:
    if row.get("top1") is None:
        return ""
    text = f"{100 * row['top1']:.2f}"
    return text if row.get("top1_network") is None else f"{text} ({100 * (row['top1'] - row['top1_network']):+.2f})"
