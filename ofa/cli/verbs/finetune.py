"""Fine-tune a queried subnet on its run's data, taught by the run's largest net, and measure what it gained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.options import check_at_least, check_subnet_out, printer
from ofa.errors import UserError

if TYPE_CHECKING:
    from ofa.runs.recipe import Phase
    from ofa.runs.run_directory import RunDirectory
    from ofa.space.search_space import SearchSpace

EXAMPLE = "ofa finetune runs/demo/queries/frugal --epochs 5"
MEASURED = "Top-1, validation (measured)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("subnet", type=Path, help="a subnet directory, as `ofa query` writes it")
    parser.add_argument("--run", type=Path, help="the run it is from (default: the folder it lies in: RUN/queries/NAME)")
    parser.add_argument("--epochs", type=int, default=25, metavar="N", help="default: 25")
    parser.add_argument("--peak-lr", type=float, metavar="X", help="default: a quarter of the last phase's")
    parser.add_argument("--distill", type=float, default=1.0, metavar="W", help="the teacher's weight (default: 1)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where it is written (default: beside it, NAME-finetuned)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... (default: cuda where there is one)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, recalibrate, measure before and after on the same validation images, write."""
    check_at_least(args, epochs=1)
    if not 0 <= args.distill < float("inf"):
        raise UserError(f"--distill is {args.distill}; must be at least 0 and finite")

    from copy import deepcopy

    import torch

    from ofa.deploy.subnet_directory import load_subnet, read_card, read_subnet, save_subnet
    from ofa.distributed.devices import choose_device
    from ofa.runs.evaluator import evaluator_of_run
    from ofa.training.finetuning import finetune, paired_gain

    say = printer(args)
    device = choose_device(args.device)
    space, subnet = read_subnet(args.subnet)
    module = load_subnet(args.subnet).to(device)
    directory = _open_run(args, space)
    phase = _phase(args, directory)
    out = args.out or args.subnet.with_name(f"{args.subnet.name}-finetuned")
    check_subnet_out(out)
    evaluator = evaluator_of_run(directory, device)
    layout: Any = {"memory_format": torch.channels_last}

    def measure() -> Any:
        copy = deepcopy(module).to(**layout)  # measuring folds batch norms
        return evaluator.correct_of(copy, subnet.resolution)

    right = measure()
    before = float(right.mean())
    say(f"before: {100 * before:.2f}% on {evaluator.size()} validation images")

    def report(epoch: int, loss: float) -> None:
        say(f"epoch {epoch + 1}/{args.epochs}  loss {loss:.3f}")

    finetune(module, subnet, evaluator, directory.recipe, phase, report)
    right_after = measure()
    after, (gain, error) = float(right_after.mean()), paired_gain(right, right_after)
    say(f"after:  {100 * after:.2f}%: {100 * gain:+.2f} points, \N{PLUS-MINUS SIGN}{100 * error:.2f} (1 standard error)")
    card = _card(read_card(args.subnet), before, after, evaluator.size(), phase)
    save_subnet(out, space, subnet, module.to(memory_format=torch.contiguous_format), card)  # type: ignore[call-overload]
    say(f"written to {out}")
    facts = {"top1_before": before, "top1_after": after, "gain": gain, "gain_error": error}
    return {"out": str(out), "images": evaluator.size(), "epochs": args.epochs} | facts


def _open_run(args: argparse.Namespace, space: SearchSpace) -> RunDirectory:
    from ofa.runs.run_directory import RunDirectory

    path = args.run or args.subnet.resolve().parent.parent
    if args.run is None and not (path / "recipe.yaml").exists():
        raise UserError(f"{args.subnet}: lies in no run's queries/; say which run it is from with --run RUN")
    directory = RunDirectory.open(path)
    if directory.space.fingerprint != space.fingerprint:
        raise UserError(
            f"{args.subnet}: its space has fingerprint {space.fingerprint}; the run {path} has {directory.space.fingerprint}"
        )
    return directory


def _phase(args: argparse.Namespace, directory: RunDirectory) -> Phase:
    from ofa.runs.recipe import Phase

    rate = directory.recipe.phases[-1].peak_lr / 4 if args.peak_lr is None else args.peak_lr
    if not 0 < rate < float("inf"):
        raise UserError(f"--peak-lr is {rate}; must be above 0 and finite")
    return Phase(name="finetune", epochs=args.epochs, peak_lr=rate, distill=args.distill)


def _card(card: dict[str, Any], before: float, after: float, images: int, phase: Phase) -> dict[str, Any]:
    """The subnet's card with its new accuracy; a prediction for the run's own weights says nothing any more."""
    from search.reports.card import binomial, figure

    taught = f", the largest net as teacher (weight {phase.distill:g})" if phase.distill else ""
    line = figure(
        MEASURED,
        100 * after,
        "%",
        f"measured on {images} held-out validation images after {phase.epochs} epochs of fine-tuning{taught}",
        binomial(after, images),
    )
    others = [entry for entry in card["figures"] if not entry["name"].startswith("Top-1")]
    facts = {"fine-tuned": {"epochs": phase.epochs, "peak_lr": phase.peak_lr, "top1_before": before}}
    return card | {"figures": [line, *others]} | facts
