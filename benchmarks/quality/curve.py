"""Accuracy over core-hours of finished trainings: a JSON file for each run, and a figure of several.

    python benchmarks/quality/curve.py write runs/cifar10 benchmarks/results/quality/cifar10.json --machine "one core of ..."
    python benchmarks/quality/curve.py plot FILE ... --out docs/training-curve.png [--line "ResNet-8, MLPerf Tiny" 87.2]

Lines are validation top-1 after each epoch (of as many images as the recipe measures), dots are test top-1 at the end. The
hours are those of training, without measuring.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from ofa.files.atomic import read_json, write_json
from ofa.runs.run_directory import RunDirectory
from ofa.space.shapes import macs, params, walk

KEPT = ("epoch", "loss", "learning_rate", "images_per_s", "seconds", "top1_largest", "top1_random", "top1_smallest")
TESTED = ("images", "largest_top1", "random_top1_mean", "random_top1_std", "smallest_top1")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def written(path: Path, machine: str) -> dict[str, Any]:
    """What a run's files say of its training, in short."""
    run = RunDirectory.open(path)
    rows = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    result = read_json(run.result_path)
    ends = {"largest": list(walk(run.space, run.space.largest())), "smallest": list(walk(run.space, run.space.smallest()))}
    return {
        "space": run.space.name,
        "epochs": [{key: row[key] for key in KEPT if key in row} for row in rows],
        "macs_m": {name: macs(ops) / 1e6 for name, ops in ends.items()},
        "params_k": {name: params(ops) / 1e3 for name, ops in ends.items()},
        "test": {
            key: result[key] for key in ("images", "largest_top1", "random_top1_mean", "random_top1_std", "smallest_top1")
        },
        "train_seconds": result["train_seconds"],
        "machine": machine,
    }


def plot(files: list[Path], lines: list[list[str]], out: Path) -> None:
    """Draw the curves of the largest (solid) and the smallest subnet (dashed) of each run."""
    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    for file, colour in zip(files, COLOURS, strict=False):
        run = json.loads(file.read_text())
        spent, hours = 0.0, []
        for row in run["epochs"]:
            spent += row["seconds"] / 3600
            hours.append(spent)
        for which, style in (("largest", "-"), ("smallest", "--")):
            label = f"{file.stem}: {which}, {run['macs_m'][which]:.2g} M MACs"
            values = [100 * row[f"top1_{which}"] for row in run["epochs"]]
            axes.plot(hours, values, style, color=colour, label=label)
            axes.plot(hours[-1], 100 * run["test"][f"{which}_top1"], "o", color=colour)
    for name, value in lines:
        axes.axhline(float(value), color="0.4", linewidth=0.8, linestyle=":")
        where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "xytext": (-4, 3)}
        axes.annotate(name, (1, float(value)), fontsize=8, color="0.3", ha="right", **where)
    axes.set(xlabel="Core-hours of training", ylabel="Top-1 accuracy (%)")
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(out, dpi=150)


def main() -> None:
    """Write or plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    write = verbs.add_parser("write")
    write.add_argument("run", type=Path)
    write.add_argument("out", type=Path)
    write.add_argument("--machine", required=True)
    draw = verbs.add_parser("plot")
    draw.add_argument("files", nargs="+", type=Path)
    draw.add_argument("--out", type=Path, required=True)
    draw.add_argument("--line", nargs=2, action="append", default=[], metavar=("NAME", "TOP1"))
    args = parser.parse_args()
    if args.verb == "write":
        write_json(args.out, written(args.run, args.machine))
    else:
        plot(args.files, args.line, args.out)


if __name__ == "__main__":
    main()
