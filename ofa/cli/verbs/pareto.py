"""Draw accuracy against energy, latency or another cost for one or several platforms, and write the numbers as CSV."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latency_tables.metrics import METRICS
from ofa.cli.shared.energy import add_energy_arguments, booked_in_run, device_of, energy_choice
from ofa.cli.shared.options import add_accuracy_argument, add_measuring_arguments, check_at_least, printer
from ofa.cli.shared.question import add_fix_argument, load_platforms, parse_fixes, searched_part
from ofa.cli.shared.subnet_weights import without_images
from ofa.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from latency_tables import Costs, Platform
    from ofa.cli.shared.options import Measured
    from ofa.files.bundle import Place
    from ofa.measure.accuracy import AccuracyMetric
    from ofa.runs.run_files import RunFiles
    from ofa.space.search_space import Genes
    from search.fronts.survey import Survey
    from search.predictors.protocols import Predictor

EXAMPLE = """ofa pareto runs/demo --platform edge-int8 --platform eyeriss-like --out front.png
  ofa pareto --history search.jsonl --out history.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa pareto`."""
    parser.add_argument("run", nargs="?", help="a trained run directory with a predictor")
    parser.add_argument("--platform", action="append", default=[], metavar="P", help="name or YAML file; may be repeated")
    parser.add_argument("--x", default="energy_mj", choices=METRICS, help="the cost (default: energy_mj)")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the figure: .png, .svg or .pdf")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the numbers (default: beside the figure)")
    parser.add_argument(
        "--overlay", type=Path, metavar="CSV", help="other networks to draw: columns name, top1 (0 to 1) and the cost"
    )
    parser.add_argument("--samples", type=int, default=2000, metavar="N", help="random subnets in the cloud (default: 2000)")
    parser.add_argument("--points", type=int, default=11, metavar="K", help="subnets of each front to measure (default: 11)")
    parser.add_argument(
        "--split",
        default="validation",
        choices=("validation", "test"),
        help="images of the figure's accuracies; test: the front is found on validation images, then measured on test "
        "images, once (default: validation)",
    )
    parser.add_argument("--no-verify", action="store_true", help="draw predictions only; nothing is measured")
    parser.add_argument(
        "--history",
        action="append",
        default=[],
        type=Path,
        metavar="JSONL",
        help="draw instead the progress of a search, from the log of `ofa query --history`; may be repeated",
    )
    add_fix_argument(parser)
    add_accuracy_argument(parser, default="the metric that the predictor was fitted to")
    add_measuring_arguments(parser)
    add_energy_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Search the predicted front, measure some of its subnets, and write figure and CSV; or draw a search's history."""
    check_at_least(args, samples=1, points=2, images=1, seed=0)
    energy = energy_choice(args)
    if args.split == "test" and args.no_verify:
        raise UserError("--split test does not go with --no-verify, which measures nothing")
    if args.history:
        return _draw_histories(args)
    if args.run is None:
        raise UserError("RUN is missing; give a run directory (or --history FILE)")

    from latency_tables.costs.boundaries import mixed_boundaries
    from search.plots.front import COLOURS, check_format, draw, save_figure
    from search.plots.overlay import read_overlay
    from search.reports.front_csv import write_csv

    check_format(args.out)
    csv = args.csv or args.out.with_suffix(".csv")
    _check_csv(csv, args)
    platforms = load_platforms(args.platform)
    names = [platform.name for platform in platforms]
    if len(names) > len(COLOURS):
        raise UserError(f"--platform is given {len(names)} times; at most {len(COLOURS)} can be told apart")

    from ofa.cli.shared.options import WAIT_S, open_predictor
    from ofa.energy.account import QUERY
    from ofa.files.output import locked_output
    from ofa.runs.run_files import RunFiles

    say = printer(args)
    directory = RunFiles.open(args.run)
    predictor, _, accuracy = open_predictor(directory, args.accuracy)
    overlay = None if args.overlay is None else read_overlay(args.overlay, args.x, accuracy.name)
    believed = args.no_verify or without_images(directory)
    if believed and args.split == "test":
        raise UserError(f"{directory.path}: has no images; --split test measures on test images")
    with booked_in_run(energy, directory.path, "pareto", QUERY, device_of(args, not believed)):
        measured = None if believed else _measured(directory.path, args, accuracy)
        surveys, warnings = _surveys(args, directory, platforms, predictor, accuracy, measured)
    title = f"{directory.space.name} on {', '.join(names)}"
    mixed = mixed_boundaries(platforms) if args.x == "energy_mj" else None
    if mixed is not None:
        print(f"warning: {mixed}", file=sys.stderr)
    doubts = [*_all_doubts(platforms, args.x, warnings), *([mixed] if mixed else [])]
    subtitle = "; ".join([f"run {directory.path.name}, one supernet, no retraining", *doubts])
    with locked_output(args.out, WAIT_S), locked_output(csv, WAIT_S):
        save_figure(draw(surveys, title, subtitle, overlay), args.out)
        write_csv(csv, surveys)
    summaries = [_summary(part) | {"warnings": warnings[part.platform]} for part in surveys]
    for summary in summaries:
        for line in _lines(summary):
            say(line)
    say(f"drawn to {args.out}, numbers in {csv}")
    report = {"out": str(args.out), "csv": str(csv), "x": args.x, "accuracy": accuracy.name}
    boundaries = {platform.name: platform.energy and platform.energy.boundary for platform in platforms}
    report |= {"verified": measured is not None, "boundaries": boundaries, "mixed_boundaries": mixed}
    return report | {"platforms": summaries}


def _surveys(
    args: argparse.Namespace,
    directory: RunFiles,
    platforms: Sequence[Platform],
    predictor: Predictor,
    accuracy: AccuracyMetric,
    measured: Measured | None,
) -> tuple[list[Survey], dict[str, list[str]]]:
    """The survey of each platform, measured where `measured` is given; and the warnings of its costs, by its name."""
    import numpy as np

    from ofa.cli.shared.options import answerable, warn
    from ofa.progress_bar import progress_bar
    from search.fronts.survey import survey

    fixes, among = parse_fixes(args.fix), answerable(directory)
    quiet = args.json or not sys.stderr.isatty()
    surveys, warnings = [], {}
    for platform in progress_bar(platforms, desc="fronts", unit="platform", disable=quiet):
        costs = platform.costs(directory.space)
        rng = np.random.default_rng(args.seed)  # the same cloud on every platform
        inside = searched_part(directory.space, fixes, [costs], predictor)
        asked = (args.x, platform.name, args.samples, rng)
        part = survey(directory.space, predictor, costs, *asked, part=inside, accuracy=accuracy, among=among)
        warn(costs)
        warnings[platform.name] = list(costs.warnings)
        surveys.append(part if measured is None else _with_measurements(part, measured, costs, args))
    return surveys, warnings


def _all_doubts(platforms: Sequence[Platform], metric: str, warnings: Mapping[str, Sequence[str]]) -> list[str]:
    """Caveats in a figure about all of its platforms."""
    doubts = [doubt for platform in platforms for doubt in _doubts(platform, metric, alone=len(platforms) == 1)]
    beyond = [name for name, told in warnings.items() if any("outside the calibration" in warning for warning in told)]
    if beyond and METRICS[metric].estimated:
        doubts.append(f"sizes beyond the calibration of {', '.join(beyond)}")
    return doubts


def _doubts(platform: Platform, metric: str, alone: bool) -> list[str]:
    """Caveats in a figure about a platform's estimates: a large error, the boundary of its energy, power x time.

    With several platforms, `alone` False, boundaries are named only where they differ (`mixed_boundaries`).
    """
    from latency_tables.costs.boundaries import boundary_words, ranks_as_latency
    from latency_tables.costs.computations import COMPUTATIONS

    report, found = COMPUTATIONS[metric].error(platform), []
    if report is not None and report.verdict == "refused":
        found.append(f"{platform.name} is off by {report.mape:.0%}: order of magnitude only")
    if metric != "energy_mj" or platform.energy is None:
        return found
    if alone:
        found.append(boundary_words(platform.energy.boundary))
    factor = None if report is None else report.expected_factor
    if ranks_as_latency(platform):
        sure = "" if factor is None else f" (a factor of {factor:g})"
        found.append(f"energy on {platform.name} is power x time{sure}: this front ranks as latency does")
    elif factor is not None:
        found.append(f"energy on {platform.name} is expected within a factor of {factor:g}")
    return found


def _check_csv(csv: Path, args: argparse.Namespace) -> None:
    """Raise `UserError` where the CSV would replace the figure or the CSV of --overlay."""
    for option, other in (("--out", args.out), ("--overlay", args.overlay)):
        if other is not None and csv.resolve() == other.resolve():
            raise UserError(f"the numbers would be written to {csv}, which is the file of {option}; give another with --csv")


def _with_measurements(part: Survey, measured: Measured, costs: Costs, args: argparse.Namespace) -> Survey:
    """Points of the front, measured; where no validation images are here, those that were measured before."""
    import numpy as np

    chosen = part.to_measure(args.points)
    known = measured.known(chosen)
    chosen = chosen[known]
    if not known[-1]:  # the largest net
        printer(args)(f"{part.platform}: nothing can be measured here, and the largest net was not measured before")
        return part
    found = _measure(part, chosen, measured, costs)
    if args.split == "validation":
        return found
    return _measure(part, np.concatenate([found.measured[found.measured_front()], chosen[-1:]]), measured.on_test, costs)


def _measure(part: Survey, genes: Genes, measured: Measured, costs: Costs) -> Survey:
    """The survey with measurements of rows of its front, then the largest net, int8[n, genes]."""
    from search.measurements.noise import paired_error

    top1, error = measured.top1(genes), measured.log.standard_error(genes)
    beside = paired_error(measured.log.by_group(genes))
    cost = costs.of(part.metric, genes)
    return part.with_measurements(genes, cost, top1, measured.images, error, beside, measured.split)


def _measured(run: Place, args: argparse.Namespace, accuracy: AccuracyMetric) -> Measured:
    from ofa.cli.shared.options import Measured
    from ofa.runs.run_directory import RunDirectory

    measured = Measured.open(RunDirectory.open(run), args.images, args.device, not args.json, accuracy=accuracy)
    if args.split == "test":
        _ = measured.on_test  # raises before anything is measured
    return measured


def _draw_histories(args: argparse.Namespace) -> dict[str, Any]:
    """Draw the progress of logged searches."""
    from ofa.cli.shared.options import WAIT_S
    from ofa.files.output import locked_output
    from search.evaluations.log import read_log
    from search.plots.front import check_format, save_figure
    from search.plots.history import draw_history

    for option, used in (
        ("RUN", args.run),
        ("--platform", args.platform),
        ("--overlay", args.overlay),
        ("--split", args.split == "test"),
    ):
        if used:
            raise UserError(f"{option} does not go with --history, which draws logs alone")
    check_format(args.out)
    short = len({path.name for path in args.history}) == len(args.history)
    logs = {path.name if short else str(path): read_log(path) for path in args.history}
    with locked_output(args.out, WAIT_S):
        save_figure(draw_history(logs, "Progress of the search"), args.out)
    say = printer(args)
    ends = []
    for name, log in logs.items():
        volume = float(log.hypervolume[-1])
        ends.append(
            {
                "history": name,
                "algorithm": log.header["algorithm"],
                "evaluations": int(log.evaluations[-1]),
                "best": float(log.best[-1]),
                "hypervolume": None if volume != volume else volume,
            }
        )
        say(f"{name}: {log.header['algorithm']}, best {log.best[-1]:.6g} after {log.evaluations[-1]:,} predictions")
    say(f"drawn to {args.out}")
    return {"out": str(args.out), "histories": ends}


def _summary(survey: Survey) -> dict[str, Any]:
    name = survey.accuracy.name
    points = [
        {survey.metric: float(cost), f"measured_{name}": float(top1)}
        for cost, top1 in zip(survey.measured_cost, survey.measured_top1, strict=True)
    ]
    cost, top1 = survey.reference
    return {
        "platform": survey.platform,
        "front_points": len(survey.front),
        "measured": points,
        "images": survey.images,
        "split": survey.split,
        "paired_standard_error": survey.paired_error,
        "largest": {
            survey.metric: survey.largest_cost,
            f"predicted_{name}": survey.largest_top1,
            f"measured_{name}": survey.largest_measured,
        },
        "hypervolume": {
            "predicted": survey.predicted_hypervolume(),
            "measured": survey.measured_hypervolume(),
            "reference": {survey.metric: cost, name: top1},
        },
    }


def _lines(part: dict[str, Any]) -> list[str]:
    from ofa.measure.accuracy import ACCURACIES

    measured = (
        f"{len(part['measured'])} measured on {part['images']} {part['split']} images"
        if part["measured"]
        else "none measured"
    )
    volume = part["hypervolume"]
    (metric, cost), (accuracy, top1) = volume["reference"].items()
    volumes = f"{volume['predicted']:.4g} predicted"
    if volume["measured"] is not None:
        volumes += f", {volume['measured']:.4g} of the measured points"
    return [
        f"{part['platform']}: {part['front_points']} subnets on the predicted front, {measured}",
        f"  hypervolume {volumes} ({metric} x {ACCURACIES[accuracy].words}, from {cost:.4g} and {100 * top1:.2f}%)",
    ]
