"""Pack a run into one file that answers anywhere: queries, fronts, extraction, without the training data.

FILE.ofa is accepted wherever a run is. It holds the weights, the predictor with its measurements, training images for
batch-norm statistics, and where all that is from (docs/bundles.md). With --no-images it holds in their place the statistics
of subnets on the fronts of all platforms that ship, and answers from these.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.options import WAIT_S, Measured, check_at_least, open_predictor, printer
from ofa.errors import UserError
from ofa.files.atomic import atomic_write
from ofa.files.bundle import SUFFIX, Bundle
from ofa.files.output import locked_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from latency_tables import Costs
    from ofa.runs.run_directory import RunDirectory
    from ofa.space.search_space import SearchSpace

EXAMPLE = "ofa pack runs/demo --out demo.ofa"
SUBNETS = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("run", metavar="RUN", help="a trained run directory")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.ofa", help="the bundle")
    parser.add_argument(
        "--validation", type=int, default=0, metavar="N", help="take N validation images along, to verify queries with"
    )
    parser.add_argument("--no-images", action="store_true", help="take no image along: for data that must not travel")
    parser.add_argument(
        "--subnets", type=int, metavar="N", help=f"with --no-images: subnets that can be answered (default: {SUBNETS})"
    )
    parser.add_argument("--licence", metavar="TEXT", help="of the data set (default: what is known of it)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Add to the run what it lacks, pack, write."""
    from ofa.runs.pack import add_images, pack
    from ofa.runs.run_directory import RunDirectory
    from ofa.runs.run_files import locked_run

    check_at_least(args, validation=0, subnets=2)
    if args.no_images and args.validation:
        raise UserError(f"--validation is {args.validation}, but --no-images takes no image along; give one of the two")
    if args.subnets is not None and not args.no_images:
        raise UserError(f"--subnets is {args.subnets}, but with images every subnet can be answered; it needs --no-images")
    if args.out.suffix != SUFFIX:
        raise UserError(f"--out is {args.out}; the name of a bundle ends in {SUFFIX}")
    say = printer(args)
    directory = RunDirectory.open(args.run)
    with locked_run(directory.folder):
        add_images(directory)
        extra = _statistics(directory, args.subnets or SUBNETS, say) if args.no_images else {}
        kept = {"images": not args.no_images, "validation": args.validation}
        packed = pack(directory, **kept, licence=args.licence, extra=extra)
    with locked_output(args.out, WAIT_S):
        atomic_write(args.out, packed.content)
    names = list(Bundle.open(args.out).names())
    licence = packed.facts["data"]["licence"]
    held_out = f" and {packed.validation} validation images" if packed.validation else ""
    images = "no image, so it answers from these subnets only" if args.no_images else f"{packed.images} training images"
    say(f"{args.out}: {len(packed.content) / 1e6:.2f} MB, {len(names)} files; {images}{held_out}")
    say(f"data {packed.facts['data']['source']}, licence {licence or 'not stated (--licence TEXT says it)'}")
    return {"out": str(args.out), "bytes": len(packed.content), "files": names, **packed.facts}


def _statistics(directory: RunDirectory, count: int, say: Callable[[str], None]) -> dict[str, bytes]:
    """Measure subnets on the fronts of all platforms that ship, and keep their batch-norm statistics."""
    from ofa.measure.array_recalibration import statistics_of
    from ofa.runs.stored_statistics import stored
    from ofa.runs.subnet_weights import subnet_weights
    from search.fronts.dense import dense_fronts

    predictor, _, accuracy = open_predictor(directory)
    costs = _costs(directory.space)
    genes = dense_fronts(directory.space, predictor, costs, count, seed=0)
    say(f"{len(genes)} subnets on the fronts of {len(costs)} platforms: measuring what is not measured yet")
    measured = Measured.open(directory, None, "cpu", show=False, accuracy=accuracy)
    measured.top1(genes)
    subnets = directory.space.decode(genes)
    states = [subnet_weights(directory, subnet, evaluator=measured.evaluator) for subnet in subnets]
    return {"statistics.safetensors": stored(genes, [statistics_of(state) for state in states])}


def _costs(space: SearchSpace) -> dict[str, Costs]:
    """Costs of the space on every platform that ships and knows them."""
    from latency_tables.catalogue import load_platform, platform_names

    costs = {}
    for name in platform_names():
        with suppress(UserError):  # its table has blocks of another space
            costs[name] = load_platform(name).costs(space)
    return costs
