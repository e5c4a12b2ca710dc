"""Export a subnet to the formats of other runtimes; each file is run and compared with the network before it is kept."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.deploying import add_deploying_arguments, list_formats, read_given
from ofa.cli.shared.options import printer
from ofa.errors import UserError
from ofa.files.output import locked_output

if TYPE_CHECKING:
    from ofa.deploy.export import Exported

EXAMPLE = """ofa export runs/demo/queries/frugal --format onnx --precision fp32 --precision int8
  ofa export --list"""
OURS = "export.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa export`."""
    add_deploying_arguments(parser)
    parser.add_argument(
        "--format", action="append", default=[], metavar="F", help="format to write; may be repeated; --list shows them"
    )
    parser.add_argument(
        "--precision", action="append", default=[], choices=["fp32", "int8"], help="may be repeated (default: fp32)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: SUBNET_DIR-export)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Convert, check and write the files; returns a summary."""
    say = printer(args)
    if args.list:
        return list_formats(say)
    if not args.format:
        raise UserError("--format is missing; `ofa export --list` shows the formats")

    from ofa.deploy.export import export
    from ofa.deploy.formats.catalogue import check_installed, find_format

    formats = [find_format(name) for name in dict.fromkeys(args.format)]
    for format in formats:
        check_installed(format)
    given = read_given(args)
    out = args.out or Path(f"{args.subnet.absolute()}-export")
    _check_out(out)
    choices = [(format, precision) for format in formats for precision in dict.fromkeys(args.precision or ["fp32"])]
    with locked_output(out):
        exported = export(given.source, choices, given.calibration, given.check_on, out)
    say(f"compared with the network on {len(given.check_on)} {given.check_on.source}")
    for one in exported:
        say(_line(one))
    say(f"written: {out}")
    files = {one.file: {"bytes": one.bytes, **({} if one.check is None else vars(one.check))} for one in exported}
    return {"out": str(out), "files": files}


def _check_out(out: Path) -> None:
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / OURS).exists())):
        raise UserError(f"--out is {out}, which exists and holds no export; give another folder")


def _line(one: Exported) -> str:
    check = one.check
    if check is None:
        return f"{one.file}: {one.bytes / 1000:.0f} kB, NOT checked: nothing here can run it"
    text = f"{one.file}: {one.bytes / 1000:.0f} kB, logits within {check.largest_difference:.2g}"
    text += f", the same class for {100 * check.agreement:.1f}%"
    if check.top1 is not None and check.top1_network is not None:
        text += f", top-1 {100 * check.top1:.2f}% ({100 * (check.top1 - check.top1_network):+.2f} points)"
    return text
