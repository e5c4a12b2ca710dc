"""Nets trained alone against the same nets cut from a supernet: equal data, augmentation, optimiser, epochs.

    OMP_NUM_THREADS=1 python benchmarks/trained_alone.py train RUN --work DIR [--only 0 3 7]    # hours; resumes by epoch
    python benchmarks/trained_alone.py table RUN --work DIR [--out benchmarks/results/quality/alone-NAME.json]

Eight nets, evenly spread over the logarithm of operations from the smallest subnet (0) to the largest (7). Each is trained
on the labels by the run's recipe in one phase, on as many images as the supernet saw, at its own resolution. `table`
measures them and the subnets on all test images: top-1 in percent, differences (inherited minus alone) with the standard
error of paired images, Spearman's rank correlation.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality.plain_training import channels_last, train_net
from scipy.stats import spearmanr

from ofa import recalibrate_batch_norm
from ofa.files.atomic import read_json, write_json
from ofa.nets.plain import build_net
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.recipe import Opens, Phase, Recipe
from ofa.runs.run_directory import RunDirectory
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import macs, params, walk
from ofa.space.subnet import Subnet

NETS, CANDIDATES = 8, 5000


def nets(space: SearchSpace) -> list[Subnet]:
    """The nets, by rising operations."""
    candidates = space.decode(space.sample(CANDIDATES, np.random.default_rng(0)))
    cost = np.log([macs(walk(space, subnet)) for subnet in candidates])
    ends = space.smallest(), space.largest()
    targets = np.linspace(*(np.log(macs(walk(space, end))) for end in ends), NETS)
    return [ends[0], *(candidates[int(np.abs(cost - target).argmin())] for target in targets[1:-1]), ends[1]]


def recipe_alone(recipe: Recipe) -> Recipe:
    """One phase, on the labels, with as many epochs as all phases have together."""
    first, last = recipe.phases[0], recipe.phases[-1]
    warmup, total = first.warmup_epochs, sum(phase.total_epochs for phase in recipe.phases)
    facts = {"warmup_epochs": warmup, "epochs": total - warmup, "peak_lr": last.peak_lr, "warmup_lr": first.warmup_lr}
    return replace(recipe, phases=(Phase(name="alone", opens=Opens(), **facts),))


def train(run: RunDirectory, work: Path, index: int) -> dict[str, Any]:
    """Train a net alone, or go on with it; which of the test images it classifies correctly goes into `alone-INDEX.json`."""
    recipe, subnet, data = recipe_alone(run.recipe), nets(run.space)[index], run.data()
    module = channels_last(build_net(run.space, subnet, torch.Generator().manual_seed(recipe.seed)))

    def batches(split: str, **options: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return data.batches(split, resolution=subnet.resolution, **options)

    def of_epoch(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        options = {"shuffle": True, "augment": True, "drop_last": True, "seed": recipe.seed}
        return batches("train", batch_size=recipe.batch_size, epoch=epoch, **options)

    steps = data.steps("train", recipe.batch_size, drop_last=True)
    seconds = train_net(module, recipe, of_epoch, steps, work / f"alone-{index}.pt")
    plain = {"batch_size": 250, "shuffle": False, "augment": False}
    images = recipe.evaluation.recalibration_images
    recalibrate_batch_norm(module, (batch for batch, _ in batches("train", limit=images, **plain)))
    with torch.inference_mode():
        right = [module.eval()(batch).argmax(1) == labels for batch, labels in batches("test", **plain)]
    row = {"net": index, "seconds": seconds, "correct": torch.cat(right).int().tolist()}
    write_json(work / f"alone-{index}.json", row)
    return row


def measured(run: RunDirectory, work: Path) -> dict[str, Any]:
    """All nets that are trained to the end."""
    evaluator, rows, right = evaluator_of_run(run), [], []
    for index, subnet in enumerate(nets(run.space)):
        if not (work / f"alone-{index}.json").exists():
            continue
        own = read_json(work / f"alone-{index}.json")
        found = [np.asarray(values, dtype=float) for values in (evaluator.correct(subnet, "test"), own["correct"])]
        ops = list(walk(run.space, subnet))
        row: dict[str, Any] = {"net": index, "macs_m": macs(ops) / 1e6, "params_k": params(ops) / 1e3}
        row |= {"resolution": subnet.resolution, "inherited": percent(found[0]), "alone": percent(found[1])}
        row |= {"difference": percent(found[0] - found[1]), "se": error(found[0] - found[1]), "images": len(found[0])}
        row["alone_seconds"] = own["seconds"]
        rows.append(row)
        right.append(found)
    report: dict[str, Any] = {
        "run": run.path.name,
        "supernet_seconds": read_json(run.result_path)["train_seconds"],
        "nets": rows,
    }
    if len(rows) > 1:
        mean = np.mean([found[0] - found[1] for found in right], axis=0)
        report["mean_difference"], report["mean_se"] = percent(mean), error(mean)
        ranks = spearmanr([row["inherited"] for row in rows], [row["alone"] for row in rows])
        report["rank_correlation"] = float(ranks.statistic)
    return report


def percent(values: np.ndarray) -> float:
    """A mean over images, in percent."""
    return 100 * float(values.mean())


def error(values: np.ndarray) -> float:
    """The standard error of that mean."""
    return 100 * float(values.std(ddof=1)) / len(values) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "table"))
    parser.add_argument("run", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", type=int, nargs="+", default=range(NETS), help="numbers of nets (default: all)")
    parser.add_argument("--out", type=Path, help="with table: write the numbers here too")
    args = parser.parse_args()
    run = RunDirectory.open(args.run)
    if args.verb == "train":
        for index in args.only:
            if not (args.work / f"alone-{index}.json").exists():
                row = train(run, args.work, index)
                print(f"net {index}: {np.mean(row['correct']):.4f} of the test images, {row['seconds']:.0f} s", flush=True)
        return
    report = measured(run, args.work)
    print("| net | M MACs | px | inherited | alone | difference | hours alone |\n|---|---|---|---|---|---|---|")
    for row in report["nets"]:
        cells = f"{row['macs_m']:.2f} | {row['resolution']} | {row['inherited']:.2f} | {row['alone']:.2f}"
        print(f"| {row['net']} | {cells} | {row['difference']:+.2f} ± {row['se']:.2f} | {row['alone_seconds'] / 3600:.2f} |")
    print({key: value for key, value in report.items() if key != "nets"})
    if args.out:
        write_json(args.out, report)


if __name__ == "__main__":
    main()
