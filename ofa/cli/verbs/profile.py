"""Measure this machine as a platform: the latency of every block of a space, and of whole subnets to check the sums.

Each time is saved at once in FILE.partial.csv: after a kill, the same command resumes. For a device without this project,
--export a kit and --import its results. For one without any counter, such as a microcontroller, --recording takes a meter's
file: with --subnet, the energy and latency of that network go into a CSV for `ofa calibrate` (docs/energy.md).
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.energy import booked_in_run
from ofa.cli.shared.options import WAIT_S, platform_name
from ofa.cli.shared.recordings import add_recording_arguments, recorded
from ofa.energy.account import PROFILE
from ofa.energy.choice import COUNTERS, ZEUS, EnergyChoice
from ofa.errors import UserError
from ofa.files.output import locked_output

if TYPE_CHECKING:
    from latency_tables import Platform
    from latency_tables.cost_models.op_model import EnergyModel
    from latency_tables.profiling.plan import Settings
    from ofa.energy.recordings.inference import InferenceEnergy
    from ofa.space.search_space import SearchSpace

EXAMPLE = """ofa profile --space fmnist --out my-machine.yaml --runtime onnxruntime --threads 1
  ofa profile --recording ppk2.csv --marker D0 --volts 3 --boundary board --subnet best/ --out u575.csv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa profile`."""
    parser.add_argument("--space", help="a space by name (mbv3-w1.2, ...) or a YAML file")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the platform, a YAML file; with --subnet, a CSV")
    parser.add_argument("--name", help="name of the platform (default: the file's name without its ending)")
    parser.add_argument("--runtime", help="runtime to measure: torch (eager, the default), onnxruntime, litert, executorch")
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
        "--export",
        type=Path,
        metavar="KIT.zip",
        help="write a kit for a device, with --runtime onnxruntime (default) or litert",
    )
    parser.add_argument(
        "--import", type=Path, metavar="RESULTS.csv", dest="results", help="make the platform from the results of a kit"
    )
    parser.add_argument(
        "--subnet", type=Path, metavar="DIR", help="with --recording: the network that was recorded, a subnet directory"
    )
    parser.add_argument("--energy", metavar="ORIGIN", help="this machine's energy: counters (RAPL, NVML; default) or zeus")
    parser.add_argument("--run", metavar="RUN", help="book the time and energy of this profile in a run")
    add_recording_arguments(parser)


MEASURING = ("runtime", "device", "threads", "channels_last", "energy_s")
BOOKING = ("energy", "run")
PLANNING = ("runs", "batch", "resolutions", "networks", "seed")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, export or import, or take a network's energy from a recording; returns a summary."""
    from ofa.space.search_space import load_space

    if args.export is not None and args.results is not None:
        raise UserError("give --export or --import, not both")
    if args.subnet is not None:
        _refuse(args, "--subnet", "space", "name", "power_w", "export", "results", *MEASURING, *PLANNING, *BOOKING)
        return _record(args)
    if args.space is None and args.recording is not None:
        alone = ("out", "name", "power_w", "export", "results", *MEASURING, *PLANNING, *BOOKING)
        _refuse(args, "--recording without --subnet or --space", *alone)
        return _tell(args)
    if args.space is None:
        raise UserError("--space SPACE is missing: the space whose blocks are measured")
    space = load_space(args.space)
    if args.export is not None:
        _refuse(args, "--export", "out", "name", "power_w", "recording", *MEASURING[1:], *BOOKING)
        return _export(args, space)
    _check_out(args.out, "platform", ".yaml", ".yml")
    if args.recording is not None:
        _refuse(args, "--recording", "power_w", "energy_s")
    if args.results is not None:
        _refuse(args, "--import", *MEASURING, *PLANNING, *BOOKING)
        return _import(args, space)
    return _measure(args, space)


def _check_out(out: Path | None, what: str, *endings: str) -> None:
    if out is None:
        raise UserError(f"--out FILE is missing: where to write the {what}")
    if out.suffix not in endings:
        raise UserError(f"--out is {out}; it must end in {endings[0]}")
    if out.is_dir():
        raise UserError(f"--out is {out}, a folder; it must be a file")


def _record(args: argparse.Namespace) -> dict[str, Any]:
    """Write the energy and latency of a network that a meter recorded to a CSV for `ofa calibrate`."""
    from latency_tables.calibration.measured_csv import add_network
    from ofa.deploy.subnet_directory import read_subnet

    _check_out(args.out, "measurement", ".csv")
    found = recorded(args)
    if found is None:
        raise UserError(f"--subnet {args.subnet} needs --recording FILE: the meter's file")
    space, subnet = read_subnet(args.subnet)
    with locked_output(args.out, WAIT_S):
        networks = add_network(args.out, space, args.subnet / "space.yaml", subnet, found)
    if not args.json:
        _show_inference(found)
        print(
            f"{networks} {'networks' if networks > 1 else 'network'} in {args.out}: ofa calibrate makes a platform of them"
        )
    return {"out": str(args.out), "networks": networks, "subnet": str(args.subnet)} | found.plain()


def _tell(args: argparse.Namespace) -> dict[str, Any]:
    """The energy and latency of an inference that a meter recorded, written nowhere."""
    found = recorded(args)
    assert found is not None
    if not args.json:
        _show_inference(found)
    return found.plain()


def _show_inference(found: InferenceEnergy) -> None:
    spread = "" if found.standard_error_j is None else f" \N{PLUS-MINUS SIGN}{1e3 * found.standard_error_j:.2g}"
    print(f"{1e3 * found.joules:.4g}{spread} mJ and {1e3 * found.seconds:.4g} ms per inference, {1e3 * found.watts:.4g} mW")
    print(found.source)


def _recorded_power(args: argparse.Namespace) -> EnergyModel | None:
    """Power during inference that a meter recorded; None without a recording."""
    found = recorded(args)
    if found is None:
        return None
    from latency_tables.profiling.block_power import recorded_power

    return recorded_power(found)


def _energy(args: argparse.Namespace) -> EnergyChoice:
    """The counters to read; a profile takes no estimate, for which there is --power-w."""
    if args.energy not in (None, COUNTERS, ZEUS):
        raise UserError(f"--energy is {args.energy}; to profile it is {COUNTERS} or {ZEUS} (or give --power-w W)")
    return EnergyChoice.of(args.energy or COUNTERS)


def _measure(args: argparse.Namespace, space: SearchSpace) -> dict[str, Any]:
    from latency_tables.profiling.profile import ProfileTarget, profile
    from ofa.runs.run_files import RunFiles

    if args.resolutions:
        space = space.restrict(resolutions=args.resolutions)
    given = {name: getattr(args, name) for name in (*MEASURING, "power_w") if getattr(args, name) is not None}
    target = ProfileTarget(**given)
    power, energy = _recorded_power(args), _energy(args)
    run = None if args.run is None else RunFiles.open(args.run)
    partial = args.out.with_name(f"{args.out.name}.partial.csv")
    show = not args.json and sys.stderr.isatty()
    booking = nullcontext() if run is None else booked_in_run(energy, run.path, PROFILE, PROFILE, args.device or "cpu")
    with locked_output(args.out), booking:
        platform = profile(space, platform_name(args.name, args.out), _settings(args), target, partial, show, power, energy)
        summary = _save(args, platform)
        partial.unlink()
    return summary


def _import(args: argparse.Namespace, space: SearchSpace) -> dict[str, Any]:
    from latency_tables.profiling.profile import import_results

    name, power = platform_name(args.name, args.out), _recorded_power(args)
    return _save(args, import_results(args.results, space, name, args.power_w, power))


def _export(args: argparse.Namespace, space: SearchSpace) -> dict[str, Any]:
    from latency_tables.profiling.kit import PACKAGES, export_kit

    if args.export.suffix != ".zip":
        raise UserError(f"--export is {args.export}; it must end in .zip")
    runtime = args.runtime or "onnxruntime"
    if runtime not in PACKAGES:
        raise UserError(f"--runtime is {runtime}; a kit measures {' or '.join(PACKAGES)}")
    with locked_output(args.export, WAIT_S):
        plan = export_kit(args.export, space, args.resolutions, _settings(args), runtime)
    summary = {
        "kit": str(args.export),
        "blocks": len(plan.blocks),
        "networks": len(plan.networks),
        "plan": plan.timing.digest,
    }
    if not args.json:
        print(f"{summary['blocks']} blocks and {summary['networks']} whole networks: {args.export}")
        print(f"on the device: unpack it, pip install {PACKAGES[runtime][0]}, python run.py")
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
    from latency_tables.catalogue import save_platform

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
