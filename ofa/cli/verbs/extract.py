"""Write a subnet of your own choice, ready to use: with the run's weights, recalibrated batch norm and measured accuracy.

FILE is a subnet.json (or the folder of a query), an architecture of the published package ({ks, e, d}), or its net.config.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.options import add_measuring_arguments, check_at_least, check_subnet_out, printer
from ofa.cli.shared.subnet_weights import UNRECALIBRATED, add_unrecalibrated_argument, weights_of
from ofa.measure.accuracy import TOP1

if TYPE_CHECKING:
    from ofa.cli.shared.options import Measured
    from ofa.runs.run_directory import RunDirectory
    from ofa.space.search_space import Genes
    from search.reports.card import Accuracy

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
    add_unrecalibrated_argument(parser)
    add_measuring_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Extract, recalibrate, measure, write."""
    check_at_least(args, images=1, resolution=1)
    check_subnet_out(args.out)

    from latency_tables import load_platform
    from ofa.cli.shared.labels import label_lines, labels_of
    from ofa.cli.shared.numerics import UnderPlatforms
    from ofa.cli.shared.options import WAIT_S, Measured
    from ofa.deploy.architecture_file import named_subnet
    from ofa.deploy.subnet_directory import save_subnet
    from ofa.files.output import locked_output
    from ofa.runs.run_directory import RunDirectory
    from search.reports.card import Accuracy

    say = printer(args)
    platforms = [load_platform(name) for name in args.platform]
    directory = RunDirectory.open(args.run)
    subnet = named_subnet(args.subnet, directory.space, args.resolution)
    genes = directory.space.encode(subnet)
    measured, accuracy = None, Accuracy()
    if not args.unrecalibrated:
        measured = Measured.open(directory, args.images, args.device, show=not args.json)
        if measured.known(genes)[0]:
            under = UnderPlatforms(platforms, measured, TOP1, args.seed).of(genes)
            accuracy = replace(measured.told(accuracy, genes, 0), under=under)
    card = _card(directory, platforms, measured, genes, accuracy)
    card |= labels_of(directory, platforms, [platform.costs(directory.space) for platform in platforms], genes, accuracy)
    weights = weights_of(directory, subnet, args.unrecalibrated, args.device)
    with locked_output(args.out, WAIT_S):
        save_subnet(args.out, directory.space, subnet, weights, card)
    line = UNRECALIBRATED if measured is None else "not measured: no validation images are here"
    if accuracy.measured is not None:
        line = f"top-1 {100 * accuracy.measured:.2f}% on {accuracy.images} validation images{accuracy.where}"
    for words in label_lines(card):
        say(words)
    say(f"{line}; written: {args.out}")
    facts = {"top1": accuracy.measured, "images": accuracy.images}
    return {"out": str(args.out), **facts, "subnet": subnet.to_dict(), "card": card}


def _card(
    directory: RunDirectory, platforms: list[Any], measured: Measured | None, genes: Genes, accuracy: Accuracy
) -> dict[str, Any]:
    from ofa.cli.shared.options import platform_costs
    from search.reports.card import build_card, facts_of_input, shape_figures

    space = directory.space
    data = (directory.record() or directory.data().record) if measured is None else measured.evaluator.data
    facts = {
        "run": directory.path.name,
        "space": f"{space.name} (fingerprint {space.fingerprint})",
        "chosen": "by the user",
        **({"weights": UNRECALIBRATED} if measured is None else {}),
        "input": facts_of_input(space, genes, data),
    }
    title = f"Subnet of {space.name}"
    if not platforms:
        return {"title": title, "figures": shape_figures(space, genes, accuracy), **facts}
    costs = [platform_costs(platform, space) for platform in platforms]
    names = " and ".join(platform.name for platform in platforms)
    return build_card(f"{title} for {names}", platforms, costs, genes, accuracy, facts)
