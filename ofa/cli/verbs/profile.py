"""Measure this machine as a platform: the latency of every block of a space, and of whole subnets to check the sums.

Each time is saved at once in FILE.partial.csv: after a kill, the same command resumes. For a device without this project,
--export a kit and --import its results.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.options import platform_name
from ofa.errors import UserError

if TYPE_CHECKING:
    from latency_tables import Platform
    from latency_tables.profiling.plan import Settings
    from ofa.space.search_space import SearchSpace

EXAMPLE = "ofa profile --space fmnist --out my-machine.yaml --runtime onnxruntime --threads 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa profile`."""
    parser.add_argument("--space", required=True, help="a space by name (mbv3-w1.2, ...) or a YAML file")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the platform, a YAML file")
    parser.add_argument("--name", help="name of the platform (default: the file's name without its ending)")
    parser.add_argument("--runtime", help="runtime to measure: torch (eager, the default) or onnxruntime")
    parser.add_argument("--device", help="with --runtime torch: cpu (the default) or cuda")
    parser.add_argument("--threads", type=int, help="threads of the processor (default: the runtime's own choice)")
    parser.add_argument(
        "--channels-last", action="store_true", help="with --runtime torch: weights and feature maps in NHWC order"
    )
    parser.add_argument("--runs", type=int, help="fewest timed runs of each block (default: 50)")
    parser.add_argument("--batch", type=int, help="images per inference (default: 1)")
    parser.add_argument("--resolutions", type=int, nargs="+", metavar="PIXELS", help="resolutions to measure (default: all)")
    parser.add_argument("--networks", type=int, help="whole subnets to measure, a third for the fit, the rest held out (30)")
    parser.add_argument("--seed", type=int, help="seed of the subnets and of the order (default: 0)")
    parser.add_argument(
        "--power-w", type=float, metavar="W", help="power during inference; used where no energy counter can be read"
    )
    parser.add_argument("--energy-s", type=float, metavar="S", help="repeat each block for S seconds to read its energy (1)")
    parser.add_argument(
        "--export", type=Path, metavar="KIT.zip", help="write a kit that measures a device with ONNX Runtime"
    )
    parser.add_argument(
        "--import", type=Path, metavar="RESULTS.csv", dest="results", help="make the platform from the results of a kit"
    )


MEASURING = ("runtime", "device", "threads", "channels_last", "energy_s")
PLANNING = ("runs", "batch", "resolutions", "networks", "seed")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, export or import; returns a summary."""
    from ofa.space.search_space import load_space

    if args.export is not None and args.results is not None:
        raise UserError("give --export or --import, not both")
    space = load_space(args.space)
    if args.export is not None:
        _refuse(args, "--export", "out", "name", "power_w", *MEASURING)
        return _export(args, space)
    if args.out is None:
        raise UserError("--out FILE is missing: where to write the platform")
    if args.out.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out is {args.out}; it must end in .yaml")
    if args.out.is_dir():
        raise UserError(f"--out is {args.out}, a folder; it must be a file")
    if args.results is not None:
        _refuse(args, "--import", *MEASURING, *PLANNING)
        return _import(args, space)
    return _measure(args, space)


def _measure(args: argparse.Namespace, space: SearchSpace) -> dict[str, Any]:
    import sys

    from latency_tables.profiling.profile import ProfileTarget, profile
    from ofa.files.output import locked_output

    if args.resolutions:
        space = space.restrict(resolutions=args.resolutions)
    given = {name: getattr(args, name) for name in (*MEASURING, "power_w") if getattr(args, name) is not None}
    target = ProfileTarget(**given)
    partial = args.out.with_name(f"{args.out.name}.partial.csv")
    show = not args.json and sys.stderr.isatty()
    with locked_output(args.out):
        platform = profile(space, platform_name(args.name, args.out), _settings(args), target, partial, show)
        summary = _save(args, platform)
        partial.unlink()
    return summary


def _import(args: argparse.Namespace, space: SearchSpace) -> dict[str, Any]:
    from latency_tables.profiling.profile import import_results

    return _save(args, import_results(args.results, space, platform_name(args.name, args.out), args.power_w))


def _export(args: argparse.Namespace, space: SearchSpace) -> dict[str, Any]:
    from latency_tables.profiling.kit import export_kit
    from ofa.cli.shared.options import WAIT_S
    from ofa.files.output import locked_output

    if args.export.suffix != ".zip":
        raise UserError(f"--export is {args.export}; it must end in .zip")
    with locked_output(args.export, WAIT_S):
        plan = export_kit(args.export, space, args.resolutions, _settings(args))
    summary = {
        "kit": str(args.export),
        "blocks": len(plan.blocks),
        "networks": len(plan.networks),
        "plan": plan.timing.digest,
    }
    if not args.json:
        print(f"{summary['blocks']} blocks and {summary['networks']} whole networks: {args.export}")
        print("on the device: unpack it, pip install onnxruntime, python run.py")
        print(f"then here: ofa profile --import results.csv --space {args.space} --out FILE")
    return summary


def _settings(args: argparse.Namespace) -> Settings:
    from latency_tables.profiling.plan import Settings

    given = {name: getattr(args, name) for name in ("runs", "batch", "seed") if getattr(args, name) is not None}
    if args.networks is not None:
        if args.networks < 2:
            raise UserError(f"--networks is {args.networks}; must be at least 2")
        given["fit_networks"] = -(-args.networks // 3)
        given["test_networks"] = args.networks - given["fit_networks"]
    return Settings(**given)


def _refuse(args: argparse.Namespace, verb: str, *names: str) -> None:
    """Raise `UserError` for an option that the chosen mode would ignore."""
    for name in names:
        if getattr(args, name) not in (None, False):
            raise UserError(f"--{name.replace('_', '-')} has no meaning with {verb}")


def _save(args: argparse.Namespace, platform: Platform) -> dict[str, Any]:
    import sys

    from latency_tables.catalogue import save_platform
    from ofa.cli.shared.options import WAIT_S
    from ofa.files.output import locked_output

    with locked_output(args.out, WAIT_S):
        save_platform(platform, args.out)
    error, table, energy = platform.error, platform.table, platform.energy
    assert table is not None
    assert energy is not None
    assert error.mape is not None
    summary: dict[str, Any] = {"out": str(args.out), "name": platform.name, "device": platform.device}
    summary |= {"runtime": platform.runtime, "threads": platform.threads, "blocks": len(table.blocks)}
    summary |= {"intercept_ms": table.intercept_ms, "factor": table.factor, "held_out_networks": error.networks}
    summary |= {name: getattr(error, name) for name in ("mape", "worst", "within_5", "within_10", "spearman", "note")}
    summary |= {"timed_seconds": float(platform.details["timed seconds"]), "energy_source": energy.source}
    summary |= {"energy_mape": None if energy.error is None else energy.error.mape}
    if not args.json:
        _show(summary)
    for metric, report in (("latency", error), ("energy", energy.error)):
        if report is not None and report.verdict != "passed":
            print(f"ofa profile: warning: {metric}: {report.note}", file=sys.stderr)
    return summary


def _show(summary: dict[str, Any]) -> None:
    print(f"{summary['blocks']} blocks on {summary['device']}, {summary['runtime']}, threads: {summary['threads']}")
    print(f"whole network = {summary['intercept_ms']} ms + {summary['factor']} x sum of blocks")
    rank = "" if summary["spearman"] is None else f", Spearman {summary['spearman']:.3f}"
    shares = f"{summary['within_5']:.0%} within 5%, {summary['within_10']:.0%} within 10%"
    print(f"{summary['held_out_networks']} held-out networks: error {summary['mape']:.1%} ({shares}){rank}")
    off = "" if summary["energy_mape"] is None else f"; error {summary['energy_mape']:.1%} on the held-out networks"
    print(f"energy: {summary['energy_source']}{off}")
    print(f"written: {summary['out']} (ofa platforms {summary['out']})")
