"""Accuracy of subnets of a trained run on held-out data: extracted, batch norm recalibrated, measured."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.options import check_at_least

if TYPE_CHECKING:
    from ofa.space.search_space import SearchSpace
    from ofa.space.subnet import Subnet

EXAMPLE = "ofa evaluate runs/demo --subnet smallest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("run", help="a trained run directory")
    parser.add_argument("--subnet", action="append", metavar="largest|smallest|FILE", help="may be repeated (default: both)")
    parser.add_argument("--resolution", type=int, metavar="PX", help="of a FILE that does not say for which size of image")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="and N random subnets")
    parser.add_argument("--seed", type=int, default=0, help="of the random subnets (default: 0)")
    parser.add_argument("--split", default="validation", help="validation (default), test or train")
    parser.add_argument("--images", type=int, metavar="N", help="only N images of the split")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... (default: cuda where there is one)")


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Measure the subnets named; several processes share them, and the first one reports."""
    from ofa.distributed.devices import choose_device
    from ofa.distributed.world import join
    from ofa.runs.evaluator import evaluator_of_run
    from ofa.runs.run_directory import RunDirectory
    from ofa.space import shapes

    check_at_least(args, random=0, images=1, seed=0)
    device = choose_device(args.device)
    with join(device) as world:
        with world.agree():
            directory = RunDirectory.open(args.run)
            space = directory.space
            subnets = _chosen(args, space)
        with world.agree():
            evaluator = evaluator_of_run(directory, device, args.images, world)
            evaluator.size(args.split)
        top1 = evaluator.top1(list(subnets.values()), args.split, progress=world.first and not args.json)
    if not world.first:
        return None
    rows: list[dict[str, Any]] = [
        {
            "subnet": name,
            "top1": float(value),
            "macs_m": shapes.macs(shapes.walk(space, subnet)) / 1e6,
            "params_m": shapes.params(shapes.walk(space, subnet)) / 1e6,
            "resolution": subnet.resolution,
        }
        for (name, subnet), value in zip(subnets.items(), top1, strict=True)
    ]
    images = evaluator.size(args.split)
    if not args.json:
        width = max(len(row["subnet"]) for row in rows)
        print(f"{'subnet':{width}}  {args.split} top-1    MACs (M)  parameters (M)  resolution (px)")
        for row in rows:
            print(
                f"{row['subnet']:{width}}  {100 * row['top1']:{len(args.split) + 5}.2f}%  {row['macs_m']:10.2f}"
                f"  {row['params_m']:14.3f}  {row['resolution']:15d}"
            )
        print(f"on {images:,} {args.split} images")
    return {"split": args.split, "images": images, "subnets": rows}


def _chosen(args: argparse.Namespace, space: SearchSpace) -> dict[str, Subnet]:
    import numpy as np

    from ofa.deploy.architecture_file import named_subnet

    names = args.subnet or ([] if args.random else ["largest", "smallest"])
    subnets = {name: named_subnet(name, space, args.resolution) for name in names}
    genes = space.sample(args.random, np.random.default_rng(args.seed))
    return subnets | {f"random {i}": subnet for i, subnet in enumerate(space.decode(genes) if args.random else [])}
