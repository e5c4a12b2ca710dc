"""Train a supernet: every phase of a recipe, one command. The same command goes on after a kill.

On several GPUs, or machines: torchrun --nproc-per-node N -m -- ofa train CONFIG (docs/scaling.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from ofa.distributed import World

EXAMPLE = "ofa train configs/demo.yaml --run runs/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("config", help="a recipe that ships, by name, or a YAML file")
    parser.add_argument("--run", metavar="DIR", help="run directory (default: runs/NAME of the recipe)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: cuda where there is one)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Train, then report the result on test data; of several processes, the first one reports."""
    from ofa.devices import choose_device
    from ofa.distributed import join

    device = choose_device(args.device)
    with join(device) as world:
        return _train(args, device, world)


def _train(args: argparse.Namespace, device: torch.device, world: World) -> dict[str, Any] | None:
    from ofa.files import read_json
    from ofa.recipe import load_recipe
    from ofa.result import report_result, result_lines
    from ofa.run import RunDirectory
    from ofa.training import Trainer

    path = args.run or Path("runs") / Path(args.config).stem
    quiet = args.quiet or args.json or not world.first
    with world.agree():
        recipe, space = load_recipe(args.config)
        if world.first:
            RunDirectory.create(path, recipe, space)
    with world.agree():
        directory = RunDirectory.create(path, recipe, space)
        trainer = None if directory.weights_path.exists() else Trainer(directory, device, quiet, world)
    if trainer is not None:
        trainer.train()
    if directory.result_path.exists():
        result: dict[str, Any] = read_json(directory.result_path)
    else:
        result = report_result(directory, device, progress=not quiet, world=world)
    if not world.first:
        return None
    if not args.json:
        print("\n".join(result_lines(result, directory.result_path)))
    return {"run": str(directory.path)} | result
