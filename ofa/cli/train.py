"""Train a supernet: every phase of a recipe, one command. The same command goes on after a kill."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EXAMPLE = "ofa train configs/demo.yaml --run runs/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("config", help="a recipe that ships, by name, or a YAML file")
    parser.add_argument("--run", metavar="DIR", help="run directory (default: runs/NAME of the recipe)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: cuda where there is one)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, then report the result on test data."""
    from ofa.devices import choose_device
    from ofa.files import read_json
    from ofa.recipe import load_recipe
    from ofa.result import report_result, result_lines
    from ofa.run import RunDirectory
    from ofa.training import Trainer

    recipe, space = load_recipe(args.config)
    device = choose_device(args.device)
    directory = RunDirectory.create(args.run or Path("runs") / Path(args.config).stem, recipe, space)
    quiet = args.quiet or args.json
    if not directory.weights_path.exists():
        Trainer(directory, device, quiet).train()
    if directory.result_path.exists():
        result: dict[str, Any] = read_json(directory.result_path)
    else:
        result = report_result(directory, device, progress=not quiet)
    if not args.json:
        print("\n".join(result_lines(result, directory.result_path)))
    return {"run": str(directory.path)} | result
