"""Accuracy of random subnets as chips compute them: int8, 4-bit weights, noise on the weights of an analog array.

    python benchmarks/numerics.py fashion-mnist --out benchmarks/results/numerics.json
    python benchmarks/numerics.py runs/exact runs/noisy --split test --only noise     # the same subnets, trained in two ways

For each way of computing, the change of top-1 against fp32 on the same images is printed: its mean over the subnets and its
range; the deviation of a draw; Kendall's tau between the subnets' accuracies and those in fp32; and tau between the means of
two halves of the draws, which says how far another set of chips would rank the subnets alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ofa.deploy.accuracy_under import correct_in_int8
from ofa.files.atomic import write_json
from ofa.measure.analog import correct_under_noise
from ofa.measure.evaluator import SubnetEvaluator
from ofa.nets.plain import Net
from ofa.numerics.rounding import rounded_columns
from ofa.numerics.stated import Analog
from ofa.numerics.weight_noise import add_weight_noise, array_weights, generator_of_draw
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.run_directory import RunDirectory
from ofa.space.subnet import Subnet
from search.statistics import kendall_tau

NOISES = (0.02, 0.05)
BITS = 4
Top1 = npt.NDArray[np.float64]
Way = Callable[[SubnetEvaluator, Subnet, str], npt.NDArray[np.bool_]]
"""Takes an evaluator, a subnet and a split; returns whether each image is classified correctly, bool[draws, images]."""


def main() -> None:
    """Measure, print a table for each run, and write all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="runs or bundles of one space")
    parser.add_argument("--subnets", type=int, default=12, help="random subnets (default: 12)")
    parser.add_argument("--images", type=int, help="images of the split (default: all)")
    parser.add_argument("--split", default="validation", help="validation (default) or test")
    parser.add_argument("--draws", type=int, default=8, help="draws of the noise (default: 8)")
    parser.add_argument("--relative-to", choices=["column", "layer"], default="layer", help="reach of the noise")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows with this text in their name")
    parser.add_argument("--out", type=Path, help="a JSON of all figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    document: dict[str, Any] = {name: getattr(args, name) for name in ("split", "draws", "relative_to")} | {"runs": {}}
    for name in args.runs:
        run = RunDirectory.open(name)
        evaluator = evaluator_of_run(run, images=args.images)
        subnets = run.space.decode(run.space.sample(args.subnets, np.random.default_rng(0)))
        exact = np.array([evaluator.correct(subnet, args.split).mean() for subnet in subnets])
        images = evaluator.size(args.split)
        print(f"{run.path.name}: {len(subnets)} subnets, {images} images, fp32 {100 * exact.mean():.2f}%", flush=True)
        rows: list[dict[str, Any]] = []
        figures = {"images": images, "fp32": exact.tolist(), "subnets": [subnet.to_dict() for subnet in subnets]}
        document["runs"][run.path.name] = figures | {"rows": rows}
        for words, way in ways(args).items():
            top1 = np.array([way(evaluator, subnet, args.split).mean(1) for subnet in subnets])
            rows.append(row(words, exact, top1))
            print("  " + line(rows[-1]), flush=True)
            if args.out is not None:
                write_json(args.out, document)


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


if __name__ == "__main__":
    main()
