"""Fit a platform to end-to-end timings of a few networks, and report the error on networks left out.

The CSV has a line per timed network: space, architecture (JSON, or a path to it), resolution, latency_ms, and optionally
energy_mj. Time random networks of different sizes and resolutions, at least 4, better 10 to 20.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.errors import UserError

if TYPE_CHECKING:
    from latency_tables import Platform

EXAMPLE = "ofa calibrate --measurements timings.csv --out my-phone.yaml --device 'My phone, 1 core' --runtime 'TF-Lite 2.16'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--measurements", required=True, metavar="CSV", help="the timings")
    parser.add_argument("--out", required=True, metavar="FILE", help="the platform to write, a YAML file")
    parser.add_argument("--name", help="name of the platform (default: the name of FILE)")
    parser.add_argument("--device", default="not stated", help="the device in words, as shown by `ofa platforms`")
    parser.add_argument("--runtime", default="not stated", help="the runtime with its version")
    parser.add_argument("--unit", help="unit of latency_ms: ms, us or s (if absent ms, where that means a usual speed)")
    parser.add_argument("--precision", help="fp32, fp16, bf16, int16 or int8 (if absent fp32 is assumed, and noted)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images per timed inference (default: 1)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads that the timed inferences used")
    parser.add_argument("--prior", metavar="PLATFORM", help="start from the model of this platform, a similar device")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Fit, write, report."""
    import datetime
    from dataclasses import replace

    from latency_tables import load_platform, save_platform
    from latency_tables.blocks.memory import BYTES
    from latency_tables.calibration.calibrate import Subject, calibrate
    from latency_tables.calibration.prior import PRIOR
    from latency_tables.calibration.timings_csv import load_timings
    from latency_tables.units import check_unit, stated
    from ofa.cli.shared.options import WAIT_S, check_at_least, platform_name, printer
    from ofa.files.output import locked_output

    out = Path(args.out)
    if out.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out is {args.out}; must end in .yaml, so that it can be loaded")
    check_unit(args.unit)
    if args.precision is not None and args.precision not in BYTES:
        raise UserError(f"--precision is {args.precision}; allowed are {', '.join(BYTES)}")
    check_at_least(args, batch=1, threads=1)
    prior = PRIOR
    if args.prior is not None:
        similar = load_platform(args.prior)
        if similar.latency is None:
            raise UserError(
                f"--prior {args.prior}: is a table of measured blocks; give a platform with a model of operations"
            )
        prior = similar.latency
    subject = Subject(
        name=platform_name(args.name, out),
        device=args.device,
        runtime=args.runtime,
        **({} if args.precision is None else {"precision": args.precision}),
        batch=args.batch,
        threads=args.threads,
        source=f"end-to-end timings in {Path(args.measurements).name}",
        date=datetime.date.today().isoformat(),
    )
    platform = calibrate(load_timings(args.measurements, args.unit, args.batch), subject, prior)
    assumed = {} if args.precision is not None else {"precision": f"{platform.precision} is assumed; nobody stated it"}
    platform = replace(platform, details=platform.details | {"unit of the latencies": stated(args.unit)} | assumed)
    with locked_output(out, WAIT_S):
        save_platform(platform, out)
    return _report(platform, out, printer(args))


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
    say(f"written to {out}; use it with --platform {out}")
    return {
        "file": str(out),
        "name": platform.name,
        "networks": error.networks,
        "mape": error.mape,
        "worst": error.worst,
        "spearman": error.spearman,
        "note": error.note,
        "power_w": None if platform.energy is None else platform.energy.power_w,
        "energy_mape": None if energy is None else energy.mape,
    }
