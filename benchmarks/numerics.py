"""Accuracy of random subnets as chips compute them (int8, 4-bit weights, noise on the weights of an analog array), and what
training for the chip gains.

    python benchmarks/numerics.py measure fashion-mnist --subnets 6 --images 1000 --out benchmarks/results/numerics.json
    python benchmarks/numerics.py measure runs/cifar10 --subnets 12 --draws 8 --out benchmarks/results/numerics-cifar10.json
    python benchmarks/numerics.py train runs/cifar10 --into runs/chip --epochs 4 --peak-lr 0.1 --weight-noise 0.06 \
        --subnets 12 --draws 8 --out benchmarks/results/numerics-cifar10-trained.json
    python benchmarks/numerics.py table benchmarks/results/numerics.json

`measure` writes, for each way of computing, the change of top-1 against fp32 on the same images: its mean over the subnets
and its range; the deviation of a draw; Kendall's tau between the subnets' accuracies and those in fp32; and tau between the
means of two halves of the draws, which says how far another set of chips would rank the subnets alike.

`train` trains a finished run's supernet on, once for each variant, with recipes that differ in the chip's keys alone, and
measures them on the images that neither training saw. `table` prints the tables of docs/numerics.md. A command that was
interrupted goes on where it was when it is given again: trainings at their checkpoints, measurements at the next row of
`--out`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ofa.deploy.accuracy_under import correct_in_int8
from ofa.files.atomic import read_json, write_json
from ofa.files.schema import to_plain
from ofa.measure.analog import correct_under_noise
from ofa.measure.evaluator import SubnetEvaluator
from ofa.nets.plain import Net
from ofa.numerics.rounding import rounded_columns
from ofa.numerics.stated import Analog
from ofa.numerics.weight_noise import add_weight_noise, array_weights, generator_of_draw
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.recipe import Opens, Phase
from ofa.runs.run_directory import RunDirectory
from ofa.space.subnet import Subnet
from ofa.training.trainer import Trainer
from search.statistics import kendall_tau

NOISES = (0.02, 0.05)
BITS = 4
VARIANTS = ("exact", "noise", "int4", "int8")
Top1 = npt.NDArray[np.float64]
Way = Callable[[SubnetEvaluator, Subnet, str], npt.NDArray[np.bool_]]
"""Takes an evaluator, a subnet and a split; returns whether each image is classified correctly, bool[draws, images]."""


def main() -> None:
    """Measure, train and measure, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    measuring = verbs.add_parser("measure", help="measure subnets of runs")
    measuring.add_argument("runs", nargs="+", metavar="RUN", help="runs or bundles of one space")
    training = verbs.add_parser(
        "train", help="train a run's supernet on for the chip, in several variants, and measure them"
    )
    training.add_argument("run", metavar="RUN", help="a finished run")
    training.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder of the trained runs")
    training.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS[:3]))
    training.add_argument("--epochs", type=int, default=4, help="on all training images of the run (default: 4)")
    training.add_argument("--peak-lr", type=float, default=0.1, help="peak learning rate (default: 0.1)")
    training.add_argument("--weight-noise", type=float, default=0.06, help="noise in training (default: 0.06)")
    for verb in (measuring, training):
        verb.add_argument("--subnets", type=int, default=12, help="random subnets (default: 12)")
        verb.add_argument("--images", type=int, help="images of the split (default: all)")
        verb.add_argument("--split", default="validation", help="validation (default) or test")
        verb.add_argument("--draws", type=int, default=8, help="draws of the noise (default: 8)")
        verb.add_argument("--relative-to", choices=["column", "layer"], default="layer", help="reach of the noise")
        verb.add_argument("--only", default="", metavar="TEXT", help="only rows with this text in their name")
        verb.add_argument("--out", type=Path, required=True, help="a JSON of all figures")
    verbs.add_parser("table", help="print tables in Markdown").add_argument("file", type=Path, help="a JSON of the others")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.verb == "table":
        print("\n".join(tables(read_json(args.file))))
    elif args.verb == "measure":
        document = Document(args)
        for name in args.runs:
            document.measure(RunDirectory.open(name), {})
    else:
        train(args)


# -- training --------------------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    """Train the variants that are not trained yet, and measure all."""
    document = Document(args)
    for name in args.variants:
        words, keys = variant(name, args)
        run = variant_run(args, name, keys)
        if not run.weights_path.exists():
            print(f"{run.path}: training", flush=True)
            Trainer(run).train()
        document.measure(run, {"trained": words, "recipe": to_plain(run.recipe)})


def variant(name: str, args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """How a variant is trained, in words for the table, and the keys of its recipe."""
    if name == "exact":
        return "exactly", {}
    if name == "noise":
        keys = {"weight_noise": args.weight_noise, "noise_relative_to": args.relative_to}
        return f"`weight_noise: {args.weight_noise:g}`, of the {args.relative_to}", keys
    value = {"int4": "int4_weights", "int8": "int8"}[name]
    return f"`fake_quantisation: {value}`", {"fake_quantisation": value}


def variant_run(args: argparse.Namespace, name: str, keys: dict[str, Any]) -> RunDirectory:
    """The run of a variant: the recipe of the given run, its weights, and one phase in which everything is open."""
    base = RunDirectory.open(args.run)
    phase = Phase(name="chip", epochs=args.epochs, peak_lr=args.peak_lr, opens=Opens(everything=True))
    evaluation = replace(base.recipe.evaluation, every_epochs=args.epochs)
    recipe = replace(base.recipe, init=args.run, phases=(phase,), evaluation=evaluation, zero_gamma=False, **keys)
    return RunDirectory.create(args.into / name, recipe, base.space)


# -- measuring -------------------------------------------------------------------------------------------------------------


class Document:
    """The figures of a file, to which each row is written as soon as it is measured."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        settings = {name: getattr(args, name) for name in ("split", "images", "subnets", "draws", "relative_to")}
        self.content: dict[str, Any] = {"settings": settings, "runs": {}}
        if args.out.exists():
            self.content = read_json(args.out)
            if self.content["settings"] != settings:
                raise SystemExit(f"{args.out}: was measured with {self.content['settings']}; give another --out")

    def measure(self, run: RunDirectory, facts: dict[str, Any]) -> None:
        """Measure the rows of a run that are missing; `facts` are written beside them."""
        args, split = self.args, self.args.split
        evaluator = evaluator_of_run(run, images=args.images)
        subnets = run.space.decode(run.space.sample(args.subnets, np.random.default_rng(0)))
        figures = self.content["runs"].setdefault(run.path.name, facts | {"rows": []})
        if "fp32" not in figures:
            figures["images"] = evaluator.size(split)
            figures["subnets"] = [subnet.to_dict() for subnet in subnets]
            figures["fp32"] = [float(evaluator.correct(subnet, split).mean()) for subnet in subnets]
            write_json(args.out, self.content)
        exact, measured = np.array(figures["fp32"]), {row["way"] for row in figures["rows"]}
        print(
            f"{run.path.name}: {len(subnets)} subnets, {figures['images']} images, fp32 {100 * exact.mean():.2f}%",
            flush=True,
        )
        for words, way in ways(args).items():
            if words not in measured:
                top1 = np.array([way(evaluator, subnet, split).mean(1) for subnet in subnets])
                figures["rows"].append(row(words, exact, top1))
                write_json(args.out, self.content)
                print("  " + line(figures["rows"][-1]), flush=True)


def ways(args: argparse.Namespace) -> dict[str, Way]:
    """The ways of computing, by their names in the table."""
    found: dict[str, Way] = {
        "int8, ONNX Runtime": lambda evaluator, subnet, split: correct_in_int8(evaluator, subnet, split)[None]
    }
    for recalibrated in (True, False):
        after = "recalibrated" if recalibrated else "not recalibrated"
        found[f"int4 weights, {after}"] = partial(in_few_bits, recalibrated=recalibrated)
        for noise in NOISES:
            analog = Analog(weight_noise=noise, relative_to=args.relative_to, source="benchmark")
            way = under_noise if recalibrated else without_recalibration
            found[f"{100 * noise:g}% noise, {after}"] = partial(way, analog=analog, draws=args.draws)
    return {name: way for name, way in found.items() if args.only in name}


def under_noise(evaluator: SubnetEvaluator, subnet: Subnet, split: str, analog: Analog, draws: int) -> npt.NDArray[np.bool_]:
    """As the project measures it: batch norm is recalibrated under the noise."""
    return correct_under_noise(evaluator, subnet, analog, draws, 0, split)


@torch.inference_mode()
def without_recalibration(
    evaluator: SubnetEvaluator, subnet: Subnet, split: str, analog: Analog, draws: int
) -> npt.NDArray[np.bool_]:
    """The same draws on a network whose batch norm was recalibrated before."""
    net, rows = evaluator.module(subnet), []
    for draw in range(draws):
        noisy = deepcopy(net)
        add_weight_noise(noisy, analog.weight_noise, analog.relative_to, generator_of_draw(0, draw))
        rows.append(evaluator.correct_of(noisy, subnet.resolution, split))
    return np.stack(rows)


@torch.inference_mode()
def in_few_bits(evaluator: SubnetEvaluator, subnet: Subnet, split: str, recalibrated: bool) -> npt.NDArray[np.bool_]:
    """Weights of `BITS` bits, batch norm recalibrated with them or before."""
    net = evaluator.module(subnet)
    assert isinstance(net, Net)
    for weight in array_weights(net):
        weight.copy_(rounded_columns(weight, BITS))
    if recalibrated:
        evaluator.recalibrate(net, subnet.resolution)
    return evaluator.correct_of(net, subnet.resolution, split)[None]


def row(words: str, exact: Top1, top1: Top1) -> dict[str, Any]:
    """The figures of one way of computing; `top1`: float64[subnets, draws], `exact`: in fp32."""
    mean, draws = top1.mean(1), top1.shape[1]
    changes = 100 * (mean - exact)
    drawn = draws > 1
    halves = [half.mean(1) for half in np.array_split(top1, 2, axis=1)] if drawn else []
    return {
        "way": words,
        "change_points": float(changes.mean()),
        "change_range": [float(changes.min()), float(changes.max())],
        "deviation_points": float(100 * top1.std(1, ddof=1).mean()) if drawn else None,
        "deviation_of_subnets_points": float(100 * mean.std(ddof=1)),
        "tau_fp32": kendall_tau(mean, exact),
        "tau_halves": kendall_tau(*halves) if drawn else None,
        "top1": top1.tolist(),
    }


def line(figures: dict[str, Any]) -> str:
    """One row of the table as text."""
    low, high = figures["change_range"]
    text = f"{figures['way']:28} {figures['change_points']:+7.2f} ({low:+.2f} to {high:+.2f})"
    named: Sequence[tuple[str, str]] = (("deviation_points", "draw"), ("tau_fp32", "tau fp32"), ("tau_halves", "tau halves"))
    return text + "".join(f"  {name} {figures[key]:.2f}" for key, name in named if figures[key] is not None)


# -- tables ----------------------------------------------------------------------------------------------------------------


def tables(document: dict[str, Any]) -> Iterator[str]:
    """The lines of the tables of a file: each run's ways of computing, or the trained runs side by side."""
    trained = [figures for figures in document["runs"].values() if "trained" in figures]
    for figures in document["runs"].values():
        if "trained" not in figures:
            yield from ways_table(figures)
    if trained:
        yield from trained_table(trained)
        yield ""
        yield from gains_table(trained)


def ways_table(figures: dict[str, Any]) -> Iterator[str]:
    """A line per way of computing."""
    yield "| | change (points) | deviation of a draw | tau with fp32 | tau between halves |"
    yield "|---|---|---|---|---|"
    for found in figures["rows"]:
        low, high = found["change_range"]
        change = f"{short(found['change_points'])} ({short(low)} to {short(high)})"
        cells = [short(found[key]) for key in ("deviation_points", "tau_fp32", "tau_halves")]
        yield f"| {' | '.join([found['way'], change, *cells])} |"


def trained_table(trained: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line per trained run: accuracy in fp32, and the change of each way of computing in points."""
    names = [found["way"] for found in trained[0]["rows"]]
    yield f"| {' | '.join(['trained', 'fp32 %', *names])} |"
    yield "|---" * (2 + len(names)) + "|"
    for figures in trained:
        changes = {found["way"]: short(found["change_points"], "+") for found in figures["rows"]}
        fp32 = f"{100 * np.mean(figures['fp32']):.2f}"
        yield f"| {' | '.join([figures['trained'], fp32, *(changes.get(name, '') for name in names)])} |"


def gains_table(trained: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What each run gains over the first: how much smaller its loss against fp32 is, and its accuracy beside the first's."""
    names = ("loss smaller by (points)", "standard error over subnets", "over draws", "top-1 %", "of the first")
    yield f"| {' | '.join(['trained', 'computed with', *names])} |"
    yield "|---|---|---|---|---|---|---|"
    first = {found["way"]: np.array(found["top1"]) for found in trained[0]["rows"]}
    for figures in trained[1:]:
        fp32 = 100 * (np.array(figures["fp32"]) - trained[0]["fp32"])
        for found in figures["rows"]:
            top1 = np.array(found["top1"])
            gain = 100 * (top1 - first[found["way"]]) - fp32[:, None]
            errors = [short(standard_error(gain.mean(axis))) for axis in (1, 0)]
            accuracies = [f"{100 * value.mean():.2f}" for value in (top1, first[found["way"]])]
            yield f"| {' | '.join([figures['trained'], found['way'], short(gain.mean(), '+'), *errors, *accuracies])} |"


def standard_error(values: Top1) -> float | None:
    """Standard error of a mean; None: of a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def short(value: float | None, sign: str = "") -> str:
    """A number with two decimals and without a leading zero; empty for None."""
    if value is None:
        return ""
    text = f"{round(value, 2) + 0.0:{sign}.2f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.995 and float(text) else text


if __name__ == "__main__":
    main()
