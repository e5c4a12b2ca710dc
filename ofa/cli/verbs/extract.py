"""Write a subnet of your own choice, ready to use: with the run's weights, recalibrated batch norm and measured accuracy.

FILE is a subnet.json (or the folder of a query), an architecture of the published package ({ks, e, d}), or its net.config.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.options import add_measuring_arguments, check_at_least, check_subnet_out, printer

if TYPE_CHECKING:
    from ofa.cli.shared.options import Measured
    from ofa.runs.run_directory import RunDirectory
    from ofa.space.search_space import Genes

EXAMPLE = "ofa extract runs/demo --subnet my-subnet.json --out my-subnet/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa extract`."""
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--subnet", required=True, metavar="FILE", help="largest, smallest, or a file that describes one")
    parser.add_argument("--resolution", type=int, metavar="PX", help="resolution, where the file does not have one")
    parser.add_argument(
        "--platform", action="append", default=[], metavar="P", help="put its costs on P into the card; may be repeated"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write the subnet to")
    add_measuring_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Extract, recalibrate, measure, write."""
    check_at_least(args, images=1, resolution=1)
    check_subnet_out(args.out)

    from latency_tables import load_platform
    from ofa.cli.shared.options import WAIT_S, Measured
    from ofa.deploy.architecture_file import named_subnet
    from ofa.deploy.subnet_directory import save_subnet
    from ofa.files.output import locked_output
    from ofa.runs.run_directory import RunDirectory

    say = printer(args)
    platforms = [load_platform(name) for name in args.platform]
    directory = RunDirectory.open(args.run)
    subnet = named_subnet(args.subnet, directory.space, args.resolution)
    genes = directory.space.encode(subnet)
    measured = Measured.open(directory, args.images, args.device, show=not args.json)
    top1 = float(measured.top1(genes)[0]) if measured.known(genes)[0] else None
    card = _card(directory, platforms, measured, genes, top1)
    with locked_output(args.out, WAIT_S):
        save_subnet(args.out, directory.space, subnet, measured.evaluator.module(subnet), card)
    accuracy = "not measured: no validation images are here"
    if top1 is not None:
        accuracy = f"top-1 {100 * top1:.2f}% on {measured.images} validation images{measured.where}"
    say(f"{accuracy}; written: {args.out}")
    return {"out": str(args.out), "top1": top1, "images": measured.images, "subnet": subnet.to_dict(), "card": card}


def _card(
    directory: RunDirectory, platforms: list[Any], measured: Measured, genes: Genes, top1: float | None
) -> dict[str, Any]:
    from ofa.cli.shared.options import platform_costs
    from search.reports.card import Accuracy, build_card, facts_of_input, shape_figures

    space = directory.space
    facts = {
        "run": directory.path.name,
        "space": f"{space.name} (fingerprint {space.fingerprint})",
        "chosen": "by the user",
        "input": facts_of_input(space, genes, measured.evaluator.data),
    }
    accuracy = Accuracy() if top1 is None else measured.told(Accuracy(), genes, 0)
    title = f"Subnet of {space.name}"
    if not platforms:
        return {"title": title, "figures": shape_figures(space, genes, accuracy), **facts}
    costs = [platform_costs(platform, space) for platform in platforms]
    names = " and ".join(platform.name for platform in platforms)
    return build_card(f"{title} for {names}", platforms, costs, genes, accuracy, facts)
