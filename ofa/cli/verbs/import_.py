"""Import published weights: a supernet as a run to query or to train further, or a specialised net as a subnet.

You download the files yourself; docs/published-weights.md lists them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.options import WAIT_S, check_at_least, check_subnet_out, platform_costs, printer, weights_digest
from ofa.cli.shared.subnet_weights import without_images
from ofa.errors import UserError
from ofa.files.atomic import sha256
from ofa.files.output import locked_output

if TYPE_CHECKING:
    from ofa.space.search_space import SearchSpace

EXAMPLE = """ofa import ofa_mbv3_d234_e346_k357_w1.2 --run runs/ofa --predictor ofa_mbv3_w1.2_acc_predictor.pth
  ofa import flops-595M_top1-80.0_finetune-75/ --out subnets/flops-595M"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa import`."""
    parser.add_argument(
        "checkpoint", type=Path, help="file of a supernet; or of a specialised net, or its folder (net.config, init)"
    )
    parser.add_argument("--space", metavar="S", help="its search space, e.g. mbv3-w1.2 (default: recognised by its keys)")
    parser.add_argument("--run", type=Path, metavar="DIR", help="of a supernet: the run directory to make")
    parser.add_argument("--predictor", type=Path, metavar="FILE", help="of a supernet: its accuracy predictor, .pth")
    parser.add_argument(
        "--data", metavar="SOURCE", help="of a supernet: photos to recalibrate batch norm on, or ImageNet, to measure too"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="of a specialised net: where the subnet is written")
    parser.add_argument("--config", type=Path, metavar="FILE", help="of a specialised net: its net.config, if not beside it")
    parser.add_argument("--resolution", type=int, metavar="PX", help="of a specialised net that has no run.config")
    parser.add_argument("--platform", action="append", default=[], metavar="P", help="of a specialised net: its costs there")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read and check the files, then write the run or the subnet; returns a summary."""
    check_at_least(args, resolution=1)
    if (args.run is None) == (args.out is None):
        given = "neither is given" if args.run is None else "both are given"
        raise UserError(f"give --run DIR for a supernet, or --out DIR for a specialised net; {given}")
    names = ("config", "resolution", "platform") if args.out is None else ("predictor", "data")
    for name in names:
        if getattr(args, name):
            kind, option = ("specialised net", "--out") if args.out is None else ("supernet", "--run")
            raise UserError(f"--{name} goes with a {kind}, which {option} DIR is for")
    return _import_supernet(args) if args.out is None else _import_specialised(args)


def _space(args: argparse.Namespace) -> SearchSpace | None:
    from ofa.space.search_space import load_space

    return None if args.space is None else load_space(args.space)


def _import_supernet(args: argparse.Namespace) -> dict[str, Any]:
    from ofa.official.checkpoint import read_supernet
    from ofa.runs.imported import add_images, create_imported, load_images
    from ofa.runs.run_directory import RunDirectory
    from ofa.runs.run_files import locked_run
    from search.predictors.published import load_published
    from search.predictors.storage import save_predictor

    space, weights = read_supernet(args.checkpoint, _space(args))
    predictor = None if args.predictor is None else load_published(args.predictor, space)
    data = None if args.data is None else load_images(args.data, space)
    with locked_output(args.run, WAIT_S):
        directory = create_imported(args.run, space, args.checkpoint, weights)
    lines = [f"{args.checkpoint}: the supernet of {space.name}, now the run {directory.path}"]
    with locked_run(directory.folder):
        if predictor is not None:
            facts = {
                "source": f"the published predictor ({args.predictor.name})",
                "file_sha256": sha256(args.predictor),
                "weights": weights_digest(directory),
            }
            save_predictor(directory.folder / "predictor", predictor, facts)
            sizes = ", ".join(str(size) for size in predictor.resolutions if size in space.resolutions)
            lines.append(f"{args.predictor}: predicts its accuracy on ImageNet at {sizes} px")
        if data is not None:
            lines.append(add_images(directory, data))
    directory = RunDirectory.open(args.run)
    if without_images(directory):
        lines.append("no images to recalibrate batch norm on; the same command with --data FOLDER adds a few hundred photos")
    say, kept = printer(args), directory.images("train")
    for line in lines:
        say(line)
    return {
        "run": str(directory.path),
        "space": space.name,
        "predictor": predictor is not None,
        "kept_images": 0 if kept is None else len(kept),
    }


def _import_specialised(args: argparse.Namespace) -> dict[str, Any]:
    from latency_tables import load_platform
    from ofa.deploy.subnet_directory import save_subnet
    from ofa.nets.plain import arrays
    from ofa.official.specialised import WEIGHTS, read_specialised
    from ofa.runs.imported import imagenet_record
    from search.reports.card import Accuracy, build_card, facts_of_input, shape_figures

    say = printer(args)
    check_subnet_out(args.out)
    platforms = [load_platform(name) for name in args.platform]
    weights = args.checkpoint / WEIGHTS if args.checkpoint.is_dir() else args.checkpoint
    space, subnet, module = read_specialised(
        weights, args.config or weights.with_name("net.config"), _space(args), args.resolution
    )
    genes = space.encode(subnet)
    name = weights.resolve().parent.name if weights.name == WEIGHTS else weights.name
    facts = {
        "imported": name,
        "space": f"{space.name} (fingerprint {space.fingerprint})",
        "input": facts_of_input(space, genes, imagenet_record()),
    }
    title = f"Specialised net {name}, of {space.name}"
    if platforms:
        costs = [platform_costs(platform, space) for platform in platforms]
        card = build_card(title, platforms, costs, genes, Accuracy(), facts)
    else:
        card = {"title": title, "figures": shape_figures(space, genes, Accuracy()), **facts}
    with locked_output(args.out, WAIT_S):
        save_subnet(args.out, space, subnet, arrays(module), card)
    say(f"{name}: a subnet of {space.name} for {subnet.resolution} px, written to {args.out}")
    return {"out": str(args.out), "space": space.name, "subnet": subnet.to_dict(), "card": card}
