"""Fine-tune a queried subnet on its run's data, with the run's largest net as the teacher, and measure the gain."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.energy import add_energy_arguments, booked_in_run, energy_choice
from ofa.cli.shared.labels import relabelled
from ofa.cli.shared.options import check_at_least, check_subnet_out, printer
from ofa.energy.account import FINETUNE
from ofa.errors import UserError
from ofa.files.output import locked_output
from ofa.measure.accuracy import ACCURACIES, BALANCED, TOP1, ClassCounts, paired_gain

if TYPE_CHECKING:
    from torch import nn

    from ofa.runs.recipe import Phase
    from ofa.runs.run_directory import RunDirectory
    from ofa.space.search_space import SearchSpace
    from ofa.space.subnet import Subnet

EXAMPLE = "ofa finetune runs/demo/queries/frugal --epochs 5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("subnet", type=Path, help="a subnet directory, as `ofa query` writes it")
    parser.add_argument("--run", type=Path, help="its run (default: the RUN in RUN/queries/NAME)")
    parser.add_argument("--epochs", type=int, default=25, metavar="N", help="epochs of training (default: 25)")
    parser.add_argument(
        "--peak-lr", type=float, metavar="X", help="peak learning rate (default: a quarter of the last phase's)"
    )
    parser.add_argument("--distill", type=float, default=1.0, metavar="W", help="weight of the teacher (default: 1)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write (default: NAME-finetuned beside the subnet)"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... (default: cuda where there is one)")
    add_energy_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, recalibrate, measure before and after on the same validation images, write."""
    check_at_least(args, epochs=1)
    if not 0 <= args.distill < float("inf"):
        raise UserError(f"--distill is {args.distill}; must be at least 0 and finite")

    from ofa.deploy.subnet_directory import load_subnet, read_card, read_subnet
    from ofa.distributed.devices import choose_device

    energy, device = energy_choice(args), choose_device(args.device)
    space, subnet = read_subnet(args.subnet)
    module, card = load_subnet(args.subnet), read_card(args.subnet)
    directory = _open_run(args, space)
    phase = _phase(args, directory)
    out = args.out or args.subnet.with_name(f"{args.subnet.name}-finetuned")
    check_subnet_out(out)
    with locked_output(out), booked_in_run(energy, directory.path, FINETUNE, FINETUNE, str(device)):
        return _finetune(args, directory, module.to(device), subnet, phase, card, out)


def _finetune(
    args: argparse.Namespace,
    directory: RunDirectory,
    module: nn.Module,
    subnet: Subnet,
    phase: Phase,
    card: dict[str, Any],
    out: Path,
) -> dict[str, Any]:
    from copy import deepcopy

    import torch

    from ofa.deploy.subnet_directory import save_subnet
    from ofa.distributed.devices import choose_device
    from ofa.nets.plain import arrays
    from ofa.runs.evaluator import evaluator_of_run
    from ofa.training.finetuning import finetune

    say, device = printer(args), choose_device(args.device)
    evaluator = evaluator_of_run(directory, device, data=directory.data())
    layout: Any = {"memory_format": torch.channels_last}

    def measure() -> Any:
        copy = deepcopy(module).to(**layout)  # because measuring folds batch norms in place
        return evaluator.correct_of(copy, subnet.resolution)

    right = measure()
    before = evaluator.count(right, evaluator.labels())
    say(f"before: {_shown(before)} on {evaluator.size()} validation images")

    def report(epoch: int, loss: float) -> None:
        say(f"epoch {epoch + 1}/{args.epochs}  loss {loss:.3f}")

    finetune(module, subnet, evaluator, directory.recipe, phase, report)
    right_after = measure()
    after, (gain, error) = evaluator.count(right_after, evaluator.labels()), paired_gain(right, right_after)
    points = f"{100 * gain:+.2f} points, \N{PLUS-MINUS SIGN}{100 * error:.2f} (1 standard error)"
    say(f"after:  {_shown(after)}: top-1 {points}")
    save_subnet(out, directory.space, subnet, arrays(module), _card(card, before, after, phase))
    say(f"written to {out}")
    facts: dict[str, Any] = {"gain": gain, "gain_error": error}
    for metric in ACCURACIES.values():
        facts |= {f"{metric.name}_before": metric.value(before), f"{metric.name}_after": metric.value(after)}
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


def _shown(counts: ClassCounts) -> str:
    """Top-1 as text, with balanced accuracy if classes have unequal sizes and each has an image."""
    shown = [TOP1, BALANCED] if counts.unequal else [TOP1]
    values = [(metric, metric.value(counts)) for metric in shown]
    return ", ".join(f"{metric.words} {100 * value:.2f}%" for metric, value in values if value is not None)


def _card(card: dict[str, Any], before: ClassCounts, after: ClassCounts, phase: Phase) -> dict[str, Any]:
    """The subnet's card with its new accuracy in the card's metrics, without the prediction for the old weights."""
    from search.reports.card import error_note, figure, measured_name

    taught = f", the largest net as teacher (weight {phase.distill:g})" if phase.distill else ""
    source = f"measured on {sum(after.images)} held-out validation images after {phase.epochs} epochs of fine-tuning"
    had = {
        metric for metric in ACCURACIES.values() for entry in card["figures"] if entry["name"].startswith(f"{metric.label},")
    }
    figures, changed = [], {}
    for metric in [metric for metric in ACCURACIES.values() if metric in (had or {TOP1})]:
        value, error = metric.value(after), metric.standard_error(after)
        if value is not None:
            uncertainty = None if error is None else error_note(error)
            figures.append(figure(measured_name(metric), 100 * value, "%", source + taught, uncertainty))
            changed[f"{metric.name}_before"] = metric.value(before)
    labels = tuple(f"{metric.label}," for metric in ACCURACIES.values())
    figures += [entry for entry in card["figures"] if not entry["name"].startswith(labels)]
    facts = {"fine-tuned": {"epochs": phase.epochs, "peak_lr": phase.peak_lr, **changed}}
    energy_labels = relabelled(card, TOP1.value(after), TOP1.standard_error(after), sum(after.images))
    kept = {key: value for key, value in card.items() if key != "ranked"}  # the draws were those of the old weights
    return kept | {"figures": figures} | energy_labels | facts
