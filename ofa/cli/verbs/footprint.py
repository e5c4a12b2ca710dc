"""Energy and CO2e over a life: training, search, inference, transmission, manufacture; break-even points; the energy label.

Each part has its kind (metered, estimated, modelled, unknown) and its source; totals add up what is known and name what is
not. Without --grid there is energy alone: no region is guessed, and nothing is looked up on a network.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ofa.cli.life.parts import Grids, Inference, embodied, inferred, read_grids, read_pue, transmitted, worked
from ofa.cli.life.points import against_cloud, break_evens
from ofa.cli.life.subject import Subject, inference_of, open_subject, work_of
from ofa.cli.life.text import show_life, title_of
from ofa.cli.shared.options import check_at_least, printer
from ofa.cli.shared.recordings import add_recording_arguments
from ofa.errors import UserError
from ofa.footprint.energy_label import load_bounds
from ofa.footprint.lifecycle import Part, total
from ofa.footprint.tables import Pue
from ofa.runs.spent import OF_TRAINING

EXAMPLE = """ofa footprint fashion-mnist --platform stm32-u575 --inferences 1e6 --devices 1000 --grid FRA
  ofa footprint best/ --run runs/demo --platform edge-int8 --inferences 1e6 --grid europe-west9 --pue aws --plot life.png
  ofa footprint fashion-mnist --platform stm32-u575 --inferences 1e6 --cloud lte --server-mj 140 --server-pue 1.2
  ofa footprint --inferences 1e9 --inference-mj 0.03 --training-kwh 1.5 --grid 56 --rival-kwh 0.4"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa footprint`."""
    parser.add_argument(
        "what", nargs="?", metavar="RUN|SUBNET_DIR", help="a run, bundle or name of the zoo, or a queried subnet"
    )
    parser.add_argument("--platform", metavar="P", help="the device, by name or YAML file")
    parser.add_argument("--inferences", type=float, required=True, metavar="N", help="inferences on each device")
    parser.add_argument("--devices", type=float, default=1, metavar="N", help="devices (default: 1)")
    parser.add_argument(
        "--subnet", metavar="FILE", help="of a RUN: largest (default), smallest, or a file that describes one"
    )
    parser.add_argument("--run", metavar="RUN", help="of a SUBNET_DIR: its run, if it does not lie in it")
    parser.add_argument(
        "--failed", action="append", default=[], metavar="RUN", help="a run that failed and counts too; may be repeated"
    )
    parser.add_argument("--inference-mj", type=float, metavar="X", help="energy of an inference, in place of the platform's")
    parser.add_argument("--inference-ms", type=float, metavar="X", help="time of an inference, in place of the platform's")
    parser.add_argument("--training-kwh", type=float, metavar="X", help="energy of training, in place of what is booked")
    parser.add_argument("--search-kwh", type=float, metavar="X", help="energy of the search, in place of what is booked")
    _add_power(parser)
    _add_places(parser)
    _add_sending(parser)
    parser.add_argument("--device", metavar="NAME", help="a device whose manufacture is known: smartphone, camera, ...")
    parser.add_argument("--embodied-kg", type=float, metavar="KG", help="CO2e of making a device, in place of --device")
    parser.add_argument("--lifetime-years", type=float, metavar="Y", help="life over which it is shared out by time")
    parser.add_argument("--life-share", type=float, metavar="S", help="share of the device's life instead; 1: bought for it")
    parser.add_argument("--rival-kwh", type=float, metavar="X", help="energy of a rival that trains for each device")
    parser.add_argument(
        "--each-kwh", type=float, default=0.0, metavar="X", help="energy that our way adds for each (default: 0)"
    )
    parser.add_argument(
        "--label", type=Path, metavar="JSON", help="bounds of another label, with their checksum (default: ofa-1)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the parts as stacked bars: .png, .svg or .pdf")
    add_recording_arguments(parser)


def _add_power(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--power-w", type=float, metavar="W", help="estimate time without a reading from this mean power")
    parser.add_argument("--accelerator", metavar="NAME", help="estimate it from an accelerator's TDP: V100, A100, T4, ...")
    parser.add_argument("--accelerators", type=int, default=1, metavar="N", help="so many of them (default: 1)")
    parser.add_argument("--utilisation", type=float, metavar="U", help="mean power over TDP, in [0, 1]")


def _add_places(parser: argparse.ArgumentParser) -> None:
    words = "country (FR, FRA, France), cloud region (europe-west9), or g CO2e/kWh"
    parser.add_argument("--grid", metavar="REGION", help=f"grid of all that has none of its own: {words}")
    parser.add_argument("--train-grid", metavar="REGION", help="grid of training and search (default: --grid)")
    parser.add_argument("--server-grid", metavar="REGION", help="grid of the server (default: --grid)")
    parser.add_argument(
        "--grid-file", type=Path, metavar="CSV", help="grids of your own: columns region, year, g_per_kwh, source"
    )
    parser.add_argument(
        "--pue", metavar="X", help="PUE of the data centre of training: a number, AWS, ... (default: of the region, else 1)"
    )
    parser.add_argument("--server-pue", metavar="X", help="PUE of the server's data centre (default: of the region, else 1)")


def _add_sending(parser: argparse.ArgumentParser) -> None:
    routes = "wifi, lte, 5g, ble, 802.15.4, lora-sf7, lora-sf12, fixed"
    parser.add_argument("--send", metavar="ROUTE", help=f"what the device sends goes by {routes}, or none")
    parser.add_argument("--bytes", type=float, metavar="N", help="bytes that it sends per inference")
    parser.add_argument("--cloud", metavar="ROUTE", help="compare with a server to which the input goes by this route")
    parser.add_argument("--cloud-bytes", type=float, metavar="N", help="bytes of an input (default: a byte a value)")
    parser.add_argument(
        "--server-mj", type=float, metavar="X", help="energy of an inference on the server, without overhead"
    )
    parser.add_argument("--server-platform", metavar="P", help="the server as a platform, for the same subnet")
    parser.add_argument(
        "--per-burst", type=float, default=1.0, metavar="N", help="inferences whose bytes go together (default: 1)"
    )
    parser.add_argument(
        "--radio-uj-per-byte", type=float, metavar="X", help="energy of a byte in the radio, in place of the route's"
    )
    parser.add_argument(
        "--network-kwh-per-gb", type=float, metavar="X", help="intensity of the network, in place of the route's"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Add up, compare, draw."""
    from latency_tables import load_platform

    devices, bounds = _check(args), load_bounds(args.label)
    grids = read_grids(args)
    pue = read_pue(args.pue, "--pue", grids.training)
    platform = None if args.platform is None else load_platform(args.platform)
    subject = open_subject(args)
    inference = inference_of(args, subject, platform)
    parts = _parts(args, subject, inference, grids, pue, devices)
    whole = total(parts)
    cloud = against_cloud(args, inference, grids, subject, platform)
    answer = {
        "subject": None if subject is None else subject.name,
        "platform": None if platform is None else platform.name,
        "inferences": args.inferences,
        "devices": devices,
        "inference_j": inference.joules,
        "inference_p90_j": inference.p90_joules,
        "grids": grids.plain(),
        "pue": {"value": pue.value, "source": pue.source},
        "parts": {part.name: _plain(part) for part in parts},
        "total": {
            "kwh": whole.kwh,
            "kg_co2e": whole.kg,
            "kwh_without": list(whole.kwh_without),
            "kg_without": list(whole.kg_without),
            "missing": list(whole.missing),
        },
        "break_even": break_evens(args, parts, inference, grids, cloud),
        "edge_against_cloud": cloud,
        "label": None if subject is None or platform is None else subject.label(platform, bounds, inference.recorded),
    }
    if args.plot is not None:
        from ofa.cli.shared.options import WAIT_S
        from ofa.files.output import locked_output
        from search.plots.life import draw_life

        with locked_output(args.plot, WAIT_S):
            draw_life(parts, title_of(answer), args.plot)
        answer["plot"] = str(args.plot)
    show_life(answer, parts, whole, printer(args))
    return answer


def _parts(
    args: argparse.Namespace, subject: Subject | None, inference: Inference, grids: Grids, pue: Pue, devices: int
) -> list[Part]:
    work = work_of(args, subject)
    of_training = [row for row in work if row.purpose in OF_TRAINING]
    of_search = [row for row in work if row.purpose not in OF_TRAINING]
    return [
        *worked("training", of_training, args, grids.training, pue),
        *worked("search", of_search, args, grids.training, pue),
        inferred(inference, args.inferences * devices, grids.use),
        transmitted(args, args.inferences * devices, grids.use),
        embodied(args, inference, devices),
    ]


def _check(args: argparse.Namespace) -> int:
    """The number of devices; raises `UserError` for a number out of range, and for options that contradict each other."""
    from ofa.footprint.checks import number, whole

    check_at_least(args, accelerators=1)
    number("--inferences", args.inferences)
    for name in ("training_kwh", "search_kwh"):
        if getattr(args, name) is not None:
            number(f"--{name.replace('_', '-')}", getattr(args, name))
    for one, other in (("power_w", "accelerator"), ("device", "embodied_kg"), ("life_share", "lifetime_years")):
        if getattr(args, one) is not None and getattr(args, other) is not None:
            raise UserError(f"--{one.replace('_', '-')} and --{other.replace('_', '-')} are both given; give one of them")
    alone = (
        ("utilisation", "accelerator"),
        ("bytes", "send"),
        ("grid_file", "grid"),
        ("server_grid", "cloud"),
        ("server_pue", "cloud"),
    )
    for one, other in alone:
        if getattr(args, one) is not None and getattr(args, other) is None:
            raise UserError(f"--{one.replace('_', '-')} goes with --{other.replace('_', '-')}, and there is none")
    if args.plot is not None:
        from search.plots.front import check_format

        check_format(args.plot, "--plot")
    return whole("--devices", args.devices, 1)


def _plain(part: Part) -> dict[str, Any]:
    facts = {"kwh": part.kwh, "kg_co2e": part.kg, "kind": part.kind, "source": part.source}
    return facts | {"missing": list(part.missing)}
