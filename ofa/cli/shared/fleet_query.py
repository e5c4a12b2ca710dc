"""`ofa query RUN --fleet devices.csv`: the most accurate subnet of every device within its limits."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latency_tables.cost_models.uncertainty import check_confidence
from latency_tables.metrics import METRICS, limit_number
from ofa.cli.shared.energy import booked_in_run, device_of, energy_choice
from ofa.cli.shared.options import WAIT_S, answerable, open_predictor, printer, warn, written_beside
from ofa.cli.shared.question import flag, parse_bounds, parse_fixes, searched_part
from ofa.cli.shared.subnet_weights import without_images
from ofa.energy.account import QUERY
from ofa.errors import UserError
from ofa.files.output import locked_output
from ofa.measure.accuracy import ACCURACIES, AccuracyMetric

if TYPE_CHECKING:
    from latency_tables import Costs, Platform
    from ofa.runs.run_files import RunFiles
    from ofa.space.search_space import Genes, SearchSpace
    from search.arrays import Floats
    from search.fleet.answer import Fleet, FleetAnswer
    from search.predictors.protocols import Predictor
    from search.problem.problem import Problem

ALGORITHMS = ("auto", "exact", "nsga2")
SHOWN = 3


def run_fleet(args: argparse.Namespace) -> dict[str, Any]:
    """Read the devices, choose a subnet for each, measure these subnets, write the answer."""
    _check_options(args)

    import numpy as np

    from ofa.progress_bar import progress_bar
    from ofa.runs.run_files import RunFiles
    from search.fleet.answer import answer
    from search.fleet.files import check_fleet_format, read_fleet, subnets_file, write_fleet
    from search.searchers.catalogue import DEFAULT_BUDGET

    say, energy = printer(args), energy_choice(args)
    fixes = parse_fixes(args.fix)
    if args.confidence is not None:
        check_confidence(args.confidence)
    fleet = read_fleet(args.fleet)
    directory = RunFiles.open(args.run)
    out = args.out or written_beside(directory, f"{args.fleet.stem}-answer.csv")
    check_fleet_format(out)
    if args.fleet.resolve() in (out.resolve(), subnets_file(out).resolve()):
        raise UserError(f"--out is {out}, which would replace --fleet {args.fleet}; give another file")
    predictor, facts, accuracy = open_predictor(directory, args.accuracy)
    started = time.perf_counter()
    offers = _Offers(args.fleet, fleet, directory.space, predictor, fixes, answerable(directory))
    offers.check(args.confidence)
    fleet = offers.with_confidence(args.confidence)
    exact = args.algorithm != "nsga2"
    quiet = args.json or not sys.stderr.isatty()
    bar = partial(progress_bar, desc="fleet", unit="group", disable=quiet)
    with booked_in_run(energy, directory.path, QUERY, QUERY):
        result = answer(fleet, offers.problem, np.random.default_rng(args.seed), args.budget or DEFAULT_BUDGET, exact, bar)
    searched = next((group for group in result.groups if not group.surface.exact), None)
    if args.algorithm == "exact" and searched is not None:
        raise UserError(f"--algorithm is exact; on {searched.platform}: {searched.surface.method}")
    seconds = time.perf_counter() - started
    for line in _summary(result, seconds):
        say(line)
    measures = not (args.no_verify or without_images(directory)) and len(result.subnets) > 0
    with booked_in_run(energy, directory.path, QUERY, QUERY, device_of(args, measures)):
        report = _report(args, directory, offers, result, accuracy, measures, say)
    with locked_output(out, WAIT_S), locked_output(subnets_file(out), WAIT_S):
        files = write_fleet(out, report)
    say(f"written to {' and '.join(map(str, files))}")
    return _facts(result) | {
        "out": [str(file) for file in files],
        "measured": int(np.isfinite(report.measured).sum()),
        "exact": searched is None,
        "warnings": [warning for costs in offers.costs.values() for warning in costs.warnings],
        "accuracy": accuracy.name,
        "fitted_on": facts["samples"],
        "seconds": seconds,
    }


def _facts(result: FleetAnswer) -> dict[str, Any]:
    """Counts of an answer."""
    devices, served = len(result.fleet.devices), int((result.chosen >= 0).sum())
    counts = {"devices": devices, "platforms": len(result.fleet.platforms), "served": served}
    return counts | {"out_of_reach": devices - served, "subnets": len(result.subnets)}


def _check_options(args: argparse.Namespace) -> None:
    """Raise `UserError` for options that a fleet's file replaces, or that need a single search."""
    given = [metric for metric, bounds in parse_bounds(args).items() if bounds]
    for option, used in [("--platform", args.platform), *((flag(metric), metric in given) for metric in METRICS)]:
        if used:
            raise UserError(f"{option} does not go with --fleet, whose file names platform and limits of each device")
    if args.unrecalibrated:
        raise UserError("--unrecalibrated does not go with --fleet, which writes no weights")
    for option in ("history", "sampler", "storage", "study", "minimize", *(f"min_{name}" for name in ACCURACIES)):
        if getattr(args, option) is not None:
            raise UserError(f"{flag(option)} does not go with --fleet, which runs no single search")
    if args.algorithm not in ALGORITHMS:
        raise UserError(f"--algorithm is {args.algorithm!r}; with --fleet it is one of {', '.join(ALGORITHMS)}")


@dataclass
class _Offers:
    """The platforms of a fleet, with their costs at each confidence and the problem on each."""

    path: Path
    fleet: Fleet
    space: SearchSpace
    predictor: Predictor
    fixes: dict[str, Any]
    among: Genes | None = None
    parts: dict[str, SearchSpace | None] = field(default_factory=dict)

    @cached_property
    def platforms(self) -> dict[str, Platform]:
        """The platforms by their name in the fleet's file; paths are relative to that file."""
        from latency_tables import load_platform

        found = {}
        for i, name in enumerate(self.fleet.platforms):
            word = self.path.parent / name if name.endswith((".yaml", ".yml")) else name
            try:
                found[name] = load_platform(word)
            except UserError as error:
                raise UserError(f"{self._line(self.fleet.platform == i)}: {error}") from None
        return found

    @cached_property
    def costs(self) -> dict[str, Costs]:
        """Estimated costs on each platform, by name."""
        return {name: platform.costs(self.space) for name, platform in self.platforms.items()}

    def problem(self, platform: str, confidence: float | None) -> Problem:
        """The problem without limits on a platform; its warnings go to standard error, once per platform."""
        from search.problem.problem import Problem

        costs = self.costs[platform]
        if platform not in self.parts:
            warn(costs)
            self.parts[platform] = searched_part(self.space, self.fixes, [costs], self.predictor)
        named = {costs.platform.name: costs.at(confidence)}
        return Problem(space=self.space, predictor=self.predictor, costs=named, part=self.parts[platform], among=self.among)

    def with_confidence(self, confidence: float | None) -> Fleet:
        """The fleet with a confidence for the devices that have none of their own."""
        import numpy as np

        if confidence is None:
            return self.fleet
        own = self.fleet.confidence
        return replace(self.fleet, confidence=np.where(np.isnan(own), confidence, own))

    def check(self, confidence: float | None) -> None:
        """Raise `UserError`, with the line, for an unknown platform, or one that does not know a limited metric."""
        import numpy as np

        from search.fleet.answer import COST_COLUMNS

        fleet = self.with_confidence(confidence)
        for i, name in enumerate(fleet.platforms):
            costs = self.costs[name]
            for sure in np.unique(fleet.confidence[fleet.platform == i]):
                for column, metric in enumerate(COST_COLUMNS):
                    same = (fleet.confidence == sure) | (np.isnan(fleet.confidence) & np.isnan(sure))
                    rows = (fleet.platform == i) & same & np.isfinite(fleet.bounds[:, column])
                    if rows.any():
                        try:
                            costs.at(None if np.isnan(sure) else float(sure)).factors(metric)
                        except UserError as error:
                            raise UserError(f"{self._line(rows)}: {error}") from None

    def _line(self, rows: Any) -> str:
        return f"{self.path}:{self.fleet.lines[rows][0]}"


def _summary(result: FleetAnswer, seconds: float) -> list[str]:
    from search.fleet.answer import COST_COLUMNS

    fleet, missing = result.fleet, (result.chosen < 0).nonzero()[0]
    kinds: dict[str, int] = {}
    for group in result.groups:
        kinds[group.surface.method] = kinds.get(group.surface.method, 0) + len(group.rows)
    served = len(fleet.devices) - len(missing)
    lines = [
        f"{len(fleet.devices):,} devices on {len(fleet.platforms)} platforms: {served:,} are served by "
        f"{len(result.subnets):,} distinct subnets, {len(missing):,} have limits out of reach; {seconds:.2f} s"
    ]
    lines += [f"  {count:,} devices: {method}" for method, count in kinds.items()]
    for i in missing[:SHOWN]:
        attainable = ", ".join(
            f"{name} {limit_number(value)} instead of {fleet.bounds[i, column]:g}"
            for column, (name, value) in enumerate(zip(COST_COLUMNS, result.attainable[i], strict=True))
            if value == value
        )
        lines.append(f"  out of reach: {fleet.devices[i]} (line {fleet.lines[i]}); attainable: {attainable}")
    return lines + ([f"  ... and {len(missing) - SHOWN:,} more"] if len(missing) > SHOWN else [])


def _report(
    args: argparse.Namespace,
    directory: RunFiles,
    offers: _Offers,
    result: FleetAnswer,
    accuracy: AccuracyMetric,
    measures: bool,
    say: Callable[[str], None],
) -> Any:
    """Costs of the chosen subnets, and their measured accuracy unless the user declines measuring."""
    import numpy as np

    from search.fleet.files import FleetReport

    measured, images = np.full(len(result.subnets), np.nan), None
    if measures:
        from ofa.cli.shared.options import Measured
        from ofa.runs.run_directory import RunDirectory

        devices = np.bincount(result.chosen[result.chosen >= 0], minlength=len(result.subnets))
        wanted = np.argsort(-devices, kind="stable")[: args.verify]
        run = RunDirectory.open(directory.path)
        tool = Measured.open(run, args.images, args.device, show=not args.json, accuracy=accuracy)
        wanted = wanted[tool.known(result.subnets[wanted])]
        say(f"measuring {len(wanted)} of the {len(result.subnets)} subnets, those of the most devices first")
        measured[wanted], images = tool.top1(result.subnets[wanted]), tool.images
    return FleetReport(
        space=directory.space,
        answer=result,
        costs=_costs(offers, result, None),
        upper=_costs(offers, result, "confidence"),
        std=offers.predictor.std(result.subnets) if len(result.subnets) else None,
        measured=measured,
        images=images,
        accuracy=accuracy.name,
    )


def _costs(offers: _Offers, result: FleetAnswer, kind: str | None) -> Floats:
    """Costs of each device's subnet on its platform: the estimate, or its upper bound at the device's confidence."""
    import numpy as np

    from search.fleet.answer import COST_COLUMNS

    table = np.full((len(result.chosen), len(COST_COLUMNS)), np.nan)
    for group in result.groups:
        rows = group.rows[result.chosen[group.rows] >= 0]
        if not len(rows) or (kind == "confidence" and group.confidence is None):
            continue
        costs = offers.costs[group.platform].at(group.confidence if kind == "confidence" else None)
        used, inverse = np.unique(result.chosen[rows], return_inverse=True)
        for column, metric in enumerate(COST_COLUMNS):
            if metric in costs.metrics and (kind is None or costs.has_bounds(metric)):
                table[rows, column] = costs.of(metric, result.subnets[used])[inverse]
    return table
