"""Fit a platform to end-to-end timings of a few networks, and report the error on networks left out.

The CSV has a line per timed network: space, architecture (JSON, or a path to it), resolution, latency_ms, and optionally
energy_mj. Time random networks of different sizes and resolutions, at least 4, better 10 to 20.

With --operations, the networks are of any design: the CSV has a line per measured network (network, mean_latency_ms, and
optionally energy_mj, family, device, runtime, precision, ...), FILE a line per executed operation (network, index, kind,
macs, weights, activations, outputs).
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latency_tables.units import stated
from ofa.cli.shared.options import WAIT_S, platform_file, platform_name, printer
from ofa.errors import UserError
from ofa.files.output import locked_output

if TYPE_CHECKING:
    from latency_tables import Platform
    from latency_tables.calibration.calibrate import Subject
    from latency_tables.calibration.operations_csv import Setup
    from latency_tables.cost_models.op_model import LatencyModel

EXAMPLE = """ofa calibrate --measurements timings.csv --out my-phone.yaml --device 'My phone' --runtime 'TF-Lite 2.16'
  ofa calibrate --measurements networks.csv --operations operations.csv --where precision=int8 --out my-board.yaml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--measurements", required=True, metavar="CSV", help="the timings")
    parser.add_argument("--operations", metavar="FILE", help="the networks' operations, for networks that are in no space")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="with --operations: use only these rows of the measurements; may be repeated",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the platform to write, a YAML file")
    parser.add_argument("--name", help="name of the platform (default: the name of FILE)")
    parser.add_argument("--device", help="the device in words, as shown by `ofa platforms`")
    parser.add_argument("--runtime", help="the runtime with its version")
    parser.add_argument("--unit", help="unit of latency_ms: ms, us or s (if absent ms, where that means a usual speed)")
    parser.add_argument("--precision", help="fp32, fp16, bf16, int16 or int8 (if absent fp32 is assumed, and noted)")
    parser.add_argument("--batch", type=int, metavar="N", help="images per timed inference (default: 1)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads that the timed inferences used")
    parser.add_argument("--boundary", metavar="WORDS", help="what the energies are of: mains, board, module, core rail, ...")
    parser.add_argument("--prior", metavar="PLATFORM", help="start from the model of this platform, a similar device")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Fit, write, report."""
    from latency_tables import save_platform

    out = platform_file(args)
    if args.where and args.operations is None:
        raise UserError("--where goes with --operations only")
    platform = _of_subnets(args, out) if args.operations is None else _of_operations(args, out)
    if args.boundary is not None:
        platform = _bounded(platform, args.boundary)
    platform = replace(platform, details=platform.details | {"unit of the latencies": stated(args.unit)})
    with locked_output(out, WAIT_S):
        save_platform(platform, out)
    return _report(platform, out, printer(args))


def _of_subnets(args: argparse.Namespace, out: Path) -> Platform:
    """A platform from timings of subnets."""
    from latency_tables.calibration.calibrate import calibrate
    from latency_tables.calibration.operations_csv import Setup
    from latency_tables.calibration.prior import PRIOR
    from latency_tables.calibration.timings_csv import load_timings

    prior = _prior(args.prior, PRIOR)
    timings = load_timings(args.measurements, args.unit, args.batch or 1)
    platform = calibrate(timings, _subject(args, out, Setup()), prior)
    assumed = {} if args.precision is not None else {"precision": f"{platform.precision} is assumed; nobody stated it"}
    return replace(platform, details=platform.details | assumed)


def _of_operations(args: argparse.Namespace, out: Path) -> Platform:
    """A platform from measurements of networks that are given as lists of operations."""
    from latency_tables.calibration.operations import calibrate_operations
    from latency_tables.calibration.operations_csv import load_networks
    from latency_tables.calibration.prior import EVERY_KIND

    where = {}
    for text in args.where:
        column, separator, value = text.partition("=")
        if not separator or column in where:
            raise UserError(f"--where is {text!r}; expected COLUMN=VALUE, each column once")
        where[column] = value
    networks, setup = load_networks(args.measurements, args.operations, where, args.unit, args.batch)
    for option in ("precision", "batch"):
        given, found = getattr(args, option), getattr(setup, option)
        if None not in (given, found) and given != found:
            raise UserError(f"--{option} is {given}, but the rows of {args.measurements} have {found}")
    subject = _subject(args, out, setup)
    platform = calibrate_operations(networks, subject, _prior(args.prior, EVERY_KIND))
    unknown = args.precision is None and setup.precision is None
    assumed = {"precision": f"{platform.precision} is assumed; nobody stated it"} if unknown else {}
    rows = {"rows": ", ".join(args.where)} if args.where else {}
    return replace(platform, details=platform.details | rows | assumed)


def _bounded(platform: Platform, boundary: str) -> Platform:
    """The platform with the boundary of its energies."""
    if platform.energy is None:
        raise UserError(f"--boundary is {boundary}, but no energy_mj is given")
    if platform.energy.boundary not in (None, boundary):
        raise UserError(f"--boundary is {boundary}; the measurements say {platform.energy.boundary}: leave it out")
    return replace(platform, energy=replace(platform.energy, boundary=boundary))


def _prior(similar: str | None, usual: LatencyModel) -> LatencyModel:
    """The usual prior, or the model of a similar device."""
    from latency_tables import load_platform

    if similar is None:
        return usual
    platform = load_platform(similar)
    if platform.latency is None:
        raise UserError(f"--prior {similar}: is a table of measured blocks; give a platform with a model of operations")
    return platform.latency


def _subject(args: argparse.Namespace, out: Path, setup: Setup) -> Subject:
    """The measured device: as stated, else as the file says."""
    from latency_tables.calibration.calibrate import Subject

    precision = args.precision or setup.precision
    return Subject(
        name=platform_name(args.name, out),
        device=args.device or setup.device or "not stated",
        runtime=args.runtime or setup.runtime or "not stated",
        **({} if precision is None else {"precision": precision}),
        batch=args.batch or setup.batch or 1,
        threads=args.threads,
        source=f"end-to-end timings in {Path(args.measurements).name}",
        date=datetime.date.today().isoformat(),
    )


def _report(platform: Platform, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Say how good the platform is, and return its figures."""
    error = platform.error
    say(f"{error.networks} networks, latencies {platform.details['latencies']}")
    say(f"error: mean {error.mape:.1%}, largest {error.worst:.1%}, {error.note}")
    energy = None if platform.energy is None else platform.energy.error
    if platform.energy is None or energy is None:
        say("energy: unknown")
    else:
        say(f"energy: {platform.energy.source}; error: mean {energy.mape:.1%}, largest {energy.worst:.1%}")
    for what, found in platform.details.items():
        if what.startswith("error of "):
            say(f"{what}: {found}")
    say(f"written to {out}; use it with --platform {out}")
    return {
        "file": str(out),
        "name": platform.name,
        "networks": error.networks,
        "mape": error.mape,
        "worst": error.worst,
        "spearman": error.spearman,
        "note": error.note,
        "boundary": None if platform.energy is None else platform.energy.boundary,
        "power_w": None if platform.energy is None else platform.energy.power_w,
        **{f"energy_{name}": getattr(energy, name, None) for name in ("mape", "worst", "spearman")},
    }
