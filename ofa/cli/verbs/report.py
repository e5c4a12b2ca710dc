"""One page about a run: fronts with a budget slider, subnets side by side, training, predictor, footprint, provenance.

A single HTML file that needs no network: it opens from a disk, prints, and can be sent by mail. RUN is a run directory, a
bundle or a name of the zoo.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ofa.cli.shared.options import WAIT_S, printer, warn, written_beside
from ofa.cli.shared.question import load_platforms, searched_part
from ofa.cli.shared.run_report import reported
from ofa.errors import UserError
from ofa.files.atomic import atomic_write
from ofa.files.output import locked_output
from search.page.html import check_installed, page

EXAMPLE = """ofa report runs/demo --out report.html
  ofa report fashion-mnist --platform edge-int8 --platform stm32-u575 --out report.html"""
DEFAULT_PLATFORMS = ("edge-int8",)
MOST_PLATFORMS = 6
"""Colours that can be told apart."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa report`."""
    parser.add_argument("run", metavar="RUN", help="a run with a predictor (ofa predictor), a bundle, or a name of the zoo")
    parser.add_argument(
        "--platform",
        action="append",
        metavar="P",
        help="a platform by name or YAML file; may be repeated (default: edge-int8)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: queries/report.html in RUN)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the page."""
    from ofa.runs.run_files import RunFiles
    from search.page.contents import Device, contents

    say = printer(args)
    check_installed()
    asked = args.platform or list(DEFAULT_PLATFORMS)
    platforms = load_platforms(asked)
    if len(platforms) > MOST_PLATFORMS:
        raise UserError(f"--platform is given {len(platforms)} times; at most {MOST_PLATFORMS} can be told apart")
    directory = RunFiles.open(args.run)
    out = args.out or written_beside(directory, "report.html")
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out is {out}; the name of a page ends in .html")
    subject = reported(directory, args.run)
    devices = []
    for platform, word in zip(platforms, asked, strict=True):
        costs = platform.costs(directory.space)
        warn(costs)
        part = searched_part(directory.space, {}, [costs], subject.predictor)
        devices.append(Device(platform=platform, costs=costs, part=part, asked=word))
    found = contents(subject, devices)
    text = page(found)
    with locked_output(out, WAIT_S):
        atomic_write(out, text)
    facts = {"bytes": len(text.encode()), "fronts": len(found["fronts"]), "subnets": len(found["subnets"])}
    facts["measured"] = sum(subnet["measured"] is not None for subnet in found["subnets"])
    size = f"{facts['bytes'] / 1e6:.1f} MB"
    say(f"{out}: {size}; {facts['fronts']} fronts, {facts['subnets']} subnets, {facts['measured']} of them measured")
    warnings = [warning for device in devices for warning in device.costs.warnings]
    return {"out": str(out), "platforms": [platform.name for platform in platforms], **facts, "warnings": warnings}
