"""Measure a sample of a run's subnets on validation data, fit the accuracy predictor, and report how good it is."""

from __future__ import annotations

import argparse
from typing import Any

from ofa.cli.common import add_measuring_arguments, check_at_least, printer
from ofa.errors import UserError

EXAMPLE = "ofa predictor runs/demo --samples 200"
FOLDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("run", help="a trained run directory")
    parser.add_argument("--samples", type=int, default=200, metavar="N", help="subnets to measure (default: 200)")
    add_measuring_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure (what is not measured yet), fit, validate, store."""
    check_at_least(args, samples=2 * FOLDS, images=1, seed=0)

    import time
    from functools import partial

    import numpy as np

    from ofa.cli.common import Measured
    from ofa.run import RunDirectory
    from search.measurements import sample_plan
    from search.predictor import as_plain, save_predictor
    from search.ridge import fit
    from search.validation import cross_validate

    say = printer(args)
    directory = RunDirectory.open(args.run)
    space = directory.space
    genes = sample_plan(space, args.samples, np.random.default_rng(args.seed))
    measured = Measured.open(directory, args.images, args.device, show=not args.json)
    known = sum(measured.log.has(genes))
    say(f"{args.samples} subnets on {measured.images} validation images; {known} are measured already")
    started = time.perf_counter()
    top1 = measured.top1(genes)
    seconds = time.perf_counter() - started
    if np.ptp(top1) == 0:
        raise UserError(
            f"{args.run}: all {len(top1)} subnets have top-1 {top1[0]}; there is nothing to predict: train first"
        )
    report = cross_validate(partial(fit, space), genes, top1, np.random.default_rng(args.seed), FOLDS)
    predictor = fit(space, genes, top1)
    facts = {
        "report": as_plain(report),
        "seed": args.seed,
        "split": "validation",
        "images": measured.images,
        "weights": measured.log.weights,
    }
    folder = directory.path / "predictor"
    save_predictor(folder, predictor, facts)
    for line in report.lines():
        say(line)
    say(f"features           {predictor.features}, penalty {predictor.penalty:g}, both by leave-one-out")
    say(f"stored             {folder / 'predictor.json'}")
    return {
        "predictor": str(folder / "predictor.json"),
        "samples": args.samples,
        "measured_now": args.samples - known,
        "measuring_seconds": seconds,
        "top1_largest": float(top1[0]),
        "top1_smallest": float(top1[1]),
        "features": predictor.features,
        **facts,
    }
