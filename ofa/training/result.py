"""What a finished supernet is worth: its subnets on data that training never saw. The only place that touches test data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ofa.distributed.world import ALONE, World
from ofa.files.vouched import write_vouched_json
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.run_directory import RunDirectory
from ofa.space import shapes
from ofa.training.progress import MetricsLog


def report_result(
    run: RunDirectory, device: torch.device | str = "cpu", progress: bool = True, world: World = ALONE
) -> dict[str, Any]:
    """Test accuracy of the largest, the smallest and random subnets, with training time and energy; writes `result.json`.

    The processes of `world` share the subnets; the first one writes.

    Returns:
        `split` (`test`, or `validation` where the data has no test part), `images`, `largest_top1`, `smallest_top1`,
        `random_top1_mean`, `random_top1_std`, `subnets` (each with `top1`, `macs_m`, `params_m`), `train_seconds`,
        `train_energy_j` (None where no counter could be read) and its source.
    """
    evaluator = evaluator_of_run(run, device, world=world)
    split = "test" if "test" in evaluator.data.sizes else "validation"
    space = run.space
    genes = space.sample(run.recipe.evaluation.final_subnets, np.random.default_rng(run.recipe.seed))
    subnets = [space.largest(), space.smallest(), *space.decode(genes)]
    top1 = evaluator.top1(subnets, split, progress)
    rows = MetricsLog(run.metrics_path).rows()
    joules = [row["energy_j"] for row in rows]
    result = {
        "split": split,
        "images": evaluator.size(split),
        "largest_top1": float(top1[0]),
        "smallest_top1": float(top1[1]),
        "random_top1_mean": float(top1[2:].mean()) if len(top1) > 2 else None,
        "random_top1_std": float(top1[2:].std()) if len(top1) > 2 else None,
        "subnets": [
            {
                "top1": float(value),
                "macs_m": shapes.macs(shapes.walk(space, subnet)) / 1e6,
                "params_m": shapes.params(shapes.walk(space, subnet)) / 1e6,
                "resolution": subnet.resolution,
                "genes": row.tolist(),
            }
            for subnet, value, row in zip(subnets, top1, space.encode(subnets), strict=True)
        ],
        "train_seconds": sum(row["seconds"] for row in rows),
        "train_energy_j": None if None in joules else sum(joules),
        "train_energy_source": rows[-1]["energy_source"] if rows else None,
    }
    if world.first:
        write_vouched_json(run.result_path, result)
    return result


def result_lines(result: dict[str, Any], path: Path) -> list[str]:
    """A result for people."""
    lines = [
        f"{result['split']} accuracy on {result['images']} images, subnets taken without retraining:",
        f"  largest   {100 * result['largest_top1']:.2f}%",
        f"  smallest  {100 * result['smallest_top1']:.2f}%",
    ]
    if result["random_top1_mean"] is not None:
        count = len(result["subnets"]) - 2
        mean, std = 100 * result["random_top1_mean"], 100 * result["random_top1_std"]
        lines.append(f"  {count} random  {mean:.2f}% on average (std {std:.2f})")
    energy = "no energy reading" if result["train_energy_j"] is None else f"{result['train_energy_j'] / 3.6e6:.4f} kWh"
    lines.append(f"trained in {result['train_seconds'] / 60:.1f} minutes; {energy} ({result['train_energy_source']})")
    lines.append(f"all figures: {path}")
    return lines
