"""Measure a sample of a run's subnets on validation data, fit the accuracy predictor, and report its errors.

Several processes can share the measuring: torchrun --nproc-per-node N -m -- ofa predictor RUN (docs/scaling.md).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from latency_tables.metrics import METRICS
from ofa.cli.shared.energy import add_energy_arguments, booked_in_run, energy_choice
from ofa.cli.shared.memory import add_memory_argument, memory_limit
from ofa.cli.shared.options import (
    Measured,
    add_accuracy_argument,
    add_measuring_arguments,
    check_at_least,
    platform_costs,
    printer,
)
from ofa.distributed.world import join
from ofa.energy.account import PREDICTOR
from ofa.errors import UserError
from ofa.measure.accuracy import ACCURACIES, TOP1, ClassCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ofa.runs.run_directory import RunDirectory
    from ofa.space.search_space import Genes, SearchSpace
    from search.arrays import Floats
    from search.measurements.closed_loop import FrontTarget, Round
    from search.measurements.noise import Noise

EXAMPLE = "ofa predictor runs/demo --rounds 3 --platform edge-int8"
COUNTER = "edge-int8"
"""Platform whose costs count the MACs; they are the same on every platform."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("run", help="a trained run directory")
    parser.add_argument("--samples", type=int, default=200, metavar="N", help="random subnets to measure (default: 200)")
    parser.add_argument(
        "--kind", default="auto", help="auto (default): the best in cross-validation; ridge, stage-additive or mlp"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=0,
        metavar="R",
        help="rounds after that: search the front, measure it, fit again (default: 0)",
    )
    parser.add_argument(
        "--points", type=int, default=10, metavar="K", help="subnets to measure per front and round (default: 10)"
    )
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="P",
        help="the rounds search the fronts of energy and latency on P (default: accuracy against MACs); may be repeated",
    )
    add_accuracy_argument(parser, default="top1")
    add_measuring_arguments(parser)
    add_memory_argument(parser)
    add_energy_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Measure subnets that are not measured yet, fit, validate, store; ranks other than 0 only measure."""
    from search.predictors.selection import FOLDS, kinds_of

    check_at_least(args, samples=2 * FOLDS, rounds=0, points=2, images=1, seed=0)
    kinds, accuracy = kinds_of(args.kind), ACCURACIES[args.accuracy or TOP1.name]
    if args.platform and not args.rounds:
        raise UserError("--platform says which fronts --rounds searches; give --rounds too")

    from ofa.distributed.devices import choose_device
    from ofa.runs.run_directory import RunDirectory
    from ofa.runs.run_files import locked_run

    energy, device = energy_choice(args), choose_device(args.device)
    memory = memory_limit(args, "predictor", device)
    with join(device) as world:
        with world.agree():
            directory = RunDirectory.open(args.run)
            folder = directory.folder
        with locked_run(folder, world), booked_in_run(energy, folder, PREDICTOR, PREDICTOR, str(device), world):
            with world.agree():
                measured = Measured.open(directory, args.images, args.device, not args.json, world, accuracy, memory)
            if not world.first:
                measured.follow()
                return None
            with world.leading():
                return _fit(args, kinds, directory, measured)


def _fit(args: argparse.Namespace, kinds: Sequence[str], directory: RunDirectory, measured: Measured) -> dict[str, Any]:
    import numpy as np

    from search.measurements.closed_loop import closed_loop
    from search.measurements.log import sample_plan
    from search.predictors.selection import select

    say = printer(args)
    space, accuracy = directory.space, measured.log.accuracy
    targets = _targets(args.platform, space)
    sample = sample_plan(space, args.samples, np.random.default_rng(args.seed))
    before = len(measured.log.known)
    known = sum(measured.log.has(sample))
    say(f"{args.samples} subnets on {measured.images} validation images; {known} are measured already ({accuracy.words})")
    started = time.perf_counter()
    top1 = measured.top1(sample)
    _check_above_chance(args.run, top1, measured)
    fit = partial(select, space, kinds=kinds, seed=args.seed, scored=len(sample))
    rounds: list[Round] = []
    for done in closed_loop(space, targets, sample, measured.top1, fit, args.rounds, args.points, args.seed):
        rounds.append(done)
        if args.rounds:
            say(done.line())
    last = rounds[-1]
    noise = _noise(measured, sample, args.seed)
    facts = _facts(last, noise, measured) | {"seed": args.seed, "rounds": [done.plain() for done in rounds]}
    result = {
        "predictor": _store(directory.folder, last, facts, noise, say),
        "samples": args.samples,
        "measured_now": len(measured.log.known) - before,
        "seconds": time.perf_counter() - started,
        f"{accuracy.name}_largest": float(top1[0]),
        f"{accuracy.name}_smallest": float(top1[1]),
        **facts,
    }
    if args.rounds:
        fronts = {target.name: target.front(last.genes, last.top1) for target in targets}
        result["fronts"] = {name: _points(accuracy.name, *front) for name, front in fronts.items()}
    return result


def _check_above_chance(run: str, values: Floats, measured: Measured) -> None:
    """Raise `UserError` where all subnets have the accuracy of a constant answer; on easy data all may have a higher one."""
    import numpy as np

    labels, classes, accuracy = measured.evaluator.labels(), measured.space.classes, measured.log.accuracy
    constant = [accuracy.value(ClassCounts.of(labels == answer, labels, classes)) for answer in range(classes)]
    chance = max(value for value in constant if value is not None)
    if np.ptp(values) == 0 and values[0] <= chance + 1e-9:
        raise UserError(
            f"{run}: all {len(values)} subnets have {accuracy.words} {values[0]:.4g}; a constant answer has {chance:.4g}: "
            "there is nothing to predict: train first"
        )


def _targets(platforms: list[str], space: SearchSpace) -> list[FrontTarget]:
    from latency_tables import load_platform
    from search.measurements.closed_loop import FrontTarget, check_targets

    targets = []
    for name in platforms:
        platform = load_platform(name)
        costs = platform_costs(platform, space)
        known = [metric for metric in costs.metrics if METRICS[metric].estimated]
        targets += [FrontTarget(metric=metric, platform=platform.name, costs=costs) for metric in known]
    if not platforms:
        costs = load_platform(COUNTER).costs(space)
        targets = [FrontTarget(metric="macs_m", platform=COUNTER, costs=costs)]
    check_targets(targets)
    return targets


def _noise(measured: Measured, genes: Genes, seed: int) -> Noise | None:
    """The measuring error; None with too few images, or measurements of versions before 0.2."""
    import numpy as np

    from search.measurements.noise import measurement_noise

    parts = measured.log.by_group(genes)
    return None if parts is None or parts.shape[1] < 2 else measurement_noise(parts, np.random.default_rng(seed))


def _facts(last: Round, noise: Noise | None, measured: Measured) -> dict[str, Any]:
    selection = last.selection
    return {
        "report": asdict(selection.report),
        "reports": {kind: asdict(report) for kind, report in selection.reports.items()},
        "why": selection.why,
        "noise": None if noise is None else asdict(noise),
        "accuracy": measured.log.accuracy.name,
        "split": "validation",
        "images": measured.images,
        "weights": measured.log.weights,
    }


def _store(path: Path, last: Round, facts: dict[str, Any], noise: Noise | None, say: Callable[[str], None]) -> str:
    from search.predictors.storage import save_predictor

    selection = last.selection
    save_predictor(path / "predictor", selection.predictor, facts)
    for line in [*selection.lines(), "", *selection.report.lines(), *(noise.lines() if noise else ())]:
        say(line)
    say(f"kind               {selection.predictor.kind}: {selection.why}")
    say(f"fitted             to {len(last.genes)} subnets; {selection.predictor.describe()}")
    say(f"stored             {path / 'predictor' / 'predictor.json'}")
    return str(path / "predictor" / "predictor.json")


def _points(name: str, genes: Genes, cost: Floats, top1: Floats) -> list[dict[str, Any]]:
    return [
        {"genes": row.tolist(), "cost": float(value), f"measured_{name}": float(accuracy)}
        for row, value, accuracy in zip(genes, cost, top1, strict=True)
    ]
