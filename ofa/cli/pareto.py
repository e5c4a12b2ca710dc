"""Draw accuracy against energy, latency or another cost for one or several platforms, and write the numbers as CSV."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.common import add_measuring_arguments, check_at_least, printer
from ofa.errors import UserError

if TYPE_CHECKING:
    from search.survey import Survey

EXAMPLE = "ofa pareto runs/demo --platform edge-int8 --platform eyeriss-like --out front.png"
METRICS = ("energy_mj", "latency_ms", "macs_m", "params_m", "memory_kb")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("run", help="a trained run directory with a predictor")
    parser.add_argument("--platform", required=True, action="append", metavar="P", help="name or YAML file; may be repeated")
    parser.add_argument("--x", default="energy_mj", choices=METRICS, help="the cost (default: energy_mj)")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the figure: .png, .svg or .pdf")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the numbers (default: beside the figure)")
    parser.add_argument("--samples", type=int, default=2000, metavar="N", help="random subnets in the cloud (default: 2000)")
    parser.add_argument("--points", type=int, default=11, metavar="K", help="points of each front to measure (default: 11)")
    parser.add_argument("--no-verify", action="store_true", help="draw predictions only; nothing is measured")
    add_measuring_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Predict, search the front, measure points of it, draw, write."""
    check_at_least(args, samples=1, points=2, images=1, seed=0)

    import numpy as np

    from latency_tables import load_platform
    from search.plot import COLOURS, check_format, draw, save_figure
    from search.report import write_csv
    from search.survey import survey

    check_format(args.out)
    csv = args.csv or args.out.with_suffix(".csv")
    platforms = [load_platform(name) for name in args.platform]
    names = [platform.name for platform in platforms]
    if len(set(names)) < len(names) or len(names) > len(COLOURS):
        raise UserError(f"--platform is {', '.join(names)}; must be distinct and at most {len(COLOURS)}")

    from ofa.cli.common import Measured, open_predictor, platform_costs
    from ofa.run import RunDirectory

    say = printer(args)
    directory = RunDirectory.open(args.run)
    predictor, _ = open_predictor(directory)
    surveys = []
    measured = None if args.no_verify else Measured.open(directory, args.images, args.device, show=not args.json)
    for platform in platforms:
        costs = platform_costs(platform, directory.space)
        rng = np.random.default_rng(args.seed)  # the same cloud on every platform
        part = survey(directory.space, predictor, costs, args.x, platform.name, args.samples, rng)
        if measured is not None:
            chosen = part.to_measure(args.points)
            part = part.with_measurements(chosen, costs.of(args.x, chosen), measured.top1(chosen), measured.images)
        surveys.append(part)
    title = f"{directory.space.name} on {', '.join(names)}"
    save_figure(draw(surveys, title, f"run {directory.path.name}, one supernet, no retraining"), args.out)
    write_csv(csv, surveys)
    summaries = [_summary(part) for part in surveys]
    for summary in summaries:
        say(_line(summary))
    say(f"drawn to {args.out}, numbers in {csv}")
    return {"out": str(args.out), "csv": str(csv), "x": args.x, "verified": not args.no_verify, "platforms": summaries}


def _summary(survey: Survey) -> dict[str, Any]:
    from search.pareto import hypervolume

    points = [
        {survey.metric: float(cost), "measured_top1": float(top1)}
        for cost, top1 in zip(survey.measured_cost, survey.measured_top1, strict=True)
    ]
    worst_cost, worst_top1 = float(survey.cloud_cost.max()), float(survey.cloud_top1.min())
    return {
        "platform": survey.platform,
        "front_points": len(survey.front),
        "measured": points,
        "images": survey.images,
        "largest": {
            survey.metric: survey.largest_cost,
            "predicted_top1": survey.largest_top1,
            "measured_top1": survey.largest_measured,
        },
        "hypervolume": {
            "predicted": hypervolume(survey.front_cost, survey.front_top1, worst_cost, worst_top1),
            "reference": {survey.metric: worst_cost, "top1": worst_top1},
        },
    }


def _line(part: dict[str, Any]) -> str:
    measured = f"{len(part['measured'])} measured on {part['images']} images" if part["measured"] else "none measured"
    return f"{part['platform']}: {part['front_points']} subnets on the predicted front, {measured}"
