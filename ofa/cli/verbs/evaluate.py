"""Accuracy of subnets of a trained run on held-out data: extracted, batch norm recalibrated, measured."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.energy import add_energy_arguments, booked_in_run, energy_choice
from ofa.cli.shared.memory import add_memory_argument, memory_limit
from ofa.cli.shared.numerics import DRAWS, NumericsOf, numerics_lines
from ofa.cli.shared.options import check_at_least
from ofa.distributed.world import World, join
from ofa.energy.account import EVALUATION
from ofa.errors import UserError
from ofa.measure.accuracy import ACCURACIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ofa.measure.evaluator import SubnetEvaluator
    from ofa.space.search_space import SearchSpace
    from ofa.space.subnet import Subnet

EXAMPLE = """ofa evaluate runs/demo --subnet smallest
  ofa evaluate runs/demo --numerics edge-int8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("run", help="a trained run directory")
    parser.add_argument("--subnet", action="append", metavar="largest|smallest|FILE", help="may be repeated (default: both)")
    parser.add_argument("--resolution", type=int, metavar="PX", help="resolution of a FILE that does not have one")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="measure N random subnets too")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random subnets and of the draws (default: 0)")
    parser.add_argument("--split", default="validation", help="validation (default), test or train")
    parser.add_argument("--images", type=int, metavar="N", help="measure on only N images of the split")
    parser.add_argument("--per-class", action="store_true", help="print also a table of the accuracy on each class")
    parser.add_argument(
        "--numerics", metavar="PLATFORM", help="measure also under this platform's numerics: int8, or analog"
    )
    parser.add_argument("--draws", type=int, metavar="N", help=f"draws of an analog platform's noise (default: {DRAWS})")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... (default: cuda where there is one)")
    add_memory_argument(parser)
    add_energy_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Measure the named subnets; ranks share them, and rank 0 reports."""
    from ofa.distributed.devices import choose_device
    from ofa.runs.evaluator import evaluator_of_run
    from ofa.runs.run_directory import RunDirectory
    from ofa.space import shapes

    check_at_least(args, random=0, images=1, seed=0, draws=2)
    energy, numerics = energy_choice(args), _numerics(args)
    device = choose_device(args.device)
    memory = memory_limit(args, "evaluate", device)
    with join(device) as world:
        with world.agree():
            directory = RunDirectory.open(args.run)
            space = directory.space
            subnets = _chosen(args, space)
        with world.agree():
            evaluator = evaluator_of_run(directory, device, args.images, world, memory=memory)
            evaluator.size(args.split)
        with booked_in_run(energy, directory.path, "evaluate", EVALUATION, str(device), world):
            counts = evaluator.counts(list(subnets.values()), args.split, progress=world.first and not args.json)
            under = _under(numerics, evaluator, list(subnets.values()), args.split, world)
    if not world.first:
        return None
    rows: list[dict[str, Any]] = [
        {
            "subnet": name,
            **{metric.name: metric.value(found) for metric in ACCURACIES.values()},
            "macs_m": shapes.macs(shapes.walk(space, subnet)) / 1e6,
            "params_m": shapes.params(shapes.walk(space, subnet)) / 1e6,
            "resolution": subnet.resolution,
            **({"by_class": found.by_class} if args.per_class else {}),
            **also,
        }
        for (name, subnet), found, also in zip(subnets.items(), counts, under, strict=True)
    ]
    report: dict[str, Any] = {"split": args.split, "images": evaluator.size(args.split), "subnets": rows}
    if args.per_class:
        sizes = zip(evaluator.data.classes, counts[0].images, strict=True)
        report["classes"] = [{"class": name, "images": images} for name, images in sizes]
    if numerics is not None:
        report["numerics"] = numerics.facts()
    if not args.json:
        print("\n".join(_lines(report, balanced=counts[0].unequal)))
        if numerics is not None:
            print("\n".join(numerics_lines(report["numerics"], str(numerics.numerics), rows)))
    return report


def _numerics(args: argparse.Namespace) -> NumericsOf | None:
    """The numerics that are asked for; None: fp32 only."""
    if args.numerics is None:
        if args.draws is not None:
            raise UserError(f"--draws is {args.draws}; it goes with --numerics and an analog platform")
        return None

    from latency_tables import load_platform

    numerics = NumericsOf.of(load_platform(args.numerics), args.draws or DRAWS, args.seed)
    if args.draws is not None and not numerics.is_drawn:
        raise UserError(f"--draws is {args.draws}; nothing is drawn on {numerics.platform}, whose numerics are int8")
    return numerics


def _under(
    numerics: NumericsOf | None, evaluator: SubnetEvaluator, subnets: Sequence[Subnet], split: str, world: World
) -> list[dict[str, Any]]:
    """Additional keys of each subnet's row: its accuracy under `numerics`; none without numerics."""
    if numerics is None:
        return [{} for _ in subnets]

    def measure(subnet: Subnet) -> dict[str, Any]:
        answers = numerics.measure(evaluator, subnet, split)
        return {"numerics": numerics.result(evaluator, split, evaluator.correct(subnet, split), answers)}

    return list(world.map(measure, subnets))


def _lines(report: dict[str, Any], balanced: bool) -> Iterator[str]:
    """The report as text; `balanced` adds balanced accuracy, which equals top-1 if all classes have the same size."""
    rows, split = report["subnets"], report["split"]
    width = max(len(row["subnet"]) for row in rows)
    yield f"{'subnet':{width}}  {split} top-1  {'balanced  ' if balanced else ''}  MACs (M)  parameters (M)  resolution (px)"
    for row in rows:
        shown = f"  {_percent(row['balanced']):>8}" if balanced else ""
        yield (
            f"{row['subnet']:{width}}  {_percent(row['top1']):>{len(split) + 6}}{shown}  {row['macs_m']:10.2f}"
            f"  {row['params_m']:14.3f}  {row['resolution']:15d}"
        )
    yield f"on {report['images']:,} {split} images"
    if "classes" in report:
        yield from _table(report)


def _table(report: dict[str, Any]) -> Iterator[str]:
    """A table with each class's number of images and each subnet's recall."""
    names = [row["subnet"] for row in report["subnets"]]
    wide = max(len("class"), *(len(entry["class"]) for entry in report["classes"]))
    yield f"\n{'class':{wide}}  images  " + "  ".join(f"{name:>7}" for name in names)
    for i, entry in enumerate(report["classes"]):
        values = (f"{_percent(row['by_class'][i]):>{max(7, len(row['subnet']))}}" for row in report["subnets"])
        yield f"{entry['class']:{wide}}  {entry['images']:6,}  " + "  ".join(values)


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.2f}%"


def _chosen(args: argparse.Namespace, space: SearchSpace) -> dict[str, Subnet]:
    import numpy as np

    from ofa.deploy.architecture_file import named_subnet

    names = args.subnet or ([] if args.random else ["largest", "smallest"])
    subnets = {name: named_subnet(name, space, args.resolution) for name in names}
    genes = space.sample(args.random, np.random.default_rng(args.seed))
    return subnets | {f"random {i}": subnet for i, subnet in enumerate(space.decode(genes) if args.random else [])}
