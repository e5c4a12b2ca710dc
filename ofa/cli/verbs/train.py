"""Train a supernet: every phase of a recipe, in one command. After a kill, the same command resumes.

On other images, from a trained supernet: ofa train --init RUN --data NEW (docs/training.md).
On several GPUs, or machines: torchrun --nproc-per-node N -m -- ofa train CONFIG (docs/scaling.md).
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.energy import add_energy_arguments, energy_choice
from ofa.cli.shared.memory import add_memory_argument, memory_limit
from ofa.distributed.world import World, join
from ofa.errors import UserError
from ofa.files.vouched import read_vouched_json

if TYPE_CHECKING:
    import torch

    from ofa.energy.choice import EnergyChoice
    from ofa.measure.memory import MemoryLimit
    from ofa.runs.recipe import Recipe
    from ofa.space.search_space import SearchSpace

EXAMPLE = "ofa train configs/demo.yaml --run runs/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("config", nargs="?", help="a recipe that ships, by name, or a YAML file")
    parser.add_argument(
        "--init", metavar="RUN", help="start from the supernet of a finished run, with its recipe, shortened"
    )
    parser.add_argument("--data", metavar="NEW", help="with --init: the new images, as a recipe's data source")
    parser.add_argument("--epochs", type=int, metavar="N", help="with --init: default is a quarter of the run's steps")
    parser.add_argument("--resolutions", type=int, nargs="+", metavar="PX", help="with --init: default is the run's")
    parser.add_argument("--run", metavar="DIR", help="run directory (default: runs/NAME of the recipe or the data)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: cuda where there is one)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_memory_argument(parser)
    add_energy_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Train, then report the result on test data; only rank 0 reports."""
    from ofa.distributed.devices import choose_device

    _check(args)
    energy = energy_choice(args)
    device = choose_device(args.device)
    memory = memory_limit(args, "train", device)
    with join(device) as world:
        return _train(args, device, world, energy, memory)


def _train(
    args: argparse.Namespace, device: torch.device, world: World, energy: EnergyChoice, memory: MemoryLimit
) -> dict[str, Any] | None:
    from ofa.runs.run_directory import RunDirectory
    from ofa.runs.run_files import locked_run
    from ofa.training.result import RESULT_KEYS, result_lines

    path = Path(args.run or Path("runs") / Path(args.config or args.data).stem)
    with world.agree():
        recipe, space = _recipe(args)
    if not world.once(lambda: all((path / name).exists() for name in ("supernet.safetensors", "result.json"))):
        with locked_run(path, world):
            _write(args, path, recipe, space, device, world, energy, memory)
    if not world.first:
        return None
    directory = RunDirectory.create(path, recipe, space)
    result = read_vouched_json(directory.result_path, "delete it to have it measured again", RESULT_KEYS)
    if not args.json:
        print("\n".join(result_lines(result, directory.result_path)))
        run = shlex.quote(str(path))
        print(f"next: ofa predictor {run}; then ofa report {run} makes a page of it all")
    return {"run": str(directory.path)} | result


def _write(
    args: argparse.Namespace,
    path: Path,
    recipe: Recipe,
    space: SearchSpace,
    device: torch.device,
    world: World,
    energy: EnergyChoice,
    memory: MemoryLimit,
) -> None:
    """Make the run directory, train, measure, as far as that is not done yet."""
    from ofa.runs.run_directory import RunDirectory
    from ofa.training.result import report_result
    from ofa.training.trainer import Trainer

    quiet = args.quiet or args.json or not world.first
    with world.agree():
        if world.first:
            RunDirectory.create(path, recipe, space)
    with world.agree():
        directory = RunDirectory.create(path, recipe, space)
    with world.agree():
        trainer = None if directory.weights_path.exists() else Trainer(directory, device, quiet, world, energy, memory)
    if trainer is not None:
        if not args.json and world.first:
            print(trainer.data.record.sentence(), file=sys.stderr)
            if trainer.start is not None:
                print(trainer.start, file=sys.stderr)
        trainer.train()
    trainer = None  # its images are read anew
    report_result(directory, device, progress=not quiet, world=world, energy=energy, memory=memory)


def _check(args: argparse.Namespace) -> None:
    """Raise `UserError` unless either a recipe is given, or a run to start from with new data."""
    if args.config is None and args.init is None:
        raise UserError("nothing to train: give a recipe, or --init RUN --data NEW")
    if args.config is not None and args.init is not None:
        raise UserError(
            f"both the recipe {args.config} and --init {args.init} are given; give one (a recipe can say init: {args.init})"
        )
    if (args.init is None) != (args.data is None):
        given, missing = ("--data", "--init RUN") if args.init is None else ("--init", "--data NEW")
        raise UserError(f"{given} is given without {missing}")
    if args.epochs is not None and (args.init is None or args.epochs < 1):
        raise UserError(f"--epochs is {args.epochs}; it needs --init, and must be at least 1")
    if args.resolutions is not None and args.init is None:
        raise UserError(f"--resolutions is {args.resolutions}; it needs --init")


def _recipe(args: argparse.Namespace) -> tuple[Recipe, SearchSpace]:
    if args.init is None:
        from ofa.runs.recipe import load_recipe

        return load_recipe(args.config)
    from ofa.runs.run_directory import RunDirectory
    from ofa.training.transfer import transfer_recipe

    resolutions = None if args.resolutions is None else tuple(args.resolutions)
    return transfer_recipe(RunDirectory.open(args.init), args.data, args.epochs, resolutions)
